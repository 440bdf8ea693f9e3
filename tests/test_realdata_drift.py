"""On real photographs: clothing is known to a model of clothing, other things are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from keshikaran.ingest import scan_folder
from keshikaran.predictor import Predictor
from keshikaran.store import Workspace
from keshikaran.training import TrainingOptions, train
from keshikaran.web.drift_watch import watch_drift

pytestmark = [pytest.mark.realdata, pytest.mark.timeout(300)]

_CLASSES = ("dress", "skirt", "shorts", "t-shirt", "pants", "shoes")
_POSITIVES = _CLASSES[:3]


def _files(folder: Path, name: str, part: slice) -> list[Path]:
    return sorted((folder / name).glob("*.jpg"))[part]


def test_other_clothing_is_steady_and_other_things_are_drift(
    photographs: Path, tmp_path: Path
) -> None:
    clothing = photographs / "clothing" / "images"
    for name in _CLASSES:
        (tmp_path / "in" / name).mkdir(parents=True)
        for file in _files(clothing, name, slice(0, 110)):
            (tmp_path / "in" / name / file.name).symlink_to(file)
    options = TrainingOptions(tensorboard=False)
    source = scan_folder(tmp_path / "in", list(_POSITIVES))
    result = train(Workspace(tmp_path / "workspace"), [source], options)
    with Predictor.load(result.model_path) as predictor:
        figures = watch_drift(predictor, 120)
        assert figures is not None
        new = [file for name in _CLASSES for file in _files(clothing, name, slice(110, 130))]
        assert len(list(predictor.predict_many(new))) == len(new) == 120
        assert figures().state == "steady"
        things = sorted((photographs / "imagenet-samples").glob("*.JPEG"))[:100]
        assert len(list(predictor.predict_many(things))) == 100
        found = figures()
    assert found.state == "drifting"
    assert found.distance is not None
    assert found.distance_limit is not None
    assert found.distance > found.distance_limit
