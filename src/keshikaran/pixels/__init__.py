"""Bytes → checked RGB pixels. The only place in the package that decodes an image.

Way through the room: `sniff` names the format, `header` holds its size against the limits,
`jpeg` and `decode` make upright RGB, `resize` gives it the network's shape. `contract` holds
the settings and the version that goes into cache keys and bundles.
"""

from keshikaran.pixels.contract import (
    DEFAULT_LIMITS,
    PIXEL_CONTRACT_VERSION,
    RESIZE_MODES,
    DecodedImage,
    Limits,
    PixelSpec,
    ResizeMode,
)
from keshikaran.pixels.decode import decode_image, read_pixels
from keshikaran.pixels.decoder import Decoder, InProcessDecoder
from keshikaran.pixels.header import ImageHeader, read_header
from keshikaran.pixels.sniff import EXTENSIONS, ImageFormat, sniff_format

__all__ = [
    "DEFAULT_LIMITS",
    "EXTENSIONS",
    "PIXEL_CONTRACT_VERSION",
    "RESIZE_MODES",
    "DecodedImage",
    "Decoder",
    "ImageFormat",
    "ImageHeader",
    "InProcessDecoder",
    "Limits",
    "PixelSpec",
    "ResizeMode",
    "decode_image",
    "read_header",
    "read_pixels",
    "sniff_format",
]
