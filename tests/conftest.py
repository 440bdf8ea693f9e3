"""Fixtures that many tests share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from keshikaran.ingest import scan_folder
from keshikaran.labels import label_image
from keshikaran.store import Store, Workspace
from keshikaran.training import TrainingOptions, TrainingResult, train
from keshikaran.web import log as web_log
from known_support import allowed_scene, banned_scene, write_scenes
from support import fake_backbone, write_classes

# No test is about time: a machine that stands still for a moment must not fail one.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A server sends records to its own stderr, which does not outlive the test."""
    loggers = [logging.getLogger(name) for name in web_log._LEVELS]
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _nothing_registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Networks that a developer added have no part in tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KESHIKARAN_BACKBONES", str(tmp_path_factory.mktemp("backbones")))
        yield


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
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders: 30 reddish and 30 bluish scenes. Do not change it."""
    return write_scenes(tmp_path_factory.mktemp("scenes"), 30)


@pytest.fixture(scope="session")
def scenes_workspace(
    tmp_path_factory: pytest.TempPathFactory, backbone_file: Path, scenes: Path
) -> Workspace:
    """A workspace with a model that finds reddish scenes objectionable. Do not change it.

    After it was trained, a person called one reddish scene acceptable and one bluish scene
    objectionable: see `allowed_scene` and `banned_scene`.
    """
    workspace = Workspace(tmp_path_factory.mktemp("scenes-workspace"))
    options = TrainingOptions(backbone=str(backbone_file), tensorboard=False)
    train(workspace, [scan_folder(scenes, ["red"])], options)
    with Store(workspace.folder) as store:
        label_image(store, str(allowed_scene(scenes)), 0, who="kim", why="satire")
        label_image(store, str(banned_scene(scenes)), 1, who="kim", why="policy 4")
    return workspace


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder with real photographs, for tests marked `realdata`."""
    return Path(os.environ.get("KESHIKARAN_TEST_DATA", "../shared/data")).resolve()
