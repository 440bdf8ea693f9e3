"""The pixel contract: what decides the pixels a network sees. docs/pixel-contract.md tells it.

Whatever changes the pixels of any accepted image by a single value raises
`PIXEL_CONTRACT_VERSION`: it is part of every feature-cache key and of every bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from keshikaran.types import UInt8Array

PIXEL_CONTRACT_VERSION = 2

ImageFormat = Literal["jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heic", "jxl"]

FORMATS: frozenset[ImageFormat] = frozenset({"jpeg", "png", "webp", "gif", "bmp", "tiff"})
"""Accepted unless told otherwise."""

EXTRA_FORMATS: frozenset[ImageFormat] = frozenset({"avif", "heic", "jxl"})
"""Accepted only where `Limits.formats` names them; heic and jxl need an extra of that name."""

ResizeMode = Literal["stretch", "crop", "pad"]
"""How any shape becomes the network's: squeeze it, cut its middle out, or add grey bars."""

RESIZE_MODES: tuple[ResizeMode, ...] = get_args(ResizeMode)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may be and ask for; checked from the header before pixels are allocated.

    Attributes:
        max_bytes: size of the file in bytes.
        max_pixels: width times height of a frame.
        max_side: the longer side in pixels.
        max_frames: frames or pages in the file.
        max_total_pixels: pixels of all frames that must be decoded to reach those that are
            scored; four scans of a JPEG count as one frame.
        max_metadata_bytes: EXIF, ICC, XMP, texts and comments together, after inflating.
        max_frames_scored: frames that are looked at; more of them are sampled evenly.
        formats: the kinds of file that are accepted.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 64_000_000
    max_side: int = 20_000
    max_frames: int = 2_000
    max_total_pixels: int = 250_000_000
    max_metadata_bytes: int = 16 * 1024 * 1024
    max_frames_scored: int = 8
    formats: frozenset[ImageFormat] = FORMATS


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class PixelSpec:
    """The shape a network wants and how to get there.

    Attributes:
        height: rows of the result.
        width: columns of the result.
        resize_mode: see `ResizeMode`.
        beside: further shapes that the same picture is wanted in; these have none of their own.
    """

    height: int
    width: int
    resize_mode: ResizeMode = "stretch"
    beside: tuple[PixelSpec, ...] = ()

    @property
    def shapes(self) -> tuple[PixelSpec, ...]:
        """Each shape by itself, this one first."""
        return (PixelSpec(self.height, self.width, self.resize_mode), *self.beside)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """What a network looks at to judge one image file.

    A still, opaque picture has one view. Where something could hide (further frames, what
    lies behind transparency), there are more; the image's score is the highest of its views.

    Attributes:
        views: uint8 [V, H, W, 3], RGB, upright; V >= 1. The first is what a viewer shows first.
        frames_total: frames or pages in the file.
        frames_scored: how many of them the views come from.
        beside: the same views in each of the further shapes that were asked for.
        order: which view each picture that was made from the file equals, in the order of the
            contract; empty where none equals another. The file alone decides how many there are:
            views of one file in different shapes are matched by it.
    """

    views: UInt8Array
    frames_total: int = 1
    frames_scored: int = 1
    beside: tuple[UInt8Array, ...] = ()
    order: tuple[int, ...] = ()

    @property
    def inputs(self) -> tuple[UInt8Array, ...]:
        """The views in each shape, in the order of `PixelSpec.shapes`."""
        return (self.views, *self.beside)
