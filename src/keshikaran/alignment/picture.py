"""Grey pictures in the sizes that comparing needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from keshikaran.alignment.frame import trimmed
from keshikaran.alignment.resample import blurred, fitted, resized
from keshikaran.types import Float32Array, UInt8Array

THUMBNAIL = 160
"""Longer side of the pictures that are compared, in pixels."""

COARSE_SIDE = 24
LEVELS = (40, 80, THUMBNAIL)
SPAN = 1.32
"""How much larger or smaller one picture may show the same things than the other."""

SCALES = np.exp(np.linspace(-np.log(SPAN), np.log(SPAN), 7))
FIELD = 48

_BLURS = (0.8, 0.8, 0.6)
_RED, _GREEN, _BLUE = 77, 150, 29
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


_UNDONE: dict[Turn, Turn] = {"left": "right", "right": "left"}  # any other undoes itself


def inverse(turn: Turn) -> Turn:
    """What undoes a turn."""
    return _UNDONE.get(turn, turn)


def turned(pixels: Float32Array, turn: Turn) -> Float32Array:
    """A picture, [..., H, W], turned."""
    quarters, mirrored = TURNS[turn]
    result = np.rot90(pixels, quarters, axes=(-2, -1))
    return np.ascontiguousarray(result[..., ::-1] if mirrored else result)


class Layer:
    """One size of a picture.

    Args:
        grey: float32 [h, w].
    """

    def __init__(self, grey: Float32Array) -> None:
        self.grey = grey
        self._templates: dict[int, tuple[Float32Array, Float32Array]] = {}

    def template(self, stride: int) -> tuple[Float32Array, Float32Array]:
        """Every `stride`th pixel, [h', w'], and how it changes, [3, h', w'].

        Changes are by shifting the picture down, across, and by enlarging it.
        """
        if stride not in self._templates:
            slopes = [np.gradient(self.grey, axis=axis) for axis in (0, 1)]
            down, across = (slope[::stride, ::stride] for slope in slopes)
            rows = np.arange(0, self.grey.shape[0], stride, dtype=np.float32)[:, None]
            columns = np.arange(0, self.grey.shape[1], stride, dtype=np.float32)
            changes = np.stack([down, across, down * rows + across * columns])
            self._templates[stride] = (self.grey[::stride, ::stride], changes)
        return self._templates[stride]


@dataclass(frozen=True, slots=True)
class Small:
    """A small picture, at one scale or several.

    Attributes:
        shapes: height and width at each scale.
        spectra: Fourier transforms in a field of zeros, complex64 [scales, FIELD, FIELD / 2 + 1].
        sums: running sums of values and of squares at each scale, float32
            [scales, 2, FIELD + 1, FIELD + 1]; beyond the picture they are zero.
    """

    shapes: list[tuple[int, int]]
    spectra: np.ndarray
    sums: Float32Array


class Picture:
    """A grey picture; what comparing needs of it is computed once, when first asked for.

    Args:
        thumbnail: [H, W] in [0, 255]; brought to a longer side of `THUMBNAIL` if it has another.
    """

    def __init__(self, thumbnail: UInt8Array | Float32Array) -> None:
        self.grey = fitted(thumbnail.astype(np.float32), THUMBNAIL)
        self._layers: dict[int, Layer] = {}
        self._turned: dict[Turn, Picture] = {}

    def turned(self, turn: Turn) -> Picture:
        """The same picture, turned."""
        if turn == "none":
            return self
        if turn not in self._turned:
            self._turned[turn] = Picture(turned(self.grey, turn))
        return self._turned[turn]

    def layer(self, level: int) -> Layer:
        """The picture at one of `LEVELS`."""
        if level not in self._layers:
            grey = blurred(fitted(self.grey, LEVELS[level]), _BLURS[level])
            self._layers[level] = Layer(grey)
        return self._layers[level]

    @cached_property
    def fixed(self) -> Small:
        """Small, as it is."""
        return _small([fitted(self.grey, COARSE_SIDE)])

    @cached_property
    def moving(self) -> Small:
        """Small, at all `SCALES`."""
        small = fitted(self.grey, COARSE_SIDE)
        height, width = small.shape
        sizes = [(max(6, round(height * k)), max(6, round(width * k))) for k in SCALES]
        return _small([resized(small, *size) for size in sizes])


def thumbnail_of(pixels: UInt8Array) -> UInt8Array:
    """A grey thumbnail from what the decoder gives for a square of `THUMBNAIL` with grey bars.

    Args:
        pixels: uint8 [H, W, 3]; bars of exactly the padding's grey are cut off, and so is a frame
            of the picture's own.

    Returns:
        uint8 [h, w].
    """
    red, green, blue = (pixels[:, :, band].astype(np.uint32) for band in range(3))
    grey: UInt8Array = ((_RED * red + _GREEN * green + _BLUE * blue) >> 8).astype(np.uint8)
    differs = grey != _BAR
    if differs.any():
        # Bars lie on opposite sides and are equally wide, but for a pixel.
        top, left = _margin(differs.any(axis=1)), _margin(differs.any(axis=0))
        grey = grey[top : len(grey) - top, left : grey.shape[1] - left]
    return trimmed(grey)


def _margin(inside: np.ndarray) -> int:
    """Width of the narrower of the two margins of a line, bool [n]."""
    return int(min(inside.argmax(), inside[::-1].argmax()))


def _small(greys: list[Float32Array]) -> Small:
    fields = np.zeros((len(greys), FIELD, FIELD), dtype=np.float32)
    sums = np.zeros((len(greys), 2, FIELD + 1, FIELD + 1), dtype=np.float32)
    for field, running, grey in zip(fields, sums, greys, strict=True):
        height, width = grey.shape
        values = grey - grey.mean()
        field[:height, :width] = values
        both = np.stack([values, values * values])
        inside = running[:, 1 : height + 1, 1 : width + 1]
        np.cumsum(np.cumsum(both, axis=1), axis=2, out=inside)
    shapes = [(grey.shape[0], grey.shape[1]) for grey in greys]
    return Small(shapes, np.fft.rfft2(fields), sums)
