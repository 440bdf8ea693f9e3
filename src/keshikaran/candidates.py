"""Features and sketches → pairs of images that may be copies of one photograph.

Both are whitened: directions in which all images differ say little, those in which only few do
say much. Between whitened vectors the cosine of two different photographs is close to zero, with
a spread that the store's own images show; a pair that exceeds it many times is a candidate.
Work is done in blocks: memory stays bounded whatever the number of images. Where comparing all with
all would take too long, those that share a `cell` are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log10

import numpy as np

from keshikaran.alignment import TURNS, Turn, inverse, turned
from keshikaran.cells import Drawn, draw, make_centres, meetings
from keshikaran.types import Float32Array, IntArray, UInt8Array, chunks_of

ALL_WITH_ALL = 50_000**2
"""New images times images, up to which every pair is looked at."""

_FIT_ROWS = 20_000
_SPREAD_ROWS = 1_000
_BLOCK_CELLS = 1 << 24
_BLOCK_ROWS = 512  # a row is compared with those before it: many short blocks waste little
_CELL_ROWS = 512
_MOST_PER_ROW = 64
_MOST_PER_IMAGE = 8
_RIDGE = 1e-4
_RIDGE_OF_FEW = 0.3
_LOW_SPREADS = 6.0
_HIGH_SPREADS = 15.0
_ROOM = 500
_ROOM_PER_IMAGE = 0.03
_HIGHEST_CUT = 0.9
_SKETCH_DIMS = 96
_SKETCH_SPREADS = 8.0
_SKETCH_RIDGE = 1e-3
_LEAST_SPREAD_ROWS = 4
_NORMAL_90 = 1.645
_TINY = 1e-6

# Upright and mirrored copies have like features; their sketches would only add false ones.
_TURNING: tuple[Turn, ...] = tuple(turn for turn in TURNS if turn not in {"none", "mirror"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two images to look at, by number, and how the second may have to be turned.

    Attributes:
        first: number of an image.
        second: number of a later one.
        turns: the turns of the second to try.
        spreads: how far their features' cosine lies outside that of different photographs, in
            spreads of the latter.
    """

    first: int
    second: int
    turns: tuple[Turn, ...]
    spreads: float = 0.0


Room = Callable[[int, int], Float32Array]
"""Rows and columns → an array to write to."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs above a cut: rows int64 [m], columns int64 [m], cosines float32 [m]."""

    rows: IntArray
    columns: IntArray
    cosines: Float32Array

    def only(self, kept: IntArray) -> _Pairs:
        """Those at some places."""
        return _Pairs(self.rows[kept], self.columns[kept], self.cosines[kept])


def find_candidates(
    features: Float32Array,
    sketches: UInt8Array,
    fresh: np.ndarray,
    apart: np.ndarray | None = None,
    room: Room | None = None,
) -> list[Candidate]:
    """Pairs with at least one fresh image that may be copies, ascending.

    Args:
        features: float32 [n, D], of each image's first view.
        sketches: uint8 [n, S, S], of the same views.
        fresh: bool [n], images that were not compared with the others yet.
        apart: bool [n], images of which none is known to be a copy of another one; None for all.
            What is usual is learned from them alone: where there are many copies, what was done
            to them would seem usual.
        room: gives the room for whitened features; None takes it from memory.
    """
    apart = np.ones(len(features), dtype=bool) if apart is None else apart
    rows = _unit(_whitened(features, np.flatnonzero(apart), room))
    spread = _spread(rows, rows)
    found: dict[tuple[int, int], dict[Turn, None]] = {}
    many = int(fresh.sum()) * len(fresh) > ALL_WITH_ALL
    # Cells are of features as they are: copies are close there, and photographs form clusters.
    drawn = draw(features, make_centres(features)) if many else None
    for pair in _by_features(rows, spread, fresh, drawn):
        found.setdefault(pair, {}).update({"none": None, "mirror": None})
    for pair, turn in _by_sketches(sketches, fresh, many=many):
        found.setdefault(pair, {})[turn] = None
    return [
        Candidate(a, b, tuple(turns), float(rows[a] @ rows[b]) / spread)
        for (a, b), turns in sorted(found.items())
    ]


def _by_features(
    rows: Float32Array, spread: float, fresh: np.ndarray, drawn: Drawn | None
) -> list[tuple[int, int]]:
    low, high = (min(_HIGHEST_CUT, spreads * spread) for spreads in _spreads(len(rows)))
    found = _joined(list(_pairs_above(rows, rows, _blocks(fresh, drawn, drawn), fresh, low)))
    room = max(_ROOM, int(_ROOM_PER_IMAGE * fresh.sum())) + int((found.cosines > high).sum())
    if len(found.cosines) > room:
        found = found.only(_foremost(found, high)[:room])
    return sorted({(min(a, b), max(a, b)) for a, b in _capped(found)})


def _foremost(found: _Pairs, high: float) -> IntArray:
    """Places of pairs by what speaks for a look at them.

    First those above `high`, then those of each image with the one that is most like it: a copy's
    original nearly always is, however little remains of it. Then all others.
    """
    nearest = np.zeros(len(found.cosines), dtype=np.float32)
    for ends in (found.rows, found.columns):
        nearest[_best(ends, found.cosines, 1)] = 1
    return np.argsort(-(found.cosines + nearest + 2 * (found.cosines > high)), kind="stable")


def _spreads(n: int) -> tuple[float, float]:
    """How many spreads make a candidate while there is room, and how many always do.

    The room keeps work bounded in stores that are all of one kind, where many pairs of different
    photographs are rather alike. Such pairs grow with the square of the number of images.
    """
    return _LOW_SPREADS, max(_HIGH_SPREADS, 10 + 7 / 5 * log10(max(n, 1)))


def _whitened(features: Float32Array, apart: IntArray, room: Room | None) -> Float32Array:
    """Features in which all directions count alike, float32 [n, D].

    A ridge keeps directions that hardly occur from counting: larger where images are few.
    """
    sample = features[apart[_evenly(len(apart), _FIT_ROWS)]]
    mean = sample.mean(axis=0)
    centred = sample - mean
    covariance = centred.T @ centred / np.float32(len(sample))
    ridge = max(_RIDGE, _RIDGE_OF_FEW / len(sample)) * float(np.trace(covariance)) + _TINY
    covariance[np.diag_indices_from(covariance)] += np.float32(ridge)
    factor = np.linalg.inv(np.linalg.cholesky(covariance))
    result = np.empty_like(features) if room is None else room(*features.shape)
    for part in chunks_of(len(features), _FIT_ROWS):
        result[part] = (features[part] - mean) @ factor.T
    return result


def _by_sketches(
    sketches: UInt8Array, fresh: np.ndarray, *, many: bool
) -> Iterator[tuple[tuple[int, int], Turn]]:
    basis, mean = _sketch_basis(sketches)

    def projected(turn: Turn) -> Float32Array:
        result = np.empty((len(sketches), basis.shape[1]), dtype=np.float32)
        for part in chunks_of(len(sketches), _FIT_ROWS):
            plain = turned(sketches[part].astype(np.float32), turn)
            result[part] = (plain.reshape(len(plain), -1) - mean) @ basis
        return _unit(result)

    rows = projected("none")
    cut = min(_HIGHEST_CUT, _SKETCH_SPREADS * _spread(rows, projected("left")))
    centres = make_centres(rows) if many else None
    drawn = None if centres is None else draw(rows, centres)
    for turn in _TURNING:
        # Rows stay, columns are turned; the pair's second image is the turned one.
        columns = projected(turn)
        blocks = _blocks(fresh, drawn, None if centres is None else draw(columns, centres))
        for a, b in _capped(_joined(list(_pairs_above(rows, columns, blocks, fresh, cut)))):
            yield ((a, b), turn) if a < b else ((b, a), inverse(turn))


def _sketch_basis(sketches: UInt8Array) -> tuple[Float32Array, Float32Array]:
    """Whitening that treats a sketch and its turned copies alike: float32 [S x S, d] and mean."""
    sample = sketches[_evenly(len(sketches), _SPREAD_ROWS)].astype(np.float32)
    every = np.concatenate([turned(sample, turn) for turn in TURNS]).reshape(-1, sample[0].size)
    mean = every.mean(axis=0)
    covariance = (every - mean).T @ (every - mean) / np.float32(len(every))
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    values, vectors = values[::-1][:_SKETCH_DIMS], vectors[:, ::-1][:, :_SKETCH_DIMS]
    ridge = max(_SKETCH_RIDGE, 1 / len(sample)) * values[0] + _TINY
    basis: Float32Array = (vectors / np.sqrt(values.clip(0) + ridge)).astype(np.float32)
    return basis, mean


def _unit(rows: Float32Array) -> Float32Array:
    for part in chunks_of(len(rows), _FIT_ROWS):  # lengths take a copy of what they are of
        lengths = np.linalg.norm(rows[part], axis=1, keepdims=True)
        rows[part] /= np.maximum(lengths, np.float32(_TINY))
    return rows


def _evenly(n: int, most: int) -> IntArray:
    """At most `most` of n numbers, evenly spread."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, most)).astype(np.int64))


def _spread(rows: Float32Array, columns: Float32Array) -> float:
    """Standard deviation of the cosines of different images, if they were normally distributed.

    From the nine tenths that lie in the middle: copies, however many there are, are not in it.
    """
    some = _evenly(len(rows), _SPREAD_ROWS)
    if len(some) < _LEAST_SPREAD_ROWS:
        return 1.0
    cosines = rows[some] @ columns[some].T
    off = ~np.eye(len(some), dtype=bool)
    return float(np.quantile(np.abs(cosines[off]), 0.9)) / _NORMAL_90


_Block = tuple[IntArray, IntArray | slice]
"""Rows and the columns that they are compared with, by number."""


def _blocks(fresh: np.ndarray, rows: Drawn | None, columns: Drawn | None) -> Iterator[_Block]:
    """Each fresh row with every column, or with those in its cells; more at once would not fit."""
    numbers = np.flatnonzero(fresh)
    some_are_old = len(numbers) < len(fresh)
    if rows is not None and columns is not None:
        for own, others in meetings(rows, columns):
            own = own[fresh[own]]
            for part in chunks_of(len(own), _CELL_ROWS):
                end = len(fresh) if some_are_old else int(own[part][-1])
                yield own[part], others[: np.searchsorted(others, end)]
        return
    rows_at_once = min(_BLOCK_ROWS, max(1, _BLOCK_CELLS // len(fresh)))
    for part in chunks_of(len(numbers), rows_at_once):
        own = numbers[part]
        yield own, slice(0, len(fresh) if some_are_old else int(own[-1]))


def _pairs_above(
    rows: Float32Array,
    columns: Float32Array,
    blocks: Iterator[_Block],
    fresh: np.ndarray,
    cut: float,
) -> Iterator[_Pairs]:
    """Each fresh row with columns that are old, and with the fresh ones before it."""
    for own, others in blocks:
        some = columns[others]
        if not len(some):
            continue
        cosines = rows[own] @ some.T
        row, column = np.divmod(np.flatnonzero(cosines > cut), len(some))
        values, row = cosines[row, column], own[row]
        column = column if isinstance(others, slice) else others[column]
        due = ~fresh[column] | (column < row)
        row, column, values = row[due], column[due], values[due]
        kept = _best(row, values, _MOST_PER_ROW)
        yield _Pairs(row[kept], column[kept], values[kept])


def _joined(parts: list[_Pairs]) -> _Pairs:
    if not parts:
        return _Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    joined = _Pairs(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.columns for part in parts]),
        np.concatenate([part.cosines for part in parts]),
    )
    # Rows of several cells may have met more than once.
    keys = joined.rows * (joined.columns.max(initial=0) + 1) + joined.columns
    _, first = np.unique(keys, return_index=True)
    return joined.only(np.sort(first))


def _capped(pairs: _Pairs) -> list[tuple[int, int]]:
    """Pairs that are among the most similar ones of either image."""
    rows, columns, cosines = pairs.rows, pairs.columns, pairs.cosines
    kept = np.union1d(
        _best(rows, cosines, _MOST_PER_IMAGE), _best(columns, cosines, _MOST_PER_IMAGE)
    ).astype(np.int64)
    return list(zip(rows[kept].tolist(), columns[kept].tolist(), strict=True))


def _best(keys: IntArray, values: Float32Array, most: int) -> IntArray:
    """Places of the `most` highest values of each key."""
    order = np.lexsort((-values, keys))
    sorted_keys = keys[order]
    first = np.searchsorted(sorted_keys, sorted_keys, side="left")
    return order[np.arange(len(order)) - first < most]
