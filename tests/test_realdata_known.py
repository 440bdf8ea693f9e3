"""Known photographs come back as copies; strangers do not count as known."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from keshikaran import Predictor
from keshikaran.hashing import image_id_of
from keshikaran.ingest import scan_folder
from keshikaran.known import export_memory
from keshikaran.store import Workspace
from keshikaran.training import TrainingOptions, train
from known_support import copies

pytestmark = pytest.mark.realdata


def test_copies_of_photographs_are_known_and_strangers_are_not(
    photographs: Path, tmp_path: Path
) -> None:
    files = sorted((photographs / "clothing").rglob("*.jpg"))[::19]
    known, strangers = files[::2], files[1::2]
    for number, path in enumerate(known):
        place = tmp_path / "known" / ("objectionable" if number % 2 else "acceptable")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    source = scan_folder(tmp_path / "known", ["objectionable"])
    workspace = Workspace(tmp_path / "workspace")
    model = train(workspace, [source], TrainingOptions(tensorboard=False)).model_path
    export_memory(workspace, model, tmp_path / "known.memory")
    with Predictor.load(model, memory=tmp_path / "known.memory") as predictor:
        found = total = 0
        for number, path in enumerate(known[:20]):
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
            for upload in copies(picture).values():
                total += 1
                prediction = predictor.predict(upload)
                if prediction.source == "near_duplicate":
                    found += 1
                    assert prediction.evidence is not None
                    assert prediction.evidence.image_id == image_id_of(path.read_bytes())
                    assert prediction.verdict == "block" or number % 2 == 0
        assert found / total >= 0.9
        answers = [prediction.source for prediction in predictor.predict_many(strangers)]
    assert answers.count("model") >= len(strangers) - 1
