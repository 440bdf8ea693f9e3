"""Whatever kind of pixels a file holds → 8 bits a band, by an explicit rule for each kind."""

from __future__ import annotations

import numpy as np
from PIL import Image

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.headers import Inspection

_BITS_TAG = 258
_PHOTOMETRIC_TAG = 262
_WHITE_IS_ZERO = 0
_UNDEFINED = {"I", "F", "LAB", "HSV"}
_AS_THEY_ARE = {"RGB", "L", "CMYK"}
_TRANSPOSE: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture as its EXIF orientation, 1 to 8, says."""
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)


def plain_mode(image: Image.Image, found: Inspection) -> Image.Image:
    """A decoded frame in mode L, RGB or CMYK; RGBA if any pixel may be transparent.

    Raises:
        ImageRefusedError: `unsupported_pixels` for pixels without a defined range.
    """
    if image.mode.startswith("I;16"):
        return _from_16_bit(image, found.key)
    if image.mode in _UNDEFINED:
        detail = f"pixels of Pillow's mode {image.mode} have no defined range"
        raise ImageRefusedError("unsupported_pixels", detail)
    if found.key is not None:
        image.info["transparency"] = _key_in_8_bits(found.key, found.depth)
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in _AS_THEY_ARE:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _key_in_8_bits(key: tuple[int, ...], depth: int) -> int | tuple[int, ...]:
    """The transparent colour on the scale that the decoder brings samples to."""
    if depth == 16:
        scaled = tuple(value >> 8 for value in key)
    else:
        scaled = tuple((value & 2**depth - 1) * 255 // (2**depth - 1) for value in key)
    return scaled if len(scaled) == 3 else scaled[0]


def _from_16_bit(image: Image.Image, key: tuple[int, ...] | None) -> Image.Image:
    """Scale 0..65535 to 0..255 with rounding; Pillow's own conversion would cut at 255.

    A TIFF of this mode may have 12 bits instead, or 0 as its white: Pillow leaves both to us.
    """
    tags = getattr(image, "tag_v2", {})
    full = 2 ** int(tags.get(_BITS_TAG, (16,))[0]) - 1
    values = np.asarray(image)
    grey = ((values.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)
    if tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if key is None:
        return Image.fromarray(grey)
    alpha = np.where(values == key[0], 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha))).convert("RGBA")
