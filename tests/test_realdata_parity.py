"""Photographs get the same score from the embedded network, however they are asked about."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from keshikaran.ingest import scan_folder
from keshikaran.store import Workspace
from keshikaran.training import TrainingOptions, train
from parity_support import check_parity, every_way

pytestmark = pytest.mark.realdata


def test_photographs_get_the_same_score_in_every_way(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("dress", "shirt"):
        place = tmp_path / "photographs" / kind
        place.mkdir(parents=True)
        for path in sorted((photographs / "clothing" / "images" / kind).iterdir())[:60]:
            shutil.copy(path, place)
    source = scan_folder(tmp_path / "photographs", ["dress"])
    model = train(
        Workspace(tmp_path / "w"), [source], TrainingOptions(tensorboard=False)
    ).model_path
    others = sorted((photographs / "imagenet-samples").rglob("*.[jJ][pP]*[gG]"))[:20]
    chosen = [*others, *sorted((photographs / "clothing" / "images" / "hat").iterdir())[:10]]
    files = {f"{number:02d}.jpg": path for number, path in enumerate(chosen)}
    assert len(files) == 30
    check_parity(every_way(files, model, capsys), 30)
