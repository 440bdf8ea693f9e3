"""Laying one picture exactly on another: Gauss-Newton from small to large.

Inverse compositional alignment (Baker and Matthews, Lucas-Kanade 20 Years On, 2004) for scale
and shift, with a gain for brightness and weights that make little of what differs (Cauchy).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keshikaran.alignment.picture import LEVELS, Layer
from keshikaran.alignment.place import Place
from keshikaran.types import Float32Array, Float64Array

_STEPS = (4, 4, 4)
_STRIDES = (1, 2, 2)
_LEAST_SEEN = 0.3
_STILL = 0.05
_LARGEST_STEP = np.array([2.0, 2.0, 0.03])
_RIDGE = np.diag([1e-2, 1e-2, 1.0])


@dataclass(frozen=True, slots=True)
class Laid:
    """What both pictures show, on the first one's grid.

    Attributes:
        first: float32 [h, w].
        second: float32 [h, w].
    """

    first: Float32Array
    second: Float32Array


def refine(first: Layer, second: Layer, place: Place, level: int) -> Place | None:
    """A better place; None where the pictures slip off each other.

    Args:
        first: the picture that stays.
        second: the one that is laid on it.
        place: where about.
        level: which of `LEVELS` both are.
    """
    stride, side = _STRIDES[level], LEVELS[level]
    place = place.at(side)
    # Places of the first -> of the second: second = zoom x first + shift.
    zoom = 1 / place.scale
    down, across = -place.down * zoom, -place.across * zoom
    grey, slopes = first.template(stride)
    rows = np.arange(0, first.grey.shape[0], stride, dtype=np.float32)
    columns = np.arange(0, first.grey.shape[1], stride, dtype=np.float32)
    for _ in range(_STEPS[level]):
        y, x = (
            _within(zoom * rows + down, second.grey.shape[0]),
            _within(zoom * columns + across, second.grey.shape[1]),
        )
        if (y.stop - y.start) * (x.stop - x.start) < _LEAST_SEEN * grey.size:
            return None
        warped = _warped(second.grey, zoom * rows[y] + down, zoom * columns[x] + across)
        step = _step(grey[y, x].ravel(), warped.ravel(), slopes[:, y, x].reshape(3, -1))
        # The step moves the first picture; its inverse moves the second.
        zoom /= 1 + step[2]
        down, across = down - zoom * step[0], across - zoom * step[1]
        if abs(step[0]) + abs(step[1]) + abs(step[2]) * side / 2 < _STILL:
            break
    shift = (float(-down / zoom), float(-across / zoom))
    return Place(float(1 / zoom), *shift, side, place.correlation)


def lay(first: Layer, second: Layer, place: Place) -> Laid:
    """Cut out of both what both show."""
    rows, columns = (np.arange(n, dtype=np.float32) for n in first.grey.shape)
    rows, columns = (rows - place.down) / place.scale, (columns - place.across) / place.scale
    y, x = _within(rows, second.grey.shape[0]), _within(columns, second.grey.shape[1])
    return Laid(first.grey[y, x], _warped(second.grey, rows[y], columns[x]))


def _step(a: Float32Array, b: Float32Array, slopes: Float32Array) -> Float64Array:
    """Down, across and zoom that bring the first picture closer to the second."""
    a, b = a - _mean(a), b - _mean(b)
    gain = max(0.2, float(a @ b) / max(float(b @ b), 1e-3))
    difference = gain * b - a
    spread = 2 * float(_mean(np.abs(difference))) + 1
    weights = 1 / (1 + (difference / spread) ** 2)
    slopes = slopes - np.add.reduce(slopes, axis=1, keepdims=True) / slopes.shape[1]
    weighted = slopes * weights
    step = np.linalg.solve(weighted @ slopes.T + _RIDGE, weighted @ difference)
    result: Float64Array = np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
    return result


def _mean(values: Float32Array) -> np.float32:
    """What `values.mean()` is, in half the time: these are small, and there are many."""
    result: np.float32 = np.add.reduce(values) / values.size
    return result


def _within(places: Float32Array, length: int) -> slice:
    """Which of some ascending places lie in a picture."""
    first, last = places.searchsorted((0, length - 1), side="left")
    return slice(int(first), int(last))


def _warped(grey: Float32Array, rows: Float32Array, columns: Float32Array) -> Float32Array:
    """Values between pixels, at every pair of a row and a column, all of them inside.

    Without rotation, interpolating rows and columns one after the other is all there is to it.
    """
    top, left = rows.astype(np.int64), columns.astype(np.int64)
    low, far = (rows - top).astype(np.float32)[:, None], (columns - left).astype(np.float32)
    lines = grey.take(top, axis=0)
    lines = lines + low * (grey.take(top + 1, axis=0) - lines)
    pixels = lines.take(left, axis=1)
    result: Float32Array = pixels + far * (lines.take(left + 1, axis=1) - pixels)
    return result
