"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keshikaran.ingest import scan_folder
from keshikaran.store import Workspace
from keshikaran.training import TrainingOptions, TrainingResult, train
from support import fake_backbone, write_classes


@pytest.fixture(scope="session")
def backbone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake backbone as a file."""
    path = tmp_path_factory.mktemp("backbone") / "quadrants.onnx"
    path.write_bytes(fake_backbone())
    return path


@pytest.fixture(scope="session")
def red_and_blue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders: 120 reddish and 120 bluish pictures. Do not change it."""
    return write_classes(tmp_path_factory.mktemp("pictures"), 120)


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, backbone_file: Path, red_and_blue: Path
) -> TrainingResult:
    """A model that finds reddish pictures objectionable. Do not change its workspace."""
    return train(
        Workspace(tmp_path_factory.mktemp("trained")),
        [scan_folder(red_and_blue, ["red"])],
        TrainingOptions(backbone=str(backbone_file)),
    )


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder with real photographs, for tests marked `realdata`."""
    return Path(os.environ.get("KESHIKARAN_TEST_DATA", "../shared/data")).resolve()
