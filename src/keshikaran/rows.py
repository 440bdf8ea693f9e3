"""Rows of a table that is too large to copy: chosen, centred and scaled as they are looked at.

Whoever fits goes through the rows in small pieces, many times. Chosen rows are copied only where
they are few: the first touch of fresh memory costs more than finding them again. Below
`LARGE_CELLS` rows are centred and scaled once; above, each time they are looked at, so that a table
is in memory once, or not at all where it is a mapped file. Both give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keshikaran.types import Float32Array, Float64Array, FloatArray, IntArray, chunks_of

LARGE_CELLS = 1 << 27  # 512 MB in single precision; 100,000 rows of the usual width
COPIED_CELLS = 1 << 22  # 16 MB in single precision
_ROWS = 512  # as many as stay in the processor's cache

Key = slice | np.ndarray[Any, Any]
"""Which rows: a slice, numbers, or a bool for each."""


class Rows:
    """Some rows of a table, none of them copied before it is asked for.

    Args:
        table: float32 [R, D].
        numbers: int64 [n], rows of it, at most R.
    """

    def __init__(self, table: Float32Array, numbers: IntArray) -> None:
        self.table, self.numbers = table, numbers
        self.shape: tuple[int, ...] = (len(numbers), table.shape[1])

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, key: Key) -> Features:
        return take(self.table, self.numbers[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:  # noqa: ANN401
        """All of them, for those who cannot do with less."""
        return np.asarray(self.table[self.numbers], dtype=dtype)


Features = Float32Array | Rows
"""Features [n, D]: an array, or what can be cut into arrays."""


class StandardRows:
    """Rows, centred and scaled when they are asked for.

    Args:
        rows: features [n, D].
        mean: float64 [D].
        scale: float64 [D].
        dtype: float32 for speed, float64 for the last digits.
    """

    def __init__(
        self,
        rows: Features,
        mean: Float64Array,
        scale: Float64Array,
        dtype: Any,  # noqa: ANN401
    ) -> None:
        self.rows, self.mean, self.scale = rows, mean, scale
        self.dtype = np.dtype(dtype)
        self.shape = rows.shape
        self._narrow = (mean.astype(np.float32), (1 / scale).astype(np.float32))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> FloatArray | StandardRows:
        rows = self.rows[key]
        if is_large(rows):
            return StandardRows(rows, self.mean, self.scale, self.dtype)
        return self._made(np.asarray(rows))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:  # noqa: ANN401
        """All of them, for those who cannot do with less."""
        return self._made(np.asarray(self.rows)).astype(dtype or self.dtype, copy=False)

    def _made(self, rows: Float32Array) -> FloatArray:
        if self.dtype == np.float64:
            return _in_double(rows, self.mean, self.scale)
        mean, factor = self._narrow
        z = rows - mean
        z *= factor
        return z

    def astype(self, dtype: Any) -> StandardRows:  # noqa: ANN401
        """The same in another precision."""
        return StandardRows(self.rows, self.mean, self.scale, dtype)


TableRows = FloatArray | Rows | StandardRows
"""Rows [n, D] to fit on or to score."""


def is_large(rows: TableRows) -> bool:
    """Whether there are too many to copy."""
    return rows.shape[0] * rows.shape[1] > LARGE_CELLS


def take(table: Features, numbers: IntArray) -> Features:
    """Rows of a table: the table itself where that is all of them in order; a copy of a few.

    Args:
        table: float32 [R, D].
        numbers: int64 [n].
    """
    if isinstance(table, Rows):
        return take(table.table, table.numbers[numbers])
    if len(numbers) == len(table) and (numbers == np.arange(len(table))).all():
        return table
    if len(numbers) * table.shape[1] > COPIED_CELLS:
        return Rows(table, numbers)
    chosen: Float32Array = table[numbers]
    return chosen


def pieces(rows: TableRows, size: int) -> Iterator[tuple[slice, FloatArray]]:
    """Slices and the arrays there, in order, at most `size` rows each."""
    for part in chunks_of(len(rows), size):
        yield part, np.asarray(rows[part])


def raw_pieces(
    rows: FloatArray | Rows,
    size: int,
    dtype: np.dtype[Any],
    centre: Float64Array | None = None,
) -> Iterator[tuple[slice, FloatArray]]:
    """As `pieces`, in a precision, minus `centre`; a piece is overwritten by the next one."""
    room = np.empty((size, rows.shape[1]), dtype=np.float32)
    wide = np.empty((size, rows.shape[1]), dtype=dtype)
    for part in chunks_of(len(rows), size):
        count = part.stop - part.start
        if isinstance(rows, Rows):
            numbers = rows.numbers[part]
            piece = np.take(rows.table, numbers, axis=0, out=room[:count], mode="clip")
        else:
            piece = rows[part]
        if centre is not None:
            piece = np.subtract(piece, centre, out=wide[:count], casting="same_kind")
        elif piece.dtype != dtype:
            wide[:count] = piece
            piece = wide[:count]
        yield part, piece


def product(rows: TableRows, weights: Float64Array) -> Float64Array:
    """Each row's scalar product with `weights`, float64 [n]."""
    if isinstance(rows, StandardRows):
        own = weights / rows.scale
        return product(rows.rows, own) - float(rows.mean @ own)
    result = np.empty(len(rows))
    if isinstance(rows, Rows) or rows.dtype != np.float64:
        for part, some in raw_pieces(rows, _ROWS, weights.dtype):
            result[part] = some @ weights
        return result
    result[:] = rows @ weights
    return result


def standardised(
    rows: Features, mean: Float64Array, scale: Float64Array
) -> Float64Array | StandardRows:
    """Rows minus `mean`, over `scale`, in double precision.

    One copy and no more, since it is the largest array of a fit; none where rows are large.
    """
    if is_large(rows):
        return StandardRows(rows, mean, scale, np.float64)
    return _in_double(np.asarray(rows), mean, scale)


def standardised_roughly(
    rows: Features, mean: Float64Array, scale: Float64Array
) -> Float32Array | StandardRows:
    """The same in single precision."""
    if is_large(rows):
        return StandardRows(rows, mean, scale, np.float32)
    z = np.empty(rows.shape, dtype=np.float32)
    if isinstance(rows, Rows):
        np.take(rows.table, rows.numbers, axis=0, out=z, mode="clip")
    else:
        z[:] = rows
    z -= mean.astype(np.float32)
    z *= (1.0 / scale).astype(np.float32)
    return z


def _in_double(x: Float32Array, mean: Float64Array, scale: Float64Array) -> Float64Array:
    z = np.empty(x.shape)
    for part in chunks_of(len(x), _ROWS):
        np.subtract(x[part], mean, out=z[part])
        z[part] /= scale
    return z
