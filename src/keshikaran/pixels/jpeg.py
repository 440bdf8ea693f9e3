"""JPEG by libjpeg-turbo: decodes straight to about the size that is needed, 2-4 times faster."""

from __future__ import annotations

import threading

import numpy as np
import simplejpeg
from PIL import Image

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.header import open_with_pillow
from keshikaran.types import UInt8Array

_FAST_COLORSPACES = {"YCbCr", "RGB", "Gray"}
_EXIF_MARKER = b"Exif\x00\x00"
_ORIENTATION_TAG = 0x0112
_KEPT_BYTES = 4 * 1024 * 1024
_scratch = threading.local()

# libjpeg's complaints about files that cameras write and that every viewer shows.
_HARMLESS = (
    "extraneous bytes",
    "Invalid SOS parameters",
    "unknown JFIF revision",
    "bad ICC marker",
)


def is_fast_jpeg(data: bytes) -> bool:
    """Whether `decode_scaled` can take this file: colour or grey, not CMYK or YCCK.

    Nor one with a chroma subsampling that simplejpeg does not know.
    """
    try:
        _, _, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (KeyError, ValueError):
        return False
    return colorspace in _FAST_COLORSPACES


def decode_scaled(data: bytes, min_height: int, min_width: int) -> Image.Image:
    """Decode to RGB at the smallest DCT scale that is not below the wanted size.

    Args:
        data: a JPEG file in colour or grey.
        min_height: rows wanted at least (before EXIF orientation); fewer if the file has fewer.
        min_width: columns wanted at least.

    Returns:
        The picture, as stored (before EXIF orientation).

    Raises:
        ImageRefusedError: `truncated` if the data ends early, `corrupt` for other damage.
            Flaws that leave the picture whole, such as stray bytes between segments, are
            tolerated.
    """
    try:
        return _decode_strictly(data, min_height, min_width)
    except (KeyError, ValueError) as error:
        words = str(error)
        if "remature end" in words:
            detail = "the JPEG data ends before the picture does"
            raise ImageRefusedError("truncated", detail) from error
        if not any(flaw in words for flaw in _HARMLESS):
            raise ImageRefusedError("corrupt", words[:200]) from error
    return _decode_leniently(data)


def _decode_strictly(data: bytes, min_height: int, min_width: int) -> Image.Image:
    """Decode into memory that the thread keeps, and copy from there.

    Fresh memory for every picture would cost two threads of one process a third of their speed:
    they wait for each other while the system hands out pages.
    """
    size = {"min_height": min_height, "min_width": min_width}
    height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False, **size)
    needed = height * width * 3
    kept: UInt8Array | None = getattr(_scratch, "memory", None)
    if needed > _KEPT_BYTES:
        kept = None
    elif kept is None:
        kept = _scratch.memory = np.empty(_KEPT_BYTES, dtype=np.uint8)
    pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True, buffer=kept, **size)
    return Image.fromarray(pixels)


def _decode_leniently(data: bytes) -> Image.Image:
    """Decode by Pillow: simplejpeg, told to be lenient, forgives a missing half as well."""
    with open_with_pillow(data, "jpeg") as image:
        return image.convert("RGB")


def exif_orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG file, 1 to 8; 1 when there is none or EXIF is broken."""
    payload = _exif_payload(data)
    if payload is None:
        return 1
    return orientation_of(payload)


def orientation_of(payload: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 when absent or unreadable."""
    exif = Image.Exif()
    try:
        exif.load(payload)
        value = exif.get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow's EXIF reader raises anything on damaged blocks
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _exif_payload(data: bytes) -> bytes | None:
    """Walk the segments up to the picture itself and return the first EXIF block."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0xDA:
            return None
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if length < 2:
            return None
        body = data[position + 4 : position + 2 + length]
        if marker == 0xE1 and body.startswith(_EXIF_MARKER):
            return body
        position += 2 + length
    return None
