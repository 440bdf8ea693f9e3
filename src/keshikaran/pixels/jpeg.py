"""JPEG by libjpeg-turbo: decodes straight to about the size that is needed, 2-4 times faster."""

from __future__ import annotations

import threading
from typing import Literal

import numpy as np
import simplejpeg
from PIL import Image

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.headers import ImageHeader
from keshikaran.pixels.pillow import open_with_pillow, refusals_of_pillow
from keshikaran.types import UInt8Array

FastMode = Literal["RGB", "L"]

_FAST_MODES: dict[str, FastMode] = {"YCbCr": "RGB", "RGB": "RGB", "Gray": "L"}
_KEPT_BYTES = 4 * 1024 * 1024
_scratch = threading.local()

# libjpeg's complaints about files that cameras write and that every viewer shows.
_HARMLESS = (
    "extraneous bytes",
    "Invalid SOS parameters",
    "unknown JFIF revision",
    "bad ICC marker",
)


def fast_mode(data: bytes, header: ImageHeader) -> FastMode | None:
    """How `decode_scaled` can take this file; None for CMYK and YCCK.

    None as well for a chroma subsampling that simplejpeg does not know.

    Raises:
        ImageRefusedError: `corrupt` if libjpeg reads another size than we did.
    """
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (KeyError, ValueError):
        return None
    if (width, height) != (header.width, header.height):
        detail = f"its header can be read as {header.width}×{header.height} or {width}×{height}"
        raise ImageRefusedError("corrupt", detail)
    return _FAST_MODES.get(colorspace)


def decode_scaled(
    data: bytes, min_height: int, min_width: int, mode: FastMode = "RGB"
) -> Image.Image:
    """Decode at the smallest DCT scale that is not below the wanted size.

    Args:
        data: a JPEG file in colour or grey.
        min_height: rows wanted at least (before EXIF orientation); fewer if the file has fewer.
        min_width: columns wanted at least.
        mode: Pillow's mode wanted, as `fast_mode` says.

    Returns:
        The picture as stored (before EXIF orientation), in that mode.

    Raises:
        ImageRefusedError: `truncated` if the data ends early, `corrupt` for other damage.
            Flaws that leave the picture whole, such as stray bytes between segments, are
            tolerated.
    """
    try:
        return _decode_strictly(data, min_height, min_width, mode)
    except (KeyError, ValueError) as error:
        words = str(error)
        if "remature end" in words:
            detail = "the JPEG data ends before the picture does"
            raise ImageRefusedError("truncated", detail) from error
        if not any(flaw in words for flaw in _HARMLESS):
            raise ImageRefusedError("corrupt", words[:200]) from error
    return _decode_leniently(data, mode)


def scaled_size(data: bytes, min_height: int, min_width: int) -> tuple[int, int]:
    """Rows and columns of what `decode_scaled` would give for the same wishes."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(
        data, strict=False, min_height=min_height, min_width=min_width
    )
    return int(height), int(width)


def _decode_strictly(data: bytes, min_height: int, min_width: int, mode: FastMode) -> Image.Image:
    """Decode into memory that the thread keeps, and copy from there.

    Fresh memory for every picture would cost two threads of one process a third of their speed:
    they wait for each other while the system hands out pages.
    """
    size = {"min_height": min_height, "min_width": min_width}
    height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False, **size)
    needed = height * width * (3 if mode == "RGB" else 1)
    kept: UInt8Array | None = getattr(_scratch, "memory", None)
    if needed > _KEPT_BYTES:
        kept = None
    elif kept is None:
        kept = _scratch.memory = np.empty(_KEPT_BYTES, dtype=np.uint8)
    colorspace = "RGB" if mode == "RGB" else "Gray"
    pixels = simplejpeg.decode_jpeg(data, colorspace=colorspace, strict=True, buffer=kept, **size)
    return Image.frombytes(mode, (width, height), pixels)


def _decode_leniently(data: bytes, mode: FastMode) -> Image.Image:
    """Decode by Pillow: simplejpeg, told to be lenient, forgives a missing half as well."""
    with open_with_pillow(data, "jpeg") as image, refusals_of_pillow():
        return image.convert(mode)
