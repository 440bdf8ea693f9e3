"""Resizing and blurring of grey pictures, as products with small matrices of weights."""

from __future__ import annotations

from functools import lru_cache
from math import ceil

import numpy as np

from keshikaran.types import Float32Array

_SIGMAS = 3


def fitted(grey: Float32Array, longest: int) -> Float32Array:
    """The picture at a longer side of `longest`; no side gets shorter than 6 pixels."""
    height, width = grey.shape
    scale = longest / max(height, width)
    return resized(grey, max(6, round(height * scale)), max(6, round(width * scale)))


def resized(grey: Float32Array, height: int, width: int) -> Float32Array:
    """The picture at another size: areas are averaged to shrink it, interpolated to enlarge it.

    Args:
        grey: float32 [H, W].
        height: rows wanted.
        width: columns wanted.
    """
    if grey.shape == (height, width):
        return grey
    down, across = _weights(grey.shape[0], height), _weights(grey.shape[1], width)
    result: Float32Array = down @ grey @ across.T
    return result


def blurred(grey: Float32Array, sigma: float) -> Float32Array:
    """The picture under a Gaussian of `sigma` pixels, float32 [H, W]."""
    down, across = _gaussian(grey.shape[0], sigma), _gaussian(grey.shape[1], sigma)
    result: Float32Array = down @ grey @ across.T
    return result


@lru_cache(maxsize=1024)
def _weights(before: int, after: int) -> Float32Array:
    """What each old pixel gives to each new one, float32 [after, before]; rows sum to one."""
    ratio = before / after
    centres = (np.arange(after) + 0.5) * ratio
    old = np.arange(before)
    if ratio > 1:
        left, right = centres[:, None] - ratio / 2, centres[:, None] + ratio / 2
        weights = np.clip(np.minimum(right, old + 1) - np.maximum(left, old), 0, 1)
    else:
        places = np.clip(centres - 0.5, 0, before - 1)
        weights = np.clip(1 - np.abs(places[:, None] - old), 0, 1)
    result: Float32Array = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return result


@lru_cache(maxsize=1024)
def _gaussian(length: int, sigma: float) -> Float32Array:
    """A Gaussian for each pixel, cut off at the picture's edges; rows sum to one."""
    distance = np.arange(length)[:, None] - np.arange(length)
    weights = np.exp(-0.5 * (distance / sigma) ** 2) * (np.abs(distance) <= ceil(_SIGMAS * sigma))
    result: Float32Array = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return result
