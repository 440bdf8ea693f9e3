"""Image file → upright RGB pixels in the shape a network wants. The one code path for all."""

from __future__ import annotations

import numpy as np
from PIL import Image

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import DEFAULT_LIMITS, DecodedImage, Limits, PixelSpec
from keshikaran.pixels.header import ImageHeader, open_with_pillow, read_header
from keshikaran.pixels.jpeg import decode_scaled, exif_orientation, is_fast_jpeg
from keshikaran.pixels.resize import needed_size, resize
from keshikaran.types import UInt8Array

_ORIENTATION_TAG = 0x0112
_BITS_TAG = 258
_PHOTOMETRIC_TAG = 262
_WHITE_IS_ZERO = 0
_WHITE = (255, 255, 255, 255)
_TRANSPOSED = {5, 6, 7, 8}
_TRANSPOSE: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(data: bytes, spec: PixelSpec, limits: Limits = DEFAULT_LIMITS) -> DecodedImage:
    """Turn an image file into the pixels that training, command line and server all see.

    Args:
        data: the whole file as it was uploaded.
        spec: shape and resize mode wanted.
        limits: what the file may ask for.

    Returns:
        Its views, each spec.height × spec.width.

    Raises:
        ImageRefusedError: with the reason why there are no pixels.
    """
    header = read_header(data, limits)
    if header.format == "jpeg" and is_fast_jpeg(data):
        image = _fast_jpeg(data, header, spec)
    else:
        image = _by_pillow(data, header)
    return DecodedImage(np.asarray(resize(image, spec))[None])


def read_pixels(data: bytes, spec: PixelSpec, limits: Limits = DEFAULT_LIMITS) -> UInt8Array:
    """The first view alone, uint8 [spec.height, spec.width, 3]; see `decode_image`."""
    pixels: UInt8Array = decode_image(data, spec, limits).views[0]
    return pixels


def _fast_jpeg(data: bytes, header: ImageHeader, spec: PixelSpec) -> Image.Image:
    orientation = exif_orientation(data)
    if orientation in _TRANSPOSED:
        height, width = needed_size(header.height, header.width, spec)
    else:
        width, height = needed_size(header.width, header.height, spec)
    return _upright(decode_scaled(data, height, width), orientation)


def _by_pillow(data: bytes, header: ImageHeader) -> Image.Image:
    """Decode the first frame of any other format."""
    with open_with_pillow(data, header.format) as image:
        image.load()
        return _upright(_to_rgb(image), _pillow_orientation(image))


def _pillow_orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow's EXIF reader raises anything on damaged blocks
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode → RGB, by an explicit rule for each kind."""
    if image.mode.startswith("I;16"):
        return _from_16_bit(image).convert("RGB")
    if image.mode in {"I", "F"}:
        detail = f"pixels of Pillow's mode {image.mode} have no defined range"
        raise ImageRefusedError("unsupported_pixels", detail)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255 with rounding; Pillow's own conversion would cut at 255.

    A TIFF of this mode may have 12 bits instead, or 0 as its white: Pillow leaves both to us.
    """
    tags = getattr(image, "tag_v2", {})
    full = 2 ** int(tags.get(_BITS_TAG, (16,))[0]) - 1
    values = np.asarray(image).astype(np.uint32)
    grey = ((values * 255 + full // 2) // full).astype(np.uint8)
    return Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO else grey)
