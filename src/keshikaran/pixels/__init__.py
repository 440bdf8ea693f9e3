"""Bytes → checked RGB pixels. The only place in the package that decodes an image.

Way through the room: `sniff` names the format; `header` holds what the container says against
the limits (`headers/`, one module a format, plain Python); `decode` goes through the frames,
by `jpeg` or by `pillow`; `modes` brings any kind of pixels to 8 bits, `views` makes the pictures
that are judged, `colour` converts them to sRGB, `resize` gives them the network's shape.
`thumbnail` makes small ones for people. `contract` holds the settings and the version that goes
into cache keys and bundles.
"""

from keshikaran.pixels.contract import (
    DEFAULT_LIMITS,
    EXTRA_FORMATS,
    FORMATS,
    PIXEL_CONTRACT_VERSION,
    RESIZE_MODES,
    DecodedImage,
    ImageFormat,
    Limits,
    PixelSpec,
    ResizeMode,
)
from keshikaran.pixels.decode import decode_image, read_pixels
from keshikaran.pixels.decoder import Decoder, InProcessDecoder
from keshikaran.pixels.encode import encode_png
from keshikaran.pixels.header import read_header
from keshikaran.pixels.headers import ImageHeader
from keshikaran.pixels.own_size import OwnSizeDecoder
from keshikaran.pixels.sniff import EXTENSIONS, sniff_format
from keshikaran.pixels.thumbnail import (
    THUMBNAIL_SIDE,
    TILE_SIDE,
    Thumbnail,
    make_small,
    make_thumbnail,
)

__all__ = [
    "DEFAULT_LIMITS",
    "EXTENSIONS",
    "EXTRA_FORMATS",
    "FORMATS",
    "PIXEL_CONTRACT_VERSION",
    "RESIZE_MODES",
    "THUMBNAIL_SIDE",
    "TILE_SIDE",
    "DecodedImage",
    "Decoder",
    "ImageFormat",
    "ImageHeader",
    "InProcessDecoder",
    "Limits",
    "OwnSizeDecoder",
    "PixelSpec",
    "ResizeMode",
    "Thumbnail",
    "decode_image",
    "encode_png",
    "make_small",
    "make_thumbnail",
    "read_header",
    "read_pixels",
    "sniff_format",
]
