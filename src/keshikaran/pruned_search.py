"""Nearest rows among very many: a scan of few dimensions, then the full features of the best.

A row of length one is cut by an orthonormal basis into coordinates and a rest. By Cauchy and
Schwarz the cosine of two rows differs from the dot product of their coordinates by at most the
product of the lengths of their rests. So a scan of the coordinates gives an upper bound for every
row, and once `count` full cosines are known, rows whose bound lies below them need no look: what
comes out is what a scan of all features would have given, and it says so. The basis is that of
Karl Pearson, "On lines and planes of closest fit", 1901: it leaves the shortest rests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from keshikaran.errors import DamagedStoreError
from keshikaran.similarity import centred
from keshikaran.types import Float32Array, ImageId, IntArray

_SLACK = 5e-4
"""More than rounding in float32 can move a bound by: lengths of rests come from differences."""

_FIRST = 64
_CHUNK = 256
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Projection:
    """How features become coordinates.

    Attributes:
        mean: float32 [D], what rows are centred on.
        basis: float32 [D, d], orthonormal columns; None keeps all dimensions.
    """

    mean: Float32Array
    basis: Float32Array | None

    def coordinates(self, features: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Coordinates float32 [n, d] and lengths of rests float32 [n] of features [n, D]."""
        unit = centred(features, self.mean)
        if self.basis is None:
            return unit, np.zeros(len(unit), dtype=np.float32)
        found = unit @ self.basis
        squares = np.einsum("ij,ij->i", unit, unit) - np.einsum("ij,ij->i", found, found)
        rests: Float32Array = np.sqrt(np.maximum(squares, np.float32(0)))
        return found, rests


@dataclass(frozen=True, slots=True)
class Table:
    """What a search scans.

    Attributes:
        projection: how the coordinates came about.
        coordinates: float32 [n, d].
        rests: float32 [n], lengths of what the coordinates leave out.
        rows: int64 [n], the numbers under which the full features can be fetched, ascending.
    """

    projection: Projection
    coordinates: Float32Array
    rests: Float32Array
    rows: IntArray


@dataclass(frozen=True, slots=True)
class FullRows:
    """Full features of some rows.

    Attributes:
        rows: int64 [m], their numbers, ascending.
        image_ids: whose they are.
        features: float32 [m, D].
    """

    rows: IntArray
    image_ids: list[ImageId]
    features: Float32Array


Fetch = Callable[[IntArray], FullRows]
"""Gives the full features of rows; those that are gone meanwhile are left out."""


@dataclass(frozen=True, slots=True)
class Found:
    """The nearest images of a query.

    Attributes:
        image_ids: the nearest first; equals in order of their id.
        cosines: of each, in [-1, 1].
        exact: whether it is proven that no other image is nearer.
        looked_at: how many full rows that took.
    """

    image_ids: list[ImageId]
    cosines: list[float]
    exact: bool
    looked_at: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search is for.

    Attributes:
        count: how many images.
        without: images that are no answer.
        most_rows: how many full rows may be looked at; None as many as a proof takes.
    """

    count: int
    without: Collection[ImageId] = ()
    most_rows: int | None = None


def fit_projection(sample: Float32Array, dims: int) -> Projection:
    """The mean of a sample, and the `dims` directions in which its centred rows reach furthest.

    Args:
        sample: float32 [n, D], n >= 1.
        dims: at least D keeps all dimensions.
    """
    mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    if dims >= sample.shape[1]:
        return Projection(mean, None)
    unit = centred(sample, mean)
    _, vectors = np.linalg.eigh((unit.T @ unit).astype(np.float64))
    return Projection(mean, np.ascontiguousarray(vectors[:, : -dims - 1 : -1], dtype=np.float32))


def search(table: Table, query: Float32Array, wanted: Wanted, fetch: Fetch) -> Found:
    """The images most like a query, by centred cosine; of an image's rows the nearest counts.

    Args:
        table: what is scanned.
        query: float32 [D], features as they come from the backbone.
        wanted: how many, and at what effort.
        fetch: gives full features.

    Raises:
        DamagedStoreError: a row's full features are not those that it was scanned for.
    """
    looking = _Looking(table, query, wanted, fetch)
    looking.look_at(_largest(looking.estimates, max(_FIRST, 4 * wanted.count)))
    exact = looking.prove()
    nearest = sorted(looking.cosines.items(), key=lambda item: (-item[1], item[0]))[: wanted.count]
    return Found([i for i, _ in nearest], [c for _, c in nearest], exact, looking.looked_at)


class _Looking:
    """One search under way."""

    def __init__(self, table: Table, query: Float32Array, wanted: Wanted, fetch: Fetch) -> None:
        self.cosines: dict[ImageId, float] = {}
        self.looked_at = 0
        self._table, self._wanted, self._fetch = table, wanted, fetch
        self._unit = centred(query[None], table.projection.mean)[0]
        coordinates, rests = table.projection.coordinates(query[None])
        self.estimates: Float32Array = table.coordinates @ coordinates[0]
        self._reach = table.rests * rests[0]
        self._reach += np.float32(_SLACK)
        self._bounds = self.estimates + self._reach

    def look_at(self, places: IntArray) -> None:
        """Compute the full cosines of some rows; they will not be looked at again."""
        places = np.sort(places)
        full = self._fetch(self._table.rows[places])
        here = places[np.isin(self._table.rows[places], full.rows)]
        cosines = np.clip(centred(full.features, self._table.projection.mean) @ self._unit, -1, 1)
        if (np.abs(cosines - self.estimates[here]) > self._reach[here] + _SLACK).any():
            msg = "The search index does not belong to the features that are there."
            raise DamagedStoreError(msg, "Delete the folder index: it is a cache.")
        for image_id, cosine in zip(full.image_ids, cosines.tolist(), strict=True):
            if image_id not in self._wanted.without:
                self.cosines[image_id] = max(cosine, self.cosines.get(image_id, -1.0))
        self._bounds[places] = -np.inf
        self.looked_at += len(places)

    def prove(self) -> bool:
        """Look at every row that could still be among the nearest; False if that is too many."""
        left = np.flatnonzero(self._bounds >= self._last())
        bounds = self._bounds[left]
        order = np.argsort(-bounds, kind="stable")
        left, bounds = left[order], bounds[order]
        for start in range(0, len(left), _CHUNK):
            last = self._last()
            if bounds[start] < last:
                return True
            chunk = left[start : start + _CHUNK][bounds[start : start + _CHUNK] >= last]
            most = self._wanted.most_rows
            if most is not None and self.looked_at + len(chunk) > most:
                return False
            self.look_at(chunk)
        return True

    def _last(self) -> float:
        """The cosine that a row must reach to be among the nearest."""
        if len(self.cosines) < self._wanted.count:
            return -1.0 - _SLACK
        found = np.fromiter(self.cosines.values(), dtype=np.float64)
        return float(np.partition(found, -self._wanted.count)[-self._wanted.count])


def _largest(values: Float32Array, count: int) -> IntArray:
    """Places of at least the `count` largest values, and hardly more; all if there are fewer."""
    if len(values) <= count:
        return np.arange(len(values), dtype=np.int64)
    blocks = len(values) // _BLOCK
    if blocks > count:
        # The largest of each block are values too: the count-th of them cuts off most of the rest.
        tops = values[: blocks * _BLOCK].reshape(blocks, _BLOCK).max(axis=1)
        places = np.flatnonzero(values >= np.partition(tops, -count)[-count])
    else:
        places = np.arange(len(values))
    best = np.argpartition(values[places], -count)[-count:]
    return places[best].astype(np.int64)
