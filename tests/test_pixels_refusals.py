"""Whatever is in a file, it gives pixels or a refusal with a reason; never anything else."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from keshikaran.errors import ImageRefusedError, RefusalReason
from keshikaran.pixels import (
    DEFAULT_LIMITS,
    FORMATS,
    RESIZE_MODES,
    Limits,
    PixelSpec,
    ResizeMode,
    read_header,
    read_pixels,
)
from keshikaran.pixels.headers.base import check_size
from keshikaran.pixels.jpeg import decode_scaled
from support import encode, quadrants

_SPEC = PixelSpec(8, 8)
_FORMATS = [name.upper() for name in sorted(FORMATS)]


def _picture(side: int = 64) -> Image.Image:
    colours = [(200, 40, 40), (40, 180, 60), (50, 60, 210), (220, 210, 50)]
    return quadrants(colours, side=side, noise=20)


def _refusal(data: bytes, limits: Limits = DEFAULT_LIMITS) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as caught:
        read_pixels(data, _SPEC, limits)
    assert caught.value.detail
    return caught.value


def _reason(data: bytes, limits: Limits = DEFAULT_LIMITS) -> RefusalReason:
    return _refusal(data, limits).reason


def _png_header(width: int, height: int) -> bytes:
    """The start of a PNG file of any size, written by hand; there is next to no data in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100)))


def _jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(encode(_picture(), "JPEG"))
    size = data.index(b"\xff\xc0") + 5
    data[size : size + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if any pixel is decoded."""

    def fail(*_: Any) -> None:
        pytest.fail("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    monkeypatch.setattr("keshikaran.pixels.decode.decode_scaled", fail)


# No image at all


def test_empty_file() -> None:
    assert _reason(b"") == "empty_file"


@pytest.mark.parametrize(
    "data",
    [
        b"words in a file named a.jpg",
        b"BMW is a car maker",
        b"\x00",
        b"<html><svg/></html>",
    ],
)
def test_what_is_no_image_is_refused_whatever_its_name(data: bytes) -> None:
    assert _reason(data) == "not_an_image"


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"8BPS\x00\x01", "Photoshop"),
        (b"\x00\x00\x01\x00\x01\x00", "ICO"),
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"II+\x00\x08\x00", "BigTIFF"),
        (b"MM\x00+\x00\x08", "BigTIFF"),
        (b"\x00\x00\x00\x1cftypavif", "AVIF"),
        (b"\x00\x00\x00\x1cftypavis", "AVIF"),
        (b"\x00\x00\x00\x1cftypheic", "HEIC"),
        (b"\x00\x00\x00\x1cftypheix", "HEIC"),
        (b"\x00\x00\x00\x1cftypmif1", "HEIF"),
        (b"\x00\x00\x00\x1cftypmsf1", "HEIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
        (b"\n  <SVG>", "SVG"),
        (b"<?xml version='1.0'?>\n<svg>", "SVG"),
    ],
)
def test_known_kinds_that_are_not_accepted_are_named(start: bytes, name: str) -> None:
    refusal = _refusal(start + bytes(40))
    assert refusal.reason == "unsupported_format"
    assert refusal.detail == f"{name} files are not accepted"


# Damage


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP"])
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_part_of_a_file_is_truncated(image_format: str, share: float) -> None:
    data = encode(_picture(), image_format)
    assert _reason(data[: int(len(data) * share)]) == "truncated"


def test_half_a_progressive_jpeg_is_truncated() -> None:
    data = encode(_picture(), "JPEG", progressive=True)
    assert _reason(data[: len(data) // 2]) == "truncated"


def test_half_a_cmyk_jpeg_is_truncated() -> None:
    data = encode(_picture().convert("CMYK"), "JPEG")
    assert _reason(data[: len(data) // 2]) == "truncated"


@pytest.mark.parametrize("length", [3, 4, 20, 30, 200])
def test_the_first_bytes_of_a_jpeg_are_truncated(length: int) -> None:
    assert _reason(encode(_picture(), "JPEG")[:length]) in {"truncated", "corrupt"}


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "TIFF"])
def test_half_of_any_other_file_is_refused(image_format: str) -> None:
    data = encode(_picture(), image_format)
    assert _reason(data[: len(data) // 2]) in {"truncated", "corrupt"}


@pytest.mark.parametrize("image_format", _FORMATS)
def test_a_good_start_with_garbage_behind_it_is_refused(image_format: str) -> None:
    data = encode(_picture(), image_format)
    assert _reason(data[:18] + b"garbage!" * 50) in {"truncated", "corrupt", "side_too_long"}


def test_damaged_png_data_is_corrupt() -> None:
    data = bytearray(encode(_picture()))
    start = data.index(b"IDAT") + 4
    data[start : start + 8] = b"\xff" * 8
    assert _reason(bytes(data)) == "corrupt"


def test_damaged_jpeg_data_is_corrupt() -> None:
    data = bytearray(encode(_picture(), "JPEG"))
    start = data.index(b"\xff\xda") + 14
    data[start : start + 40] = b"\xff\x00" * 20
    assert _reason(bytes(data)) == "corrupt"


def test_jpeg_without_its_quantization_tables_is_corrupt() -> None:
    data = encode(_picture(), "JPEG")
    start, end = data.index(b"\xff\xdb"), data.index(b"\xff\xc0")
    assert _reason(data[:start] + data[end:]) == "corrupt"
    assert _reason(data[:start] + b"stray bytes" + data[end:]) == "corrupt"


def test_a_missing_half_is_not_forgiven_because_of_stray_bytes() -> None:
    data = encode(_picture(), "JPEG")
    start = data.index(b"\xff\xc0")
    half = data[:start] + b"stray bytes" + data[start : start + (len(data) - start) * 2 // 3]
    assert _reason(half) == "truncated"


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-1, 5)])
def test_a_picture_without_pixels_is_corrupt(width: int, height: int) -> None:
    with pytest.raises(ImageRefusedError, match="corrupt: the header says"):
        check_size(width, height, DEFAULT_LIMITS)


def _raiser(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("image file is truncated"), "truncated"),
        (OSError("Truncated File Read"), "truncated"),
        (OSError("unexpected end of file"), "truncated"),
        (OSError("broken data stream"), "corrupt"),
        (OSError(), "corrupt"),
        (EOFError("no more images"), "truncated"),
        (MemoryError(), "too_many_pixels"),
        (Image.DecompressionBombError("bomb"), "too_many_pixels"),
        (Image.DecompressionBombWarning("bomb"), "too_many_pixels"),
        (ValueError("bad value"), "corrupt"),
        (SyntaxError("bad chunk"), "corrupt"),
        (TypeError("bad type"), "corrupt"),
        (IndexError(), "corrupt"),
        (KeyError("bad key"), "corrupt"),
        (OverflowError("too large"), "corrupt"),
        (AttributeError("none"), "corrupt"),
        (AssertionError(), "corrupt"),
        (ZeroDivisionError(), "corrupt"),
        (NotImplementedError(), "corrupt"),
        (RecursionError(), "corrupt"),
        (UserWarning("odd metadata"), "corrupt"),
    ],
)
def test_whatever_a_decoder_raises_becomes_a_refusal(
    error: Exception, reason: RefusalReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", _raiser(error))
    assert _reason(encode(_picture())) == reason


def test_a_defect_of_ours_is_not_hidden_as_a_bad_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keshikaran.pixels.views.resize", _raiser(ValueError("our own fault")))
    with pytest.raises(ValueError, match="our own fault"):
        read_pixels(encode(_picture()), _SPEC)


def test_decode_scaled_refuses_what_is_no_jpeg() -> None:
    with pytest.raises(ImageRefusedError, match="corrupt"):
        decode_scaled(b"no jpeg", 8, 8)


# Limits


@pytest.mark.usefixtures("no_decoding")
@pytest.mark.parametrize("side", [9_000, 12_000, 20_000])
def test_a_small_file_of_huge_size_is_refused_by_its_header(side: int) -> None:
    for data in (_png_header(side, side), _jpeg_header(side, side)):
        assert len(data) < 10_000
        assert _reason(data) == "too_many_pixels"


@pytest.mark.usefixtures("no_decoding")
def test_a_side_beyond_the_limit_is_refused() -> None:
    assert _reason(_png_header(20_001, 1)) == "side_too_long"
    assert _reason(_jpeg_header(1, 20_001)) == "side_too_long"


@pytest.mark.usefixtures("no_decoding")
@pytest.mark.parametrize("image_format", _FORMATS)
def test_limits_hold_for_every_format(image_format: str) -> None:
    data = encode(_picture(side=64), image_format)
    assert _reason(data, Limits(max_bytes=len(data) - 1)) == "too_many_bytes"
    assert _reason(data, Limits(max_pixels=64 * 64 - 1)) == "too_many_pixels"
    assert _reason(data, Limits(max_side=63)) == "side_too_long"


@pytest.mark.parametrize("image_format", _FORMATS)
def test_a_file_exactly_at_its_limits_is_accepted(image_format: str) -> None:
    data = encode(_picture(side=64), image_format)
    limits = Limits(max_bytes=len(data), max_pixels=64 * 64, max_side=64)
    assert read_pixels(data, _SPEC, limits).shape == (8, 8, 3)


def test_refusal_tells_the_size_and_the_limit() -> None:
    data = encode(_picture(side=64))
    assert "64×64" in _refusal(data, Limits(max_side=50)).detail
    assert "50" in _refusal(data, Limits(max_side=50)).detail
    assert "1,000" in _refusal(data, Limits(max_pixels=1_000)).detail
    assert f"{len(data):,}" in _refusal(data, Limits(max_bytes=10)).detail


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_defined_range_are_refused(mode: str) -> None:
    refusal = _refusal(encode(_picture().convert("L").convert(mode), "TIFF"))
    assert refusal.reason == "unsupported_pixels"
    assert f"mode {mode}" in refusal.detail


# Invariants


@cache
def _good_files() -> tuple[bytes, ...]:
    """Small good files of every format and of many kinds in it."""
    picture = _picture(side=24)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    transparent = picture.convert("RGBA")
    transparent.putalpha(picture.convert("L"))
    deep = Image.fromarray(np.arange(576, dtype=np.uint16).reshape(24, 24) * 113)
    frames: dict[str, Any] = {"save_all": True, "append_images": [picture.rotate(90)]}
    return (
        *(encode(picture, name) for name in _FORMATS),
        encode(picture, "JPEG", exif=exif, progressive=True),
        encode(picture.convert("L"), "JPEG"),
        encode(picture.convert("CMYK"), "JPEG", exif=exif),
        encode(transparent, exif=exif),
        encode(picture.convert("1")),
        encode(picture.quantize(16), transparency=3),
        encode(deep),
        encode(picture, **frames),
        encode(transparent, "WEBP", lossless=True, exif=exif),
        encode(picture, "WEBP", **frames),
        encode(picture, "GIF", **frames),
        encode(transparent, "BMP"),
        encode(picture.quantize(16), "BMP"),
        encode(deep, "TIFF"),
        encode(transparent, "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 6}),
        encode(picture, "TIFF", compression="jpeg"),
        encode(picture.convert("1"), "TIFF", compression="group4"),
    )


def _gives_pixels_or_a_refusal(data: bytes, mode: ResizeMode) -> None:
    spec = PixelSpec(16, 12, mode)
    with suppress(ImageRefusedError):
        pixels = read_pixels(data, spec)
        assert pixels.shape == (16, 12, 3)
        assert pixels.dtype == np.uint8


_files = st.deferred(lambda: st.sampled_from(_good_files()))
_modes = st.sampled_from(RESIZE_MODES)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), _modes)
def test_any_bytes_give_pixels_or_a_refusal(data: bytes, mode: ResizeMode) -> None:
    _gives_pixels_or_a_refusal(data, mode)


@settings(max_examples=250, deadline=None)
@given(_files, st.integers(1, 40), st.binary(max_size=200), _modes)
def test_any_bytes_behind_a_good_start_give_pixels_or_a_refusal(
    file: bytes, kept: int, rest: bytes, mode: ResizeMode
) -> None:
    _gives_pixels_or_a_refusal(file[:kept] + rest, mode)


@settings(max_examples=250, deadline=None)
@given(_files, st.floats(0, 1, exclude_max=True), _modes)
def test_any_part_of_a_good_file_gives_pixels_or_a_refusal(
    file: bytes, share: float, mode: ResizeMode
) -> None:
    _gives_pixels_or_a_refusal(file[: int(len(file) * share)], mode)


@settings(max_examples=600, deadline=None)
@given(
    _files,
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    _modes,
)
def test_any_change_to_a_good_file_gives_pixels_or_a_refusal(
    file: bytes, changes: list[tuple[float, int, bool]], mode: ResizeMode
) -> None:
    data = bytearray(file)
    for place, value, in_header in changes:
        reach = min(len(data), 160) if in_header else len(data)
        data[int(reach * place)] = value
    _gives_pixels_or_a_refusal(bytes(data), mode)


def test_every_good_file_gives_pixels() -> None:
    for data in _good_files():
        assert read_pixels(data, _SPEC).shape == (8, 8, 3)


def test_header_of_a_good_file_says_its_size() -> None:
    for data in _good_files():
        header = read_header(data, DEFAULT_LIMITS)
        assert (header.width, header.height) == (24, 24)
