"""Opening files with Pillow so that every failure leaves as a typed refusal."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from keshikaran.errors import ImageRefusedError, MissingExtraError
from keshikaran.pixels.contract import ImageFormat

_PILLOW_NAMES: dict[ImageFormat, str] = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
    "avif": "AVIF",
    "heic": "HEIF",
    "jxl": "JXL",
}


def open_with_pillow(data: bytes, image_format: ImageFormat) -> Image.Image:
    """Open `data` lazily with Pillow, restricted to the format its magic number says.

    Raises:
        ImageRefusedError: Pillow cannot read the header.
        MissingExtraError: the format needs a package that is not installed.
    """
    load_plugin(image_format)
    with refusals_of_pillow():
        return Image.open(io.BytesIO(data), formats=[_PILLOW_NAMES[image_format]])


@contextmanager
def refusals_of_pillow() -> Iterator[None]:
    """Turn every failure of Pillow's within the `with` block into a typed refusal.

    The list of exceptions is what Pillow's decoders were seen to raise on malformed files:
    `OSError` alone is not enough. Warnings are there for programs that run with ``-W error``;
    elsewhere they are ignored, see below.

    Raises:
        ImageRefusedError: see above.
    """
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        detail = "the header asks for more pixels than any limit allows"
        raise ImageRefusedError("too_many_pixels", detail) from error
    except UnidentifiedImageError as error:
        raise ImageRefusedError("corrupt", "the header is damaged") from error
    except (OSError, EOFError) as error:
        raise _refusal_of(error) from error
    except (ValueError, SyntaxError, TypeError, IndexError, KeyError, OverflowError) as error:
        raise ImageRefusedError("corrupt", words_of(error)) from error
    except (AssertionError, AttributeError, ArithmeticError, RuntimeError, Warning) as error:
        raise ImageRefusedError("corrupt", words_of(error)) from error


def words_of(error: BaseException) -> str:
    """What a library said, on one line and not too long."""
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__


def _refusal_of(error: Exception) -> ImageRefusedError:
    words = words_of(error)
    signs = ("truncat", "unexpected end")
    truncated = isinstance(error, EOFError) or any(sign in words.lower() for sign in signs)
    return ImageRefusedError("truncated" if truncated else "corrupt", words)


def load_plugin(image_format: ImageFormat) -> None:
    """Let Pillow know of a format's package; it loads only where a file asks for it.

    Raises:
        MissingExtraError: it is not installed.
    """
    what = f"Reading {image_format.upper()} images"
    if image_format == "heic":
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise MissingExtraError(what, "heic") from error
        register_heif_opener()
    elif image_format == "jxl":
        try:
            import pillow_jxl  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(what, "jxl") from error


# Our own limits are stricter than Pillow's warning, and what it has to say about broken metadata
# is of no use to whoever uploads: neither belongs on a server's terminal.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# Pillow keeps this many 1 MB blocks for the next picture instead of giving them back to the
# system each time: a tenth less time for decoding and resizing.
if Image.core.get_blocks_max() == 0:  # type: ignore[attr-defined]
    Image.core.set_blocks_max(16)  # type: ignore[attr-defined]
