"""The index of a workspace: made, completed, made again when it is lost or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keshikaran import search_index
from keshikaran.errors import BackboneError, StoreError
from keshikaran.pruned_search import Wanted
from keshikaran.search_index import SearchIndex, index_path, open_index, rebuild_index
from keshikaran.store import FeatureCache, FeatureRecipe, FeatureRows
from keshikaran.types import Float32Array
from store_support import Steps, an_id, fail_fsync

_RECIPE = FeatureRecipe("d" * 64, "f32", "crop")
_DIM = 16


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FeatureCache]:
    with FeatureCache(tmp_path / "features.sqlite") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def few_dims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scan four of the sixteen dimensions, as large stores do with fewer than all."""
    monkeypatch.setattr(search_index, "_SCAN_BYTES", 0)
    monkeypatch.setattr(search_index, "_LEAST_DIMS", 4)


def _vector(number: int) -> Float32Array:
    return np.random.default_rng(number).normal(size=(1, _DIM)).astype(np.float32)


def _put(cache: FeatureCache, *numbers: int) -> None:
    cache.put(_RECIPE, [(an_id(str(number)), _vector(number)) for number in numbers], [])


def _open(cache: FeatureCache, folder: Path) -> SearchIndex:
    return open_index(folder, _RECIPE, cache.rows(_RECIPE, _DIM))


def _finds(index: SearchIndex, number: int) -> bool:
    found = index.search(_vector(number)[0], Wanted(1))
    return found.image_ids == [an_id(str(number))] and found.cosines[0] == pytest.approx(1)


def test_an_index_is_made_once_and_then_only_opened(
    cache: FeatureCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(cache, *range(50))
    assert _open(cache, folder).origin == "built"

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(FeatureRows, "after", never)
    monkeypatch.setattr(FeatureRows, "sample", never)
    index = _open(cache, folder)
    assert (index.origin, index.rows) == ("current", 50)
    assert all(_finds(index, number) for number in range(50))


def test_a_small_index_is_centred_on_all_images_whenever_they_came(
    cache: FeatureCache, folder: Path, tmp_path: Path
) -> None:
    _put(cache, *range(30))
    _open(cache, folder)
    _put(cache, *range(30, 50))
    grown = _open(cache, folder)
    with FeatureCache(tmp_path / "other.sqlite") as other:
        _put(other, *reversed(range(50)))
        at_once = _open(other, tmp_path / "other")
        query = _vector(77)[0]
        assert grown.search(query, Wanted(5)) == at_once.search(query, Wanted(5))
        assert _finds(grown, 49)


@pytest.mark.usefixtures("few_dims")
def test_new_images_are_added_to_a_large_index(cache: FeatureCache, folder: Path) -> None:
    _put(cache, *range(100))
    built = _open(cache, folder)
    assert built.table.coordinates.shape == (100, 4)
    _put(cache, *range(100, 110))
    added = _open(cache, folder)
    assert (added.origin, added.rows) == ("added", 110)
    assert np.array_equal(added.table.coordinates[:100], built.table.coordinates)
    assert _finds(added, 3)
    assert _finds(added, 109)
    assert _open(cache, folder).origin == "current"


@pytest.mark.usefixtures("few_dims")
def test_an_index_that_outgrew_its_basis_is_made_anew(cache: FeatureCache, folder: Path) -> None:
    _put(cache, *range(100))
    _open(cache, folder)
    for number in (100, 110):
        _put(cache, *range(number, number + 10))
        assert _open(cache, folder).origin == "added"
    _put(cache, *range(120, 130))
    assert _open(cache, folder).origin == "built"


@pytest.mark.parametrize("at", [3, 20, 60, 500, -1])
def test_a_damaged_index_is_made_again(cache: FeatureCache, folder: Path, at: int) -> None:
    _put(cache, *range(50))
    _open(cache, folder)
    path = index_path(folder, _RECIPE)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    index = _open(cache, folder)
    assert index.origin == "built"
    assert _finds(index, 7)
    assert _open(cache, folder).origin == "current"


def test_a_lost_index_is_made_again(cache: FeatureCache, folder: Path) -> None:
    _put(cache, *range(50))
    _open(cache, folder)
    index_path(folder, _RECIPE).unlink()
    assert _open(cache, folder).origin == "built"


def test_an_index_of_another_version_is_made_again(
    cache: FeatureCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(cache, *range(50))
    _open(cache, folder)
    monkeypatch.setattr(search_index, "_FORMAT", 2)
    assert _open(cache, folder).origin == "built"


def test_an_index_of_features_that_were_deleted_is_made_again(
    cache: FeatureCache, folder: Path, tmp_path: Path
) -> None:
    _put(cache, *range(50))
    _open(cache, folder)
    with FeatureCache(tmp_path / "again.sqlite") as again:
        _put(again, *range(100, 150))
        index = _open(again, folder)
        assert index.origin == "built"
        assert _finds(index, 120)


def test_an_older_copy_of_the_features_put_back_is_noticed(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite"
    with FeatureCache(path) as cache:
        _put(cache, *range(50))
    older = path.read_bytes()
    with FeatureCache(path) as cache:
        _put(cache, *range(50, 60))
        assert _open(cache, folder).rows == 60
    path.write_bytes(older)
    with FeatureCache(path) as cache:
        assert _open(cache, folder).rows == 50
    with FeatureCache(path) as cache:
        _put(cache, *range(100, 110))
        _open(cache, folder)
    path.write_bytes(older)
    with FeatureCache(path) as cache:
        _put(cache, *range(200, 220))
        index = _open(cache, folder)
        assert index.origin == "built"
        assert _finds(index, 205)


def test_features_that_are_computed_again_are_found_once(cache: FeatureCache, folder: Path) -> None:
    _put(cache, *range(50))
    _open(cache, folder)
    _put(cache, 7, 8)
    index = _open(cache, folder)
    found = index.search(_vector(7)[0], Wanted(50))
    assert len(found.image_ids) == len(set(found.image_ids)) == 50
    assert _finds(index, 7)


def test_each_recipe_has_an_index_of_its_own(cache: FeatureCache, folder: Path) -> None:
    other = replace(_RECIPE, precision="bf16")
    _put(cache, *range(50))
    cache.put(other, [(an_id("alone"), _vector(1))], [])
    assert _open(cache, folder).rows == 50
    assert open_index(folder, other, cache.rows(other, _DIM)).rows == 1
    assert _open(cache, folder).origin == "current"


def test_beyond_a_size_the_work_of_a_search_is_limited(
    cache: FeatureCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "_SCAN_BYTES", 0)
    monkeypatch.setattr(search_index, "_LEAST_DIMS", 1)
    _put(cache, *range(600))
    index = _open(cache, folder)
    assert index.search(_vector(1000)[0], Wanted(2)).exact
    monkeypatch.setattr(search_index, "_EXACT_UP_TO", 599)
    monkeypatch.setattr(search_index, "_MOST_ROWS", 100)
    found = index.search(_vector(1000)[0], Wanted(2))
    assert not found.exact
    assert found.looked_at <= 100


def test_progress_is_told_of_every_row(cache: FeatureCache, folder: Path) -> None:
    _put(cache, *range(50))
    steps = Steps()
    rebuild_index(folder, _RECIPE, cache.rows(_RECIPE, _DIM), steps)
    assert (steps.tasks, steps.done) == ([("index", 50)], 50)


def test_rows_that_come_while_an_index_is_made_wait_for_the_next_time(
    cache: FeatureCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(cache, *range(50))
    with monkeypatch.context() as patch:
        patch.setattr(FeatureRows, "count", lambda *_, **__: 40)
        assert _open(cache, folder).rows == 40
    assert _open(cache, folder).rows == 50


@pytest.mark.parametrize("place", [0, 49])
def test_features_that_are_not_numbers_are_refused(
    cache: FeatureCache, folder: Path, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "_SAMPLE", 10)
    ids = sorted(an_id(str(number)) for number in range(50))
    vectors = [_vector(number) for number in range(50)]
    vectors[place][0, 3] = np.nan
    cache.put(_RECIPE, list(zip(ids, vectors, strict=True)), [])
    with pytest.raises(BackboneError, match="features that are not numbers"):
        _open(cache, folder)
    assert not folder.exists()


def test_a_full_disk_is_said(
    cache: FeatureCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(cache, *range(50))
    rows = cache.rows(_RECIPE, _DIM)
    fail_fsync(monkeypatch)
    with pytest.raises(StoreError, match="disk is full"):
        open_index(folder, _RECIPE, rows)
    assert list(folder.glob("*")) == []
