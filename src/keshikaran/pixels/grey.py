"""A grey picture → a small JPEG file."""

from __future__ import annotations

import numpy as np
import simplejpeg

from keshikaran.types import UInt8Array

_QUALITY = 92


def encode_grey(grey: UInt8Array) -> bytes:
    """A grey picture as a JPEG file.

    Args:
        grey: uint8 [H, W].
    """
    pixels = np.ascontiguousarray(grey[:, :, None])
    data: bytes = simplejpeg.encode_jpeg(
        pixels, quality=_QUALITY, colorspace="GRAY", colorsubsampling="Gray"
    )
    return data
