"""Pixels of our own → a PNG file."""

from __future__ import annotations

import io

from PIL import Image

from keshikaran.types import UInt8Array


def encode_png(pixels: UInt8Array) -> bytes:
    """A picture as a PNG file.

    Args:
        pixels: uint8 [H, W, 3], RGB.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
