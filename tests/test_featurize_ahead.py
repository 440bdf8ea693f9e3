"""Featurizing while images are still being imported."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from keshikaran.backbones import Engine, load_backbone, open_engine
from keshikaran.errors import BackboneError, StoreError
from keshikaran.featurize import FeaturizeAhead, Featurizer, StoredFile, featurize
from keshikaran.ingest import import_source, scan_folder
from keshikaran.pixels import PixelSpec
from keshikaran.store import FeatureCache, Store
from keshikaran.types import ProgressTask, SilentProgress
from store_support import an_id
from support import FAKE_SIDE, write_classes


class _Counted:
    """A progress that remembers its tasks."""

    def __init__(self) -> None:
        self.titles: list[tuple[str, int | None]] = []
        self.steps = 0

    @contextmanager
    def task(self, title: str, total: int | None) -> Iterator[ProgressTask]:
        self.titles.append((title, total))
        yield self

    def advance(self, steps: int = 1) -> None:
        self.steps += steps


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "w") as opened:
        import_source(opened, scan_folder(write_classes(tmp_path / "pictures", 10), ["red"]))
        yield opened


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FeatureCache]:
    with FeatureCache(tmp_path / "features.sqlite") as opened:
        yield opened


@pytest.fixture
def opened() -> list[str]:
    return []


@pytest.fixture
def featurizer(backbone_file: Path, opened: list[str]) -> Featurizer:
    def load(model: bytes) -> Engine:
        opened.append(threading.current_thread().name)
        return open_engine(model, streams=2)

    backbone = load_backbone(str(backbone_file))
    return Featurizer(backbone, PixelSpec(FAKE_SIDE, FAKE_SIDE), "f32", load)


@pytest.fixture
def files(store: Store) -> list[StoredFile]:
    return [(image.image_id, "png") for image in store.labels.images()]


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("keshikaran")]


def test_what_was_added_is_in_the_cache_when_it_has_finished(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    files: list[StoredFile],
    tmp_path: Path,
) -> None:
    progress = _Counted()
    with FeaturizeAhead(store, cache, featurizer, progress, 20) as ahead:
        for start in range(0, 20, 6):
            ahead.add(files[start : start + 6])
        ahead.finish()
    ids = [image_id for image_id, _ in files]
    assert cache.missing(featurizer.recipe, ids) == []
    assert ahead.computed == set(ids)
    assert ahead.seconds > 0
    assert (progress.titles, progress.steps) == ([("featurize", 20)], 20)
    with FeatureCache(tmp_path / "other.sqlite") as other:
        expected = featurize(store, other, featurizer, ids)
    found = featurize(store, cache, featurizer, ids)
    assert found.image_ids == expected.image_ids
    assert np.array_equal(found.matrix, expected.matrix)
    assert found.cached == 20


def test_an_image_that_comes_twice_or_is_cached_is_computed_once(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    files: list[StoredFile],
    opened: list[str],
) -> None:
    featurize(store, cache, featurizer, [image_id for image_id, _ in files[:5]])
    progress = _Counted()
    with FeaturizeAhead(store, cache, featurizer, progress) as ahead:
        ahead.add(files[:10])
        ahead.add(files[8:])
        ahead.add(files[:10])
        ahead.finish()
    assert ahead.computed == {image_id for image_id, _ in files[5:]}
    assert progress.steps == 10 + 12 + 10
    assert len(opened) == 2


def test_no_network_is_loaded_where_nothing_is_missing(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    files: list[StoredFile],
    opened: list[str],
) -> None:
    featurize(store, cache, featurizer, [image_id for image_id, _ in files])
    opened.clear()
    with FeaturizeAhead(store, cache, featurizer, SilentProgress()) as ahead:
        ahead.add(files)
        ahead.add([])
        ahead.finish()
    with FeaturizeAhead(store, cache, featurizer, SilentProgress()) as idle:
        idle.finish()
    assert opened == []
    assert ahead.computed == idle.computed == set()


def test_an_unreadable_image_stops_nothing_and_is_left_to_featurize(
    store: Store, cache: FeatureCache, featurizer: Featurizer, files: list[StoredFile]
) -> None:
    lost, extension = files[3]
    store.blobs.path_of(lost, extension).unlink()
    with FeaturizeAhead(store, cache, featurizer, SilentProgress()) as ahead:
        ahead.add(files)
        ahead.finish()
    assert cache.missing(featurizer.recipe, [image_id for image_id, _ in files]) == [lost]
    table = featurize(store, cache, featurizer, [image_id for image_id, _ in files])
    assert table.refused[lost].reason == "unreadable_file"


def test_leaving_early_drops_what_waits_and_keeps_what_is_done(
    store: Store, cache: FeatureCache, featurizer: Featurizer, files: list[StoredFile]
) -> None:
    many = [*files, *((an_id(f"never {n}"), "png") for n in range(3000))]

    def leave_early() -> None:
        with FeaturizeAhead(store, cache, featurizer, SilentProgress()) as ahead:
            ahead.add(many)
            deadline = time.monotonic() + 30
            while not ahead.computed and time.monotonic() < deadline:
                time.sleep(0.001)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave_early()
    assert _threads() == []
    done = len(files) - len(cache.missing(featurizer.recipe, [image_id for image_id, _ in files]))
    assert done >= 1


def test_a_network_that_cannot_run_is_reported_to_whoever_adds_or_finishes(
    store: Store, cache: FeatureCache, featurizer: Featurizer, files: list[StoredFile]
) -> None:
    def refuse(_: bytes) -> Engine:
        raise BackboneError("No such arithmetic.", "Use another.")

    broken = Featurizer(featurizer.backbone, featurizer.spec, "f32", refuse)
    with FeaturizeAhead(store, cache, broken, SilentProgress()) as ahead:
        ahead.add(files[:2])
        with pytest.raises(BackboneError, match="No such arithmetic"):
            ahead.finish()
        with pytest.raises(BackboneError, match="No such arithmetic"):
            ahead.add(files[2:])
    assert _threads() == []


def test_a_cache_that_cannot_be_written_is_reported(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    files: list[StoredFile],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise StoreError("The disk is full.", "Free some space.")

    monkeypatch.setattr(cache, "put", full)
    with FeaturizeAhead(store, cache, featurizer, SilentProgress()) as ahead:
        ahead.add(files)
        with pytest.raises(StoreError, match="The disk is full"):
            ahead.finish()
