"""The pixel contract: what decides the pixels a network sees. docs/pixel-contract.md tells it.

Whatever changes the pixels of any accepted image by a single value raises
`PIXEL_CONTRACT_VERSION`: it is part of every feature-cache key and of every bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

PIXEL_CONTRACT_VERSION = 1

ResizeMode = Literal["stretch", "crop", "pad"]
"""How any shape becomes the network's: squeeze it, cut its middle out, or add grey bars."""

RESIZE_MODES: tuple[ResizeMode, ...] = get_args(ResizeMode)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may ask for; checked from the header before pixels are allocated.

    Attributes:
        max_bytes: size of the file in bytes.
        max_pixels: width times height.
        max_side: the longer side in pixels.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 64_000_000
    max_side: int = 20_000


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class PixelSpec:
    """The shape a network wants and how to get there.

    Attributes:
        height: rows of the result.
        width: columns of the result.
        resize_mode: see `ResizeMode`.
    """

    height: int
    width: int
    resize_mode: ResizeMode = "stretch"
