"""Tables of features that are too large for memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from keshikaran.errors import StoreError
from keshikaran.store import FeatureCache, FeatureRecipe, room_for, scratch
from keshikaran.types import ImageId

RECIPE = FeatureRecipe("d" * 64, "f32", "crop")
IDS = [ImageId(f"{number:064x}") for number in range(40)]


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every table be too large for memory."""
    monkeypatch.setattr(scratch, "MAPPED_BYTES", 0)


def filled(path: Path) -> FeatureCache:
    """A cache with 40 images of one or two views."""
    cache = FeatureCache(path)
    rng = np.random.default_rng(0)
    rows = [(i, rng.random((1 + n % 2, 7)).astype(np.float32)) for n, i in enumerate(IDS)]
    cache.put(RECIPE, rows, [])
    return cache


def test_a_mapped_table_holds_what_one_in_memory_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(tmp_path / "features.sqlite") as cache:
        ids, usual, starts = cache.read(RECIPE, IDS, 7)
        before = sorted(tmp_path.iterdir())
        monkeypatch.setattr(scratch, "MAPPED_BYTES", 0)
        same_ids, mapped, same_starts = cache.read(RECIPE, IDS, 7)
        assert isinstance(mapped.base, np.memmap)
        assert same_ids == ids
        assert np.array_equal(mapped, usual)
        assert np.array_equal(same_starts, starts)
        assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("mapped")
def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(StoreError, match="full") as refused:
        room_for(10, 7, tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("mapped")
def test_room_is_taken_where_the_system_cannot_reserve_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    table = room_for(10, 7, tmp_path)
    table[:] = 3
    assert table.shape == (10, 7)
    assert table.sum() == 210
