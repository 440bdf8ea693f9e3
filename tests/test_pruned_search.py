"""What the search finds is what looking at everything finds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.errors import DamagedStoreError
from keshikaran.pruned_search import (
    Found,
    FullRows,
    Projection,
    Table,
    Wanted,
    fit_projection,
    search,
)
from keshikaran.similarity import centred
from keshikaran.types import Float32Array, ImageId, IntArray

_DIM = 24


class _Store:
    """Features in memory, row numbers with gaps, and a table over them."""

    def __init__(self, features: Float32Array, dims: int, owners: Sequence[int] = ()) -> None:
        self.features = features
        self.ids = [ImageId(f"{n:06d}") for n in owners or range(len(features))]
        self.rows = np.arange(len(features), dtype=np.int64) * 3 + 5
        self.projection = fit_projection(features, dims)
        coordinates, rests = self.projection.coordinates(features)
        self.table = Table(self.projection, coordinates, rests, self.rows)
        self.gone: set[int] = set()
        self.fetched = 0

    def fetch(self, rows: IntArray) -> FullRows:
        places = [int(p) for p in np.searchsorted(self.rows, rows) if int(p) not in self.gone]
        self.fetched += len(places)
        return FullRows(self.rows[places], [self.ids[p] for p in places], self.features[places])

    def search(self, query: Float32Array, wanted: Wanted) -> Found:
        return search(self.table, query, wanted, self.fetch)

    def everything(self, query: Float32Array, wanted: Wanted) -> dict[ImageId, float]:
        """The cosine of each image, by looking at all rows."""
        mean = self.projection.mean
        cosines = centred(self.features, mean) @ centred(query[None], mean)[0]
        best: dict[ImageId, float] = {}
        for place, cosine in enumerate(cosines.tolist()):
            if place not in self.gone and self.ids[place] not in wanted.without:
                best[self.ids[place]] = max(cosine, best.get(self.ids[place], -1.0))
        return best


def _clusters(seed: int, count: int, spread: float) -> Float32Array:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(8, _DIM)) * np.linspace(3, 0.3, _DIM)
    rows = centres[rng.integers(0, 8, count)] + spread * rng.normal(size=(count, _DIM))
    return rows.astype(np.float32)


def _assert_right(store: _Store, query: Float32Array, wanted: Wanted, found: Found) -> None:
    every = store.everything(query, wanted)
    best = sorted(every.values(), reverse=True)[: wanted.count]
    assert np.allclose(found.cosines, best, atol=1e-5)
    assert np.allclose([every[image_id] for image_id in found.image_ids], best, atol=1e-5)
    assert len(set(found.image_ids)) == len(found.image_ids)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 700),
    dims=st.integers(1, _DIM + 2),
    spread=st.sampled_from([0.0, 0.1, 1.0, 5.0]),
    top=st.integers(1, 30),
    views=st.integers(1, 3),
)
def test_it_finds_what_looking_at_everything_finds(
    seed: int, count: int, dims: int, spread: float, top: int, views: int
) -> None:
    rows = _clusters(seed, count, spread)
    store = _Store(rows, dims, [number // views for number in range(count)])
    query = _clusters(seed + 1, 1, spread)[0]
    wanted = Wanted(top, frozenset(store.ids[: seed % 4]))
    found = store.search(query, wanted)
    assert found.exact
    _assert_right(store, query, wanted, found)


@pytest.mark.parametrize("spread", [0.2, 3.0])
def test_of_many_rows_few_are_looked_at(spread: float) -> None:
    store = _Store(_clusters(1, 40_000, spread), 12)
    query = _clusters(2, 1, spread)[0]
    found = store.search(query, Wanted(10))
    assert found.exact
    assert found.looked_at == store.fetched < 8_000
    _assert_right(store, query, Wanted(10), found)


def test_equal_images_come_in_order_of_their_id() -> None:
    rows = np.repeat(_clusters(1, 4, 1.0), 100, axis=0)
    found = _Store(rows, 4, list(range(400))[::-1]).search(rows[0], Wanted(100))
    assert found.image_ids == [ImageId(f"{n:06d}") for n in range(300, 400)]


def test_a_limit_ends_the_search_and_is_said() -> None:
    rng = np.random.default_rng(1)
    store = _Store(rng.normal(size=(5_000, _DIM)).astype(np.float32), 2)
    query = rng.normal(size=_DIM).astype(np.float32)
    found = store.search(query, Wanted(10, most_rows=500))
    assert not found.exact
    assert len(found.image_ids) == 10
    assert found.looked_at <= 500
    assert store.search(query, Wanted(10)).exact


def test_rows_that_are_gone_are_passed_over() -> None:
    store = _Store(_clusters(1, 300, 1.0), 8)
    query = store.features[7]
    assert store.search(query, Wanted(1)).image_ids == [store.ids[7]]
    store.gone = {7}
    found = store.search(query, Wanted(5))
    _assert_right(store, query, Wanted(5), found)
    assert store.ids[7] not in found.image_ids


def test_features_that_were_changed_since_are_noticed() -> None:
    store = _Store(_clusters(1, 300, 1.0), 8)
    query = store.features[7].copy()
    store.features = store.features[::-1]
    with pytest.raises(DamagedStoreError, match="does not belong to the features"):
        store.search(query, Wanted(5))


def test_a_picture_like_the_mean_is_like_nothing() -> None:
    store = _Store(_clusters(1, 50, 1.0), 8)
    found = store.search(store.projection.mean.copy(), Wanted(3))
    assert found.exact
    assert np.allclose(found.cosines, 0, atol=1e-5)


def test_the_basis_is_orthonormal_and_leaves_the_shortest_rests() -> None:
    rows = _clusters(5, 500, 1.0)
    projection = fit_projection(rows, 6)
    assert projection.basis is not None
    assert np.allclose(projection.basis.T @ projection.basis, np.eye(6), atol=1e-5)
    _, rests = projection.coordinates(rows)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(_DIM, 6)))[0].astype(np.float32)
    _, others = Projection(projection.mean, turned).coordinates(rows)
    assert (rests**2).sum() < (others**2).sum()
    assert fit_projection(rows, _DIM).basis is None
