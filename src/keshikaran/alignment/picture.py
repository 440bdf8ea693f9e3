"""Grey pictures in the sizes that comparing needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from keshikaran.alignment.resample import blurred, fitted, resized
from keshikaran.types import Float32Array, UInt8Array

THUMBNAIL = 160
"""Longer side of the pictures that are compared, in pixels."""

COARSE_SIDE = 32
LEVELS = (40, 80, THUMBNAIL)
SPAN = 1.32
"""How much larger or smaller one picture may show the same things than the other."""

SCALES = np.exp(np.linspace(-np.log(SPAN), np.log(SPAN), 9))
FIELD = 64

_BLURS = (0.8, 0.8, 0.6)
_HIGH_PASS = 4.0
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_BAR = 128

Turn = Literal[
    "none", "left", "half", "right", "mirror", "mirror_left", "mirror_half", "mirror_right"
]
"""Quarter turns to the left, then, where the name says so, mirrored left to right."""

TURNS: dict[Turn, tuple[int, bool]] = {
    "none": (0, False),
    "left": (1, False),
    "half": (2, False),
    "right": (3, False),
    "mirror": (0, True),
    "mirror_left": (1, True),
    "mirror_half": (2, True),
    "mirror_right": (3, True),
}
"""Each turn as the number of quarter turns to the left, and whether it mirrors after that."""


def turned(pixels: Float32Array, turn: Turn) -> Float32Array:
    """A picture, [..., H, W], turned."""
    quarters, mirrored = TURNS[turn]
    result = np.rot90(pixels, quarters, axes=(-2, -1))
    return np.ascontiguousarray(result[..., ::-1] if mirrored else result)


@dataclass(frozen=True, slots=True)
class Layer:
    """One size of a picture with its slopes.

    Attributes:
        grey: float32 [h, w].
        down: slope from row to row, float32 [h, w].
        across: slope from column to column, float32 [h, w].
    """

    grey: Float32Array
    down: Float32Array
    across: Float32Array


@dataclass(frozen=True, slots=True)
class Spectra:
    """Fourier transforms of a small picture, its mask and its square, in a field of zeros.

    Attributes:
        values: complex64 [..., 3, FIELD, FIELD / 2 + 1].
        areas: pixels of the picture, float32 [...].
    """

    values: np.ndarray
    areas: np.ndarray


class Picture:
    """A grey picture; what comparing needs of it is computed once, when first asked for.

    Args:
        thumbnail: [H, W] in [0, 255]; brought to a longer side of `THUMBNAIL` if it has another.
    """

    def __init__(self, thumbnail: UInt8Array | Float32Array) -> None:
        self.grey = fitted(thumbnail.astype(np.float32), THUMBNAIL)

    def turned(self, turn: Turn) -> Picture:
        """The same picture, turned."""
        return self if turn == "none" else Picture(turned(self.grey, turn))

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """From small to large."""
        sizes = (fitted(self.grey, side) for side in LEVELS)
        greys = [blurred(grey, sigma) for grey, sigma in zip(sizes, _BLURS, strict=True)]
        return tuple(Layer(grey, *np.gradient(grey)) for grey in greys)

    @cached_property
    def fixed(self) -> Spectra:
        """Of the picture as it is."""
        return _spectra([fitted(self.grey, COARSE_SIDE)])

    @cached_property
    def moving(self) -> Spectra:
        """Of the picture at all `SCALES`."""
        small = fitted(self.grey, COARSE_SIDE)
        height, width = small.shape
        sizes = [(max(6, round(height * k)), max(6, round(width * k))) for k in SCALES]
        return _spectra([resized(small, *size) for size in sizes])


def thumbnail_of(pixels: UInt8Array) -> UInt8Array:
    """A grey thumbnail from what the decoder gives for a square of `THUMBNAIL` with grey bars.

    Args:
        pixels: uint8 [H, W, 3]; bars of exactly the padding's grey are cut off.

    Returns:
        uint8 [h, w].
    """
    rows, columns = np.nonzero((pixels != _BAR).any(axis=2))
    if len(rows):
        # Bars lie on opposite sides and are equally wide, but for a pixel.
        top, left = _margin(rows, len(pixels)), _margin(columns, pixels.shape[1])
        pixels = pixels[top : len(pixels) - top, left : pixels.shape[1] - left]
    grey: UInt8Array = (pixels @ _LUMA + 0.5).astype(np.uint8)
    return grey


def high_passed(grey: Float32Array) -> Float32Array:
    """The picture without what changes slowly."""
    result: Float32Array = grey - blurred(grey, _HIGH_PASS)
    return result


def _margin(places: np.ndarray, length: int) -> int:
    return int(min(places.min(), length - 1 - places.max()))


def _spectra(greys: list[Float32Array]) -> Spectra:
    fields = np.zeros((len(greys), 3, FIELD, FIELD), dtype=np.float32)
    for field, grey in zip(fields, greys, strict=True):
        height, width = grey.shape
        values = grey - grey.mean()
        field[:, :height, :width] = values, np.ones_like(values), values * values
    areas = np.array([grey.size for grey in greys], dtype=np.float32)
    return Spectra(np.fft.rfft2(fields), areas)
