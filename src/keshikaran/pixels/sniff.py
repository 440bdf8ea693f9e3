"""Which format is this? Decided by the first bytes, never by the name."""

from __future__ import annotations

from collections.abc import Collection

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import FORMATS, ImageFormat

EXTENSIONS: dict[ImageFormat, str] = {
    "jpeg": "jpg",
    "png": "png",
    "webp": "webp",
    "gif": "gif",
    "bmp": "bmp",
    "tiff": "tif",
    "avif": "avif",
    "heic": "heic",
    "jxl": "jxl",
}

_PREFIXES: tuple[tuple[bytes, ImageFormat], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"\xff\x0a", "jxl"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jxl"),
)

# Known image kinds that are not decoded: named so that the refusal says what the file is.
_REFUSED_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "Photoshop"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"II+\x00", "BigTIFF"),
    (b"MM\x00+", "BigTIFF"),
)
_BRANDS: dict[bytes, ImageFormat] = {
    b"avif": "avif",
    b"avis": "avif",
    b"heic": "heic",
    b"heix": "heic",
    b"heim": "heic",
    b"heis": "heic",
}
# Containers whose content only their further brands tell.
_GENERAL_BRANDS = {b"mif1", b"msf1", b"miaf"}
_REFUSED_BRANDS = {b"hevc": "HEIC sequence", b"hevx": "HEIC sequence"}
_NAMES: dict[ImageFormat, str] = {"avif": "AVIF", "heic": "HEIC", "jxl": "JPEG XL"}
_BMP_HEADER_SIZES = {12, 40, 52, 56, 64, 108, 124}


def sniff_format(data: bytes, accepted: Collection[ImageFormat] = FORMATS) -> ImageFormat:
    """Name the format of `data` by its magic number.

    Args:
        data: the file, or its first 512 bytes.
        accepted: the formats that are not refused.

    Raises:
        ImageRefusedError: `empty_file`; `unsupported_format` for image kinds that are known
            but not accepted; `not_an_image` for anything else.
    """
    if not data:
        reason = "the file has no bytes"
        raise ImageRefusedError("empty_file", reason)
    name = _named(data)
    if name is None:
        raise _refusal(data)
    if name not in accepted:
        raise _not_accepted(_NAMES.get(name, name.upper()))
    return name


def _named(data: bytes) -> ImageFormat | None:
    for prefix, name in _PREFIXES:
        if data.startswith(prefix):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _by_brand(data)
    return "bmp" if _is_bmp(data) else None


def _by_brand(data: bytes) -> ImageFormat | None:
    """By the major brand, or where that is a general one, the first further one that is known."""
    if data[8:12] in _BRANDS:
        return _BRANDS[data[8:12]]
    if data[8:12] not in _GENERAL_BRANDS:
        return None
    end = min(int.from_bytes(data[:4], "big"), 128)
    brands = (data[place : place + 4] for place in range(16, end, 4))
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)


def _is_bmp(data: bytes) -> bool:
    """Two letters alone would catch any text that starts with "BM": look at the header size."""
    return data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES


def _refusal(data: bytes) -> ImageRefusedError:
    for prefix, name in _REFUSED_PREFIXES:
        if data.startswith(prefix):
            return _not_accepted(name)
    if data[4:8] == b"ftyp":
        if data[8:12] in _GENERAL_BRANDS:
            return _not_accepted("HEIF")
        if data[8:12] in _REFUSED_BRANDS:
            return _not_accepted(_REFUSED_BRANDS[data[8:12]])
    head = data[:512].lstrip().lower()
    if head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in head):
        return _not_accepted("SVG")
    detail = f"no image format starts with the bytes {data[:8].hex(' ')}"
    return ImageRefusedError("not_an_image", detail)


def _not_accepted(name: str) -> ImageRefusedError:
    return ImageRefusedError("unsupported_format", f"{name} files are not accepted")
