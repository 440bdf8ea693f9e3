"""Reading all features under a recipe, and most of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keshikaran.store import FeatureCache, FeatureRecipe
from keshikaran.store.database import Database
from keshikaran.store.schema import FEATURE_MIGRATIONS
from keshikaran.types import ImageId
from store_support import an_id

_RECIPE = FeatureRecipe("d" * 64, "f32", "crop")
_OTHER = replace(_RECIPE, precision="bf16")
_COUNT = 2_500
_IDS = [an_id(f"row {number}") for number in range(_COUNT)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third row under another recipe; the first image has three views."""
    path = tmp_path_factory.mktemp("rows") / "features.sqlite"
    with FeatureCache(path) as cache:
        for number, image_id in enumerate(_IDS[:6]):
            views = np.full((3 if number == 0 else 1, 2), number, dtype=np.float32)
            cache.put(_RECIPE, [(image_id, views)], [])
            cache.put(_OTHER, [(image_id, views + 0.5)], [])
        rest = [(i, np.full((1, 2), n, np.float32)) for n, i in enumerate(_IDS[6:], start=6)]
        cache.put(_RECIPE, rest, [])
    return path


@pytest.fixture
def cache(path: Path) -> Iterator[FeatureCache]:
    with FeatureCache(path) as opened:
        yield opened


def test_all_rows_come_once_in_ascending_order(cache: FeatureCache) -> None:
    rows = cache.rows(_RECIPE, 2)
    parts = list(rows.after())
    numbers = np.concatenate([part.numbers for part in parts])
    assert len(parts) == 3
    assert (np.diff(numbers) > 0).all()
    assert len(numbers) == rows.count() == _COUNT + 2
    ids = [image_id for part in parts for image_id in part.image_ids]
    features = np.concatenate([part.features for part in parts])
    assert features.dtype == np.float32
    assert [_IDS[int(value)] for value in features[:, 0]] == ids
    assert np.array_equal(features, features.round())


def test_what_was_added_later_comes_alone(cache: FeatureCache) -> None:
    rows = cache.rows(_RECIPE, 2)
    numbers = np.concatenate([part.numbers for part in rows.after()])
    middle = int(numbers[1_000])
    (late, *_) = rows.after(middle)
    assert late.numbers[0] == numbers[1_001]
    assert rows.count(after=middle) == len(numbers) - 1_001
    assert rows.count(after=int(numbers[-1])) == 0
    assert list(rows.after(int(numbers[-1]))) == []


def test_rows_are_fetched_by_number(cache: FeatureCache) -> None:
    rows = cache.rows(_RECIPE, 2)
    numbers = np.concatenate([part.numbers for part in rows.after()])
    found = rows.numbered(numbers[::2])
    assert np.array_equal(found.numbers, numbers[::2])
    assert [_IDS[int(value)] for value in found.features[:, 0]] == found.image_ids
    some = rows.numbered(numbers[4:7])
    assert np.array_equal(some.numbers, numbers[4:7])


def test_numbers_that_are_gone_or_anothers_are_left_out(cache: FeatureCache) -> None:
    other = int(next(cache.rows(_OTHER, 2).after()).numbers[0])
    own = int(next(cache.rows(_RECIPE, 2).after()).numbers[0])
    found = cache.rows(_RECIPE, 2).numbered(np.array(sorted([own, other, 10**9])))
    assert found.numbers.tolist() == [own]
    nothing = cache.rows(_RECIPE, 2).numbered(np.empty(0, dtype=np.int64))
    assert (nothing.image_ids, nothing.features.shape) == ([], (0, 2))


def test_a_sample_is_the_same_whatever_came_first(cache: FeatureCache, tmp_path: Path) -> None:
    sample = cache.rows(_RECIPE, 2).sample(40)
    smallest = sorted(_IDS)[:40]
    assert sorted(sample[:, 0]) == sorted(_IDS.index(image_id) for image_id in smallest)
    assert cache.rows(_RECIPE, 2).sample(10**6).shape == (_COUNT, 2)


def test_a_cache_made_anew_has_another_name(cache: FeatureCache, tmp_path: Path) -> None:
    with FeatureCache(tmp_path / "features.sqlite") as other:
        names = {c.rows(r, 2).identity for c in (cache, other) for r in (_RECIPE, _OTHER)}
    assert len(names) == 2


def test_a_cache_from_before_gets_a_name(tmp_path: Path) -> None:
    path = tmp_path / "features.sqlite"
    Database(path, FEATURE_MIGRATIONS[:2]).close()
    with FeatureCache(path) as cache:
        name = cache.rows(_RECIPE, 2).identity
    with FeatureCache(path) as cache:
        assert cache.rows(_RECIPE, 2).identity == name


@pytest.mark.parametrize("share", [1, 2, 50])
def test_most_of_the_cache_is_read_as_a_part_of_it_is(cache: FeatureCache, share: int) -> None:
    unknown = [an_id(f"unknown {number}") for number in range(700)]
    wanted = [ImageId(image_id) for image_id in [*_IDS[::-share], *unknown[::share]]]
    found, matrix, starts = cache.read(_RECIPE, wanted, 2)
    assert found == [image_id for image_id in wanted if image_id in set(_IDS)]
    assert [_IDS[int(value)] for value in matrix[starts, 0]] == found
    assert len(matrix) == len(found) + 2 * (_IDS[0] in found)
    assert cache.missing(_RECIPE, wanted) == unknown[::share]


def test_ways_to_featurize_are_listed(cache: FeatureCache) -> None:
    assert cache.recipes("d" * 64) == [_RECIPE, _OTHER]
    assert cache.recipes("e" * 64) == []
