"""What a file's header says about it, and whether that is within the limits."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import simplejpeg
from PIL import Image, UnidentifiedImageError

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import Limits
from keshikaran.pixels.sniff import ImageFormat, sniff_format

_PILLOW_NAMES: dict[ImageFormat, str] = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header says, before any pixel is decoded.

    Attributes:
        format: by magic number.
        width: columns as stored (before EXIF orientation).
        height: rows as stored.
    """

    format: ImageFormat
    width: int
    height: int


def read_header(data: bytes, limits: Limits) -> ImageHeader:
    """Read format and size of an image file and hold them against the limits.

    Args:
        data: the whole file.
        limits: what is allowed.

    Raises:
        ImageRefusedError: not an image we decode, header damaged, or a limit exceeded.
    """
    if len(data) > limits.max_bytes:
        detail = f"the file has {len(data):,} bytes, the limit is {limits.max_bytes:,}"
        raise ImageRefusedError("too_many_bytes", detail)
    image_format = sniff_format(data)
    if image_format == "jpeg":
        width, height = _jpeg_size(data)
    else:
        with open_with_pillow(data, image_format) as image:
            width, height = image.size
    check_size(width, height, limits)
    return ImageHeader(image_format, width, height)


def check_size(width: int, height: int, limits: Limits) -> None:
    """Refuse sizes beyond the limits.

    Raises:
        ImageRefusedError: `side_too_long`, `too_many_pixels`, or `corrupt` for an empty image.
    """
    if width < 1 or height < 1:
        detail = f"the header says {width}×{height} pixels"
        raise ImageRefusedError("corrupt", detail)
    if max(width, height) > limits.max_side:
        detail = f"{width}×{height}, the limit is {limits.max_side:,} pixels a side"
        raise ImageRefusedError("side_too_long", detail)
    if width * height > limits.max_pixels:
        detail = f"{width}×{height}, the limit is {limits.max_pixels:,} pixels"
        raise ImageRefusedError("too_many_pixels", detail)


@contextmanager
def open_with_pillow(data: bytes, image_format: ImageFormat) -> Iterator[Image.Image]:
    """Open `data` lazily with Pillow, restricted to the format its magic number says.

    Every failure inside the `with` block, in the header or while decoding, leaves as a typed
    refusal. The list of exceptions is what Pillow's decoders were seen to raise on malformed
    files: `OSError` alone is not enough. Warnings are there for programs that run with
    ``-W error``; elsewhere they are ignored, see below.

    Raises:
        ImageRefusedError: see above.
    """
    try:
        with Image.open(io.BytesIO(data), formats=[_PILLOW_NAMES[image_format]]) as image:
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        detail = "the header asks for more pixels than any limit allows"
        raise ImageRefusedError("too_many_pixels", detail) from error
    except MemoryError as error:
        detail = "decoding asks for more memory than there is"
        raise ImageRefusedError("too_many_pixels", detail) from error
    except UnidentifiedImageError as error:
        detail = f"the {image_format.upper()} header is damaged"
        raise ImageRefusedError("corrupt", detail) from error
    except (OSError, EOFError) as error:
        raise _refusal_of(error) from error
    except (ValueError, SyntaxError, TypeError, IndexError, KeyError, OverflowError) as error:
        raise ImageRefusedError("corrupt", _words(error)) from error
    except (AttributeError, ArithmeticError, NotImplementedError, RuntimeError, Warning) as error:
        raise ImageRefusedError("corrupt", _words(error)) from error


def _refusal_of(error: Exception) -> ImageRefusedError:
    words = _words(error)
    signs = ("truncat", "unexpected end")
    truncated = isinstance(error, EOFError) or any(sign in words.lower() for sign in signs)
    return ImageRefusedError("truncated" if truncated else "corrupt", words)


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Columns and rows; Pillow has the last word on headers that simplejpeg does not know.

    Those are damaged ones, and sound pictures with rare chroma subsampling.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (KeyError, ValueError):  # KeyError: a subsampling that simplejpeg has no name for
        with open_with_pillow(data, "jpeg") as image:
            return image.size
    return width, height


# Our own limits are stricter than Pillow's warning, and what it has to say about broken metadata
# is of no use to whoever uploads: neither belongs on a server's terminal.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# Pillow keeps this many 1 MB blocks for the next picture instead of giving them back to the
# system each time: a tenth less time for decoding and resizing.
if Image.core.get_blocks_max() == 0:  # type: ignore[attr-defined]
    Image.core.set_blocks_max(16)  # type: ignore[attr-defined]
