"""Which rows to compare where all with all would take too long: those that share a cell.

Rows are drawn to the centres that they are most like, and each belongs to several, so that two
that are nearly the same share one even where they lie between centres. (Sivic and Zisserman 2003,
"Video Google"; Jégou, Douze and Schmid 2011, "Product quantization for nearest neighbor search",
section 4.) Cells have a size that does not depend on the number of rows: work grows in proportion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keshikaran.types import Float32Array, IntArray, chunks_of

MEMBERS = 2_048
"""Of a cell, on average."""

_CHOICES = 3
_LARGEST = 4
_ROUNDS = 4
_ROWS_A_CENTRE = 32
_AT_ONCE = 8_192
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Centres:
    """What rows are drawn to.

    Attributes:
        mean: float32 [D], where rows are looked at from.
        directions: float32 [c, D], of length one.
    """

    mean: Float32Array
    directions: Float32Array


@dataclass(frozen=True, slots=True)
class Drawn:
    """Rows in their cells.

    Attributes:
        cells: int64 [n, k], the cells of each row.
        likeness: float32 [n, k], cosines with their centres.
    """

    cells: IntArray
    likeness: Float32Array


def make_centres(rows: Float32Array) -> Centres:
    """Centres of rows, by a few rounds of k-means on some of them.

    Deterministic: begins at rows that are evenly spread over the table.

    Args:
        rows: float32 [n, D].
    """
    count = max(1, -(-len(rows) * _CHOICES // MEMBERS))
    sample = rows[_evenly(len(rows), count * _ROWS_A_CENTRE)]
    mean = sample.mean(axis=0)
    sample = _unit(sample - mean)
    directions = sample[_evenly(len(sample), count)].copy()
    for _ in range(_ROUNDS):
        nearest = np.concatenate(
            [
                np.argmax(sample[part] @ directions.T, axis=1)
                for part in chunks_of(len(sample), _AT_ONCE)
            ]
        )
        order = np.argsort(nearest, kind="stable")
        met, starts = np.unique(nearest[order], return_index=True)
        directions[met] = _unit(np.add.reduceat(sample[order], starts, axis=0))
    return Centres(mean, directions)


def draw(rows: Float32Array, centres: Centres) -> Drawn:
    """The cells that each row belongs to.

    Args:
        rows: float32 [n, D].
        centres: from `make_centres`, of these rows or of others like them.
    """
    choices = min(_CHOICES, len(centres.directions))
    cells = np.empty((len(rows), choices), dtype=np.int64)
    likeness = np.empty((len(rows), choices), dtype=np.float32)
    for part in chunks_of(len(rows), _AT_ONCE):
        cosines = _unit(rows[part] - centres.mean) @ centres.directions.T
        every = np.arange(len(cosines))
        for choice in range(choices):  # among hundreds, 20 times faster than to partition them
            best = cosines.argmax(axis=1)
            cells[part, choice] = best
            likeness[part, choice] = cosines[every, best]
            cosines[every, best] = -np.inf
    return Drawn(cells, likeness)


def meetings(rows: Drawn, columns: Drawn) -> Iterator[tuple[IntArray, IntArray]]:
    """Numbers of rows, and of the columns to compare them with, both ascending.

    A pair may meet more than once.

    A cell of more than four times the usual size, as blank pictures make it, is cut into windows
    of rows that are equally like its centre.

    Args:
        rows: where the rows are.
        columns: where the columns are, by the same centres.
    """
    of_rows, of_columns = _by_cell(rows), _by_cell(columns)
    for cell, (numbers, likeness) in of_rows.items():
        others, their_likeness = of_columns.get(cell, (numbers[:0], likeness[:0]))
        if max(len(numbers), len(others)) <= _LARGEST * MEMBERS:
            yield np.sort(numbers), np.sort(others)
            continue
        for part in chunks_of(len(numbers), MEMBERS):
            middle = (part.start + part.stop) // 2
            if rows is not columns:
                middle = int(np.searchsorted(-their_likeness, -likeness[middle]))
            others_near = others[max(0, middle - MEMBERS) : middle + MEMBERS]
            yield np.sort(numbers[part]), np.sort(others_near)


def _by_cell(drawn: Drawn) -> dict[int, tuple[IntArray, Float32Array]]:
    """Rows of each cell and their likeness, the most like first."""
    cells, likeness = drawn.cells.ravel(), drawn.likeness.ravel()
    order = np.lexsort((-likeness, cells))
    numbers = order // drawn.cells.shape[1]
    found, starts = np.unique(cells[order], return_index=True)
    ends = np.append(starts[1:], len(order))
    return {
        cell: (numbers[start:end], likeness[order[start:end]])
        for cell, start, end in zip(found.tolist(), starts.tolist(), ends.tolist(), strict=True)
    }


def _evenly(n: int, most: int) -> IntArray:
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, most)).astype(np.int64))


def _unit(rows: Float32Array) -> Float32Array:
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(_TINY))
    return rows
