"""Where one small picture might lie on another: normalised cross-correlation of the overlap.

Correlation over the pixels that both pictures have, for every shift at once; the products by
Fourier transforms (as Padfield, Masked object registration in the Fourier domain, 2012), means
and variances, since both pictures are whole rectangles, from running sums.
"""

from __future__ import annotations

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


def starts(first: Picture, second: Picture) -> list[Place]:
    """The best place at each scale where anything correlates."""
    scores = _correlations(first.fixed, second.moving)
    peaks = scores.reshape(len(scores), -1)
    best = peaks.argmax(axis=1)
    heights = peaks[np.arange(len(peaks)), best]
    found: list[Place] = []
    for k in np.flatnonzero(heights >= _LEAST_CORRELATION):
        down, across = divmod(int(best[k]), len(_SHIFTS))
        found.append(
            Place(float(SCALES[k]), down - _FAR, across - _FAR, COARSE_SIDE, float(heights[k]))
        )
    return found


def _correlations(first: Small, second: Small) -> Float32Array:
    """Correlation at each scale and shift, float32 [scales, S, S]; -1 where undefined."""
    products = np.fft.irfft2(first.spectra * np.conj(second.spectra), s=(FIELD, FIELD))
    products = products[:, _SHIFTS[:, None], _SHIFTS]
    result = np.full_like(products, -1)
    (shape,) = first.shapes
    for k, other in enumerate(second.shapes):
        rows, columns = _overlap(shape[0], other[0]), _overlap(shape[1], other[1])
        n = np.multiply.outer(rows[1] - rows[0], columns[1] - columns[0])
        n = np.maximum(n, 1).astype(np.float32)
        mean_a, power_a = _sums(first.sums[0], rows, columns)
        mean_b, power_b = _sums(second.sums[k], *_shifted(rows, columns, other))
        var_a, var_b = power_a - mean_a * mean_a / n, power_b - mean_b * mean_b / n
        least = _LEAST_OVERLAP * max(shape[0] * shape[1], other[0] * other[1])
        usable = (n > least) & (var_a > _LEAST_VARIANCE * n) & (var_b > _LEAST_VARIANCE * n)
        scale = np.sqrt(np.maximum(var_a * var_b, 1e-3))
        result[k] = np.where(usable, (products[k] - mean_a * mean_b / n) / scale, -1)
    return result


def _shifted(
    rows: IntArray, columns: IntArray, shape: tuple[int, int]
) -> tuple[IntArray, IntArray]:
    """The same places in the picture that is shifted."""
    return np.clip(rows - _SHIFTS, 0, shape[0]), np.clip(columns - _SHIFTS, 0, shape[1])


def _sums(sums: Float32Array, rows: IntArray, columns: IntArray) -> Float32Array:
    """Sums over rectangles, [2, S, S], from running sums [2, h + 1, w + 1]."""
    low, high = sums[:, rows[0]], sums[:, rows[1]]
    lines = high - low
    result: Float32Array = lines[:, :, columns[1]] - lines[:, :, columns[0]]
    return result


@lru_cache(maxsize=4096)
def _overlap(length: int, other: int) -> IntArray:
    """For each shift, from where to where a line overlaps with a shifted one, int64 [2, S]."""
    start = np.clip(_SHIFTS, 0, length)
    return np.stack([start, np.maximum(np.minimum(length, _SHIFTS + other), start)])
