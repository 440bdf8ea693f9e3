"""Laying one picture exactly on another: Gauss-Newton from small to large.

Inverse compositional alignment (Baker and Matthews, Lucas-Kanade 20 Years On, 2004) for scale
and shift, with a gain for brightness and weights that make little of what differs (Cauchy).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keshikaran.alignment.coarse import Place
from keshikaran.alignment.picture import LEVELS, Layer, Picture
from keshikaran.types import Float32Array

_STEPS = (10, 6, 4)
_STRIDES = (1, 1, 2)
_LEAST_SEEN = 0.3
_STILL = 0.03
_RIDGE = np.diag([1e-2, 1e-2, 1.0])


@dataclass(frozen=True, slots=True)
class Laid:
    """The second picture on the first one's grid.

    Attributes:
        scale: of the second picture.
        pixels: float32 [H, W]; zero where the second picture has nothing.
        seen: bool [H, W], where it has something.
    """

    scale: float
    pixels: Float32Array
    seen: np.ndarray


def lay(first: Picture, second: Picture, start: Place) -> Laid | None:
    """Refine a place; None where the pictures slip off each other.

    Args:
        first: the picture that stays.
        second: the one that is laid on it.
        start: where about.
    """
    # Places of the first -> of the second: second = zoom x first + shift.
    zoom = 1 / start.scale
    down, across = -start.down * zoom, -start.across * zoom
    side = start.side
    for level, target in enumerate(LEVELS):
        down, across, side = down * target / side, across * target / side, target
        found = _refine(first.layers[level], second.layers[level], (zoom, down, across), level)
        if found is None:
            return None
        zoom, down, across = found
    grey = first.layers[-1].grey
    rows, columns = (np.arange(n, dtype=np.float32) for n in grey.shape)
    pixels, seen = _warped(second.layers[-1].grey, zoom * rows + down, zoom * columns + across)
    return Laid(1 / zoom, pixels, seen)


def _refine(
    a: Layer, b: Layer, place: tuple[float, float, float], level: int
) -> tuple[float, float, float] | None:
    zoom, down, across = place
    stride = _STRIDES[level]
    grey = a.grey[::stride, ::stride]
    rows = np.arange(0, a.grey.shape[0], stride, dtype=np.float32)
    columns = np.arange(0, a.grey.shape[1], stride, dtype=np.float32)
    slope_down, slope_across = a.down[::stride, ::stride], a.across[::stride, ::stride]
    zooming = slope_down * rows[:, None] + slope_across * columns
    slopes = np.stack([slope_down.ravel(), slope_across.ravel(), zooming.ravel()])
    for _ in range(_STEPS[level]):
        warped, seen = _warped(b.grey, zoom * rows + down, zoom * columns + across)
        if seen.sum() < _LEAST_SEEN * seen.size:
            return None
        step = _step(grey[seen], warped[seen], slopes[:, seen.ravel()])
        # The step moves the first picture; its inverse moves the second.
        zoom /= 1 + step[2]
        down, across = down - zoom * step[0], across - zoom * step[1]
        if abs(step[0]) + abs(step[1]) + abs(step[2]) * LEVELS[level] / 2 < _STILL:
            break
    return zoom, down, across


def _step(a: Float32Array, b: Float32Array, slopes: Float32Array) -> np.ndarray:
    """Down, across and zoom that bring the first picture closer to the second."""
    a, b = a - a.mean(), b - b.mean()
    gain = max(0.2, float(a @ b) / max(float(b @ b), 1e-3))
    difference = gain * b - a
    spread = 2 * float(np.median(np.abs(difference))) + 1
    weights = 1 / (1 + (difference / spread) ** 2)
    slopes = slopes - slopes.mean(axis=1, keepdims=True)
    weighted = slopes * weights
    step = np.linalg.solve(weighted @ slopes.T + _RIDGE, weighted @ difference)
    return np.clip(step, [-2, -2, -0.03], [2, 2, 0.03])


def _warped(
    grey: Float32Array, rows: Float32Array, columns: Float32Array
) -> tuple[Float32Array, np.ndarray]:
    """Values between pixels, at every pair of a row and a column; and which lie inside.

    Since there is no rotation, interpolating is two products with sparse matrices; taking two
    rows and two columns each does the same.
    """
    height, width = grey.shape
    inside = np.logical_and.outer(
        (rows >= 0) & (rows <= height - 1), (columns >= 0) & (columns <= width - 1)
    )
    top = np.clip(rows.astype(np.int64), 0, height - 2)
    left = np.clip(columns.astype(np.int64), 0, width - 2)
    low = np.clip(rows - top, 0, 1)[:, None]
    far = np.clip(columns - left, 0, 1)
    lines = grey[top] * (1 - low) + grey[top + 1] * low
    pixels = lines[:, left] * (1 - far) + lines[:, left + 1] * far
    return np.where(inside, pixels, 0), inside
