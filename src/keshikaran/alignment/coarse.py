"""Where one small picture might lie on another: normalised cross-correlation of the overlap.

Correlation over the pixels that both pictures have, for every shift at once; the products by
Fourier transforms (as Padfield, Masked object registration in the Fourier domain, 2012), means
and variances, since both pictures are whole rectangles, from running sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from keshikaran.alignment.picture import COARSE_SIDE, FIELD, SCALES, Picture, Small
from keshikaran.alignment.place import Place
from keshikaran.types import Float32Array, IntArray

_LEAST_OVERLAP = 0.55
_LEAST_CORRELATION = 0.5
_LEAST_VARIANCE = 4.0
_FAR = int(COARSE_SIDE * (1 - _LEAST_OVERLAP)) + 2
_SHIFTS = np.arange(-_FAR, _FAR + 1)


def starts(first: Picture, second: Picture, *, mirrored: bool = False) -> list[Place]:
    """The best place at each scale where anything correlates.

    Args:
        first: the picture that stays.
        second: the picture that is scaled and shifted.
        mirrored: look for places of the second picture's mirror image. Two pictures fit as their
            mirror images do: mirroring the first, which is there at one scale, is cheaper.
    """
    fixed, moving = (first.turned("mirror") if mirrored else first).fixed, second.moving
    scores = _correlations(fixed, moving)
    peaks = scores.reshape(len(scores), -1)
    best = peaks.argmax(axis=1)
    heights = peaks[np.arange(len(peaks)), best]
    found: list[Place] = []
    for k in np.flatnonzero(heights >= _LEAST_CORRELATION):
        row, column = divmod(int(best[k]), len(_SHIFTS))
        down, across = row - _FAR, column - _FAR
        if mirrored:
            across = fixed.shapes[0][1] - moving.shapes[k][1] - across
        found.append(Place(float(SCALES[k]), down, across, COARSE_SIDE, float(heights[k])))
    return found


def _correlations(first: Small, second: Small) -> Float32Array:
    """Correlation at each scale and shift, float32 [scales, S, S]; -1 where undefined."""
    products = np.fft.irfft2(first.spectra * np.conj(second.spectra), s=(FIELD, FIELD))
    products = products[:, _SHIFTS[:, None], _SHIFTS]
    shared = _overlaps(first.shapes[0], tuple(second.shapes))
    n = shared.pixels
    mean_a, power_a = _sums(np.broadcast_to(first.sums, second.sums.shape), *shared.of_first)
    mean_b, power_b = _sums(second.sums, *shared.of_second)
    var_a, var_b = power_a - mean_a * mean_a / n, power_b - mean_b * mean_b / n
    usable = shared.enough & (var_a > _LEAST_VARIANCE * n) & (var_b > _LEAST_VARIANCE * n)
    scale = np.sqrt(np.maximum(var_a * var_b, 1e-3))
    result: Float32Array = np.where(usable, (products - mean_a * mean_b / n) / scale, -1)
    return result.astype(np.float32, copy=False)


def _sums(
    sums: Float32Array, rows: IntArray, columns: IntArray
) -> tuple[Float32Array, Float32Array]:
    """Sums over rectangles of values and of squares, each [scales, S, S], from running sums.

    Args:
        sums: see `Small.sums`.
        rows: from where to where, int64 [2, scales, S].
        columns: likewise.
    """
    count, bands, height, width = sums.shape
    table = sums.reshape(-1, width)
    starts = np.arange(count * bands).reshape(count, bands, 1) * height
    lines = table[starts + rows[1][:, None]] - table[starts + rows[0][:, None]]
    result = np.empty((bands, count, rows.shape[2], columns.shape[2]), dtype=np.float32)
    for k in range(count):
        own = lines[k]
        result[:, k] = own.take(columns[1, k], axis=2) - own.take(columns[0, k], axis=2)
    return result[0], result[1]


@dataclass(frozen=True, slots=True)
class _Overlaps:
    """What one picture shares with another at each scale and shift.

    Attributes:
        pixels: how many, at least 1: float32 [scales, S, S].
        enough: whether they are enough to tell: bool [scales, S, S].
        of_first: rows and columns in the one that stays, from where to where: int64
            [2, scales, S] each.
        of_second: the same places in the one that is shifted.
    """

    pixels: Float32Array
    enough: np.ndarray
    of_first: tuple[IntArray, IntArray]
    of_second: tuple[IntArray, IntArray]


@lru_cache(maxsize=512)
def _overlaps(shape: tuple[int, int], others: tuple[tuple[int, int], ...]) -> _Overlaps:
    """Overlaps of two shapes; pictures come in few shapes."""
    rows = np.stack([_overlap(shape[0], other[0]) for other in others], axis=1)
    columns = np.stack([_overlap(shape[1], other[1]) for other in others], axis=1)
    n = (rows[1] - rows[0])[:, :, None] * (columns[1] - columns[0])[:, None, :]
    pixels = np.maximum(n, 1).astype(np.float32)
    sizes = np.array([max(shape[0] * shape[1], height * width) for height, width in others])
    limits = np.array(others)
    shifted = (
        np.clip(rows - _SHIFTS, 0, limits[:, :1]),
        np.clip(columns - _SHIFTS, 0, limits[:, 1:]),
    )
    enough = pixels > (_LEAST_OVERLAP * sizes)[:, None, None]
    return _Overlaps(pixels, enough, (rows, columns), shifted)


def _overlap(length: int, other: int) -> IntArray:
    """For each shift, from where to where a line overlaps with a shifted one, int64 [2, S]."""
    start = np.clip(_SHIFTS, 0, length)
    return np.stack([start, np.maximum(np.minimum(length, _SHIFTS + other), start)])
