"""Which format is this? Decided by the first bytes, never by the name."""

from __future__ import annotations

from typing import Literal

from keshikaran.errors import ImageRefusedError

ImageFormat = Literal["jpeg", "png", "webp", "gif", "bmp", "tiff"]

EXTENSIONS: dict[ImageFormat, str] = {
    "jpeg": "jpg",
    "png": "png",
    "webp": "webp",
    "gif": "gif",
    "bmp": "bmp",
    "tiff": "tif",
}

_PREFIXES: tuple[tuple[bytes, ImageFormat], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
)

# Known image kinds that are not decoded: named so that the refusal says what the file is.
_REFUSED_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "Photoshop"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"II+\x00", "BigTIFF"),
    (b"MM\x00+", "BigTIFF"),
)
_REFUSED_BRANDS: dict[bytes, str] = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
}
_BMP_HEADER_SIZES = {12, 40, 52, 56, 64, 108, 124}


def sniff_format(data: bytes) -> ImageFormat:
    """Name the format of `data` by its magic number.

    Raises:
        ImageRefusedError: `empty_file`; `unsupported_format` for image kinds that are known
            but not decoded; `not_an_image` for anything else.
    """
    if not data:
        reason = "the file has no bytes"
        raise ImageRefusedError("empty_file", reason)
    for prefix, name in _PREFIXES:
        if data.startswith(prefix):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if _is_bmp(data):
        return "bmp"
    _refuse(data)
    raise AssertionError  # pragma: no cover - _refuse never returns


def _is_bmp(data: bytes) -> bool:
    """Two letters alone would catch any text that starts with "BM": look at the header size."""
    return data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES


def _refuse(data: bytes) -> None:
    for prefix, name in _REFUSED_PREFIXES:
        if data.startswith(prefix):
            detail = f"{name} files are not accepted"
            raise ImageRefusedError("unsupported_format", detail)
    if data[4:8] == b"ftyp" and data[8:12] in _REFUSED_BRANDS:
        detail = f"{_REFUSED_BRANDS[data[8:12]]} files are not accepted"
        raise ImageRefusedError("unsupported_format", detail)
    head = data[:512].lstrip().lower()
    if head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in head):
        detail = "SVG files are not accepted"
        raise ImageRefusedError("unsupported_format", detail)
    detail = f"no image format starts with the bytes {data[:8].hex(' ')}"
    raise ImageRefusedError("not_an_image", detail)
