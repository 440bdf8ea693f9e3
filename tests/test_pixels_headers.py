"""Containers that contradict themselves, or ask for more than is allowed, never reach a library."""

from __future__ import annotations

import struct
import time
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stress.bombs import bombs
from stress.files import (
    DOT,
    PNG,
    chunk,
    encode,
    gif,
    gif_frame,
    ifd,
    ihdr,
    png,
    riff,
    soft,
    stored,
    vp8x,
    with_chunk,
    with_segment,
)
from stress.files import exif as exif_of
from stress.golden import golden_files

from keshikaran.errors import ImageRefusedError, RefusalReason
from keshikaran.pixels import DEFAULT_LIMITS, EXTRA_FORMATS, FORMATS, Limits, read_header
from keshikaran.pixels.header import inspect
from keshikaran.pixels.headers import INSPECTORS
from support import quadrants

_PICTURE = soft(24, 16)
_GOLDEN = golden_files()
_PIXEL = chunk(b"IDAT", zlib.compress(b"\0\0"))
_END = chunk(b"IEND", b"")
_DOT_PNG = PNG + ihdr(1, 1, 8, 0)


@pytest.fixture(autouse=True)
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if Pillow or libjpeg sees the file."""

    def fail(*_: Any, **__: Any) -> None:
        pytest.fail("a library was given the file")

    monkeypatch.setattr("keshikaran.pixels.pillow.Image.open", fail)
    monkeypatch.setattr("simplejpeg.decode_jpeg_header", fail)


def _reason(data: bytes, limits: Limits = DEFAULT_LIMITS) -> RefusalReason:
    with pytest.raises(ImageRefusedError) as caught:
        read_header(data, limits)
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("name", _GOLDEN)
def test_sound_files_are_let_through(name: str) -> None:
    header = read_header(_GOLDEN[name], DEFAULT_LIMITS)
    assert {header.width, header.height} in ({48, 32}, {37, 23})
    assert header.frames == (
        3 if name == "animated.png" else 1 + ("animated" in name or "pages" in name)
    )


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_without_a_library_and_quickly(name: str) -> None:
    started = time.thread_time()
    assert _reason(bombs()[name]) not in {"not_an_image", "empty_file"}
    assert time.thread_time() - started < 2


@pytest.mark.parametrize("name", _GOLDEN)
def test_frames_are_counted(name: str) -> None:
    frames = read_header(_GOLDEN[name], DEFAULT_LIMITS).frames
    if frames > 1:
        assert _reason(_GOLDEN[name], Limits(max_frames=frames - 1)) == "too_many_frames"
        assert read_header(_GOLDEN[name], Limits(max_frames=frames)).frames == frames


_TEXT = b"words " * 200
_METADATA = {
    "JPEG comment": with_segment(encode(_PICTURE, "JPEG"), 0xFE, _TEXT),
    "JPEG EXIF": with_segment(encode(_PICTURE, "JPEG"), 0xE1, b"Exif\0\0" + _TEXT),
    "PNG text": with_chunk(encode(_PICTURE), b"tEXt", b"a\0" + _TEXT),
    "PNG packed text": with_chunk(encode(_PICTURE), b"zTXt", b"a\0\0" + zlib.compress(_TEXT)),
    "PNG packed international text": with_chunk(
        encode(_PICTURE), b"iTXt", b"a\0\1\0en\0b\0" + zlib.compress(_TEXT)
    ),
    "PNG profile": encode(_PICTURE, icc_profile=_TEXT),
    "WebP XMP": encode(_PICTURE, "WEBP", xmp=_TEXT),
    "WebP profile": encode(_PICTURE, "WEBP", icc_profile=_TEXT),
    "GIF comment": encode(_PICTURE, "GIF", comment=_TEXT),
    "TIFF profile": encode(_PICTURE, "TIFF", icc_profile=_TEXT),
}


@pytest.mark.parametrize("data", _METADATA.values(), ids=_METADATA.keys())
def test_too_much_metadata_is_refused(data: bytes) -> None:
    assert _reason(data, Limits(max_metadata_bytes=1_100)) == "too_much_metadata"
    assert read_header(data, Limits(max_metadata_bytes=4_000)).width == 24


def test_damaged_packed_texts_do_no_harm() -> None:
    data = with_chunk(encode(_PICTURE), b"zTXt", b"a\0\0" + b"not packed")
    assert read_header(data, DEFAULT_LIMITS).width == 24
    data = with_chunk(encode(_PICTURE), b"iCCP", b"a\0\0" + zlib.compress(_TEXT)[:-8])
    assert inspect(data, DEFAULT_LIMITS).profile is None


# PNG

_CONTROL = struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 1, 0, 0)


def _actl(frames: int) -> bytes:
    return chunk(b"acTL", struct.pack(">II", frames, 0))


_FCTL, _FDAT = chunk(b"fcTL", _CONTROL), chunk(b"fdAT", bytes(4) + zlib.compress(b"\0\0"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PNG + ihdr(1, 1, 8, 0)[:20], "truncated"),
        (PNG + ihdr(1, 1, 3, 0) + _PIXEL + _END, "corrupt"),
        (PNG + ihdr(1, 1, 8, 5) + _PIXEL + _END, "corrupt"),
        (PNG + ihdr(0, 1, 8, 0) + _PIXEL + _END, "corrupt"),
        (PNG + _PIXEL + ihdr(1, 1, 8, 0) + _END, "corrupt"),
        (_DOT_PNG + _END, "corrupt"),
        (_DOT_PNG + chunk(b"tEXt", b"a\0b"), "truncated"),
        (_DOT_PNG + _FCTL + _PIXEL + _END, "corrupt"),
        (_DOT_PNG + _PIXEL + _actl(1) + _FCTL + _FDAT + _END, "corrupt"),
        (_DOT_PNG + _actl(1) + _actl(1) + _FCTL + _PIXEL + _END, "corrupt"),
        (_DOT_PNG + chunk(b"acTL", bytes(3)) + _PIXEL + _END, "corrupt"),
        (_DOT_PNG + _actl(2) + _FCTL + _PIXEL + _END, "corrupt"),
        (_DOT_PNG + _actl(2) + _FCTL + _PIXEL, "truncated"),
        (_DOT_PNG + _actl(1) + _FCTL + _PIXEL + _FCTL + _FDAT + _END, "corrupt"),
        (_DOT_PNG + _actl(2) + _FCTL + _FCTL + _PIXEL + _END, "corrupt"),
        (_DOT_PNG + _actl(1) + chunk(b"fcTL", _CONTROL[:-1]) + _PIXEL + _END, "corrupt"),
        (png((1, 1), 8, 2, bytes(4), extra=chunk(b"tRNS", b"\0\1")), "corrupt"),
        (
            _DOT_PNG + chunk(b"tRNS", b"\0\1") + _actl(2) + _FCTL + _PIXEL + _FCTL + _FDAT + _END,
            "unsupported_pixels",
        ),
    ],
)
def test_png(data: bytes, reason: RefusalReason) -> None:
    assert _reason(data) == reason


def test_a_png_without_its_end_is_left_to_the_decoder() -> None:
    assert read_header(_DOT_PNG + _PIXEL, DEFAULT_LIMITS).frames == 1


def test_an_animation_may_leave_its_first_picture_out() -> None:
    data = _DOT_PNG + _actl(1) + _PIXEL + _FCTL + _FDAT + _END
    assert read_header(data, DEFAULT_LIMITS).frames == 2


@pytest.mark.parametrize("place", [(1, 0), (0, 1)])
def test_a_frame_outside_its_canvas_is_corrupt(place: tuple[int, int]) -> None:
    control = struct.pack(">IIIIIHHBB", 0, 1, 1, *place, 1, 1, 0, 0)
    data = _DOT_PNG + _actl(1) + chunk(b"fcTL", control) + _PIXEL + _END
    assert _reason(data) == "corrupt"


# GIF


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GIF89a\1", "truncated"),
        (gif((1, 1), []), "corrupt"),
        (gif((1, 1), [b"?"]), "corrupt"),
        (gif((1, 1), [gif_frame(1, 1, DOT)[:-2]], trailer=b""), "truncated"),
        (gif((0, 0), [gif_frame(0, 1, DOT)]), "corrupt"),
        (gif((1, 1), [b"!\xf9\x09ab"], trailer=b""), "truncated"),
        (gif((1, 1), [b"!"], trailer=b""), "truncated"),
    ],
)
def test_gif(data: bytes, reason: RefusalReason) -> None:
    assert _reason(data) == reason


def test_a_gif_may_lack_its_trailer_and_have_empty_bytes_between_blocks() -> None:
    frames = [gif_frame(3, 2, DOT), b"\0\0", gif_frame(1, 1, DOT, left=9)]
    header = read_header(gif((1, 1), frames, trailer=b""), DEFAULT_LIMITS)
    assert (header.width, header.height, header.frames) == (10, 2, 2)


# WebP

_STILL = encode(_PICTURE, "WEBP", lossless=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_STILL[:20], "truncated"),
        (_STILL[:-2], "truncated"),
        (riff((b"VP8 ", bytes(40))), "corrupt"),
        (riff((b"VP8L", bytes(40))), "corrupt"),
        (riff((b"ODD ", bytes(40))), "corrupt"),
        (riff(vp8x(4, 4, 0), (b"EXIF", bytes(40))), "corrupt"),
        (riff(vp8x(4, 4, 2), (b"ANIM", bytes(6))), "corrupt"),
        (riff(vp8x(4, 4, 0), (b"ANMF", bytes(16))), "corrupt"),
        (riff(vp8x(4, 4, 2), (b"ANMF", bytes(16) + b"VP8L\xff\0\0\0")), "truncated"),
        (riff(vp8x(4, 4, 2), (b"ANMF", bytes(16) + b"VP8L\4\0\0\0abcd")), "corrupt"),
    ],
)
def test_webp(data: bytes, reason: RefusalReason) -> None:
    assert _reason(data) == reason


def test_bytes_behind_a_webp_are_ignored() -> None:
    assert read_header(_STILL + b"more", DEFAULT_LIMITS).width == 24


# TIFF

_PAGE = [(256, 4, 1, 4), (257, 4, 1, 4), (258, 4, 1, 8), (259, 4, 1, 1), (262, 4, 1, 1)]
_PAGE += [(273, 4, 1, 8), (277, 4, 1, 1), (278, 4, 1, 4), (279, 4, 1, 16)]


def _tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    tags = {entry[0]: entry for entry in (*_PAGE, *entries)}
    return b"II*\0\x08\0\0\0" + ifd(list(tags.values()), 8, following) + bytes(64)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"II*\0", "truncated"),
        (b"II*\0\0\0\0\0", "corrupt"),
        (b"II*\0\xff\0\0\0", "truncated"),
        (_tiff()[:40], "truncated"),
        (_tiff(following=10_000), "truncated"),
        (_tiff(following=8), "corrupt"),
        (_tiff((256, 4, 1, 0)), "corrupt"),
        (_tiff((256, 4, 1, 20_001)), "side_too_long"),
        (_tiff((322, 4, 1, 2**20), (323, 4, 1, 16)), "side_too_long"),
        (_tiff((322, 4, 1, 16)), "corrupt"),
        (_tiff((277, 4, 1, 7)), "unsupported_pixels"),
        (_tiff((259, 4, 1, 34_925)), "unsupported_pixels"),
        (_tiff((273, 4, 100_001, 8)), "corrupt"),
        (_tiff((273, 4, 100_000, 8)), "corrupt"),
        (_tiff((34_675, 7, 2**30, 8)), "too_much_metadata"),
        (b"II*\0\x08\0\0\0" + struct.pack("<H", 2_000) + bytes(2_000 * 12 + 4), "corrupt"),
    ],
)
def test_tiff(data: bytes, reason: RefusalReason) -> None:
    assert _reason(data) == reason


# BMP

_BMP = encode(_PICTURE, "BMP")


def _bmp(place: int, form: str, *values: int, keep: int | None = None) -> bytes:
    data = bytearray(_BMP)
    struct.pack_into("<" + form, data, place, *values)
    return bytes(data[:keep])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_BMP[:29], "truncated"),
        (_BMP[:50], "truncated"),
        (_BMP[:-1], "truncated"),
        (_bmp(18, "i", -24), "corrupt"),
        (_bmp(22, "i", 0), "corrupt"),
        (_bmp(22, "i", -30_000), "side_too_long"),
        (_bmp(28, "H", 7), "unsupported_pixels"),
        (_bmp(30, "I", 4), "unsupported_pixels"),
        (_bmp(46, "I", 2**20), "corrupt"),
    ],
)
def test_bmp(data: bytes, reason: RefusalReason) -> None:
    assert _reason(data) == reason


def test_a_bmp_may_be_stored_from_the_top() -> None:
    assert read_header(_bmp(22, "i", -16), DEFAULT_LIMITS).height == 16


def test_a_packed_bmp_may_be_shorter_than_its_pixels() -> None:
    data = _bmp(28, "HI", 8, 1, keep=80)
    assert read_header(data, DEFAULT_LIMITS).width == 24


# JPEG

_JPEG = encode(_PICTURE, "JPEG", quality=90)
_SOF = _JPEG.index(b"\xff\xc0")


def _sof(place: int, value: int) -> bytes:
    return _JPEG[: _SOF + place] + bytes([value]) + _JPEG[_SOF + place + 1 :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xd8\xff", "truncated"),
        (b"\xff\xd8\xff\xe0\x00", "truncated"),
        (b"\xff\xd8\xff\xe0\x00\x01JFIF", "corrupt"),
        (b"\xff\xd8\xff\xe0\x00\x40ab", "truncated"),
        (b"\xff\xd8\xff\xda\x00\x04ab", "corrupt"),
        (b"\xff\xd8\xff\xd9" + bytes(9), "corrupt"),
        (_JPEG[:2] + _JPEG, "corrupt"),
        (_JPEG[:_SOF] + _JPEG[_SOF : _SOF + 19] + _JPEG[_SOF:], "corrupt"),
        (_JPEG[:_SOF] + b"\xff\xc0\x00\x04\x08\x00" + _JPEG[_SOF + 19 :], "corrupt"),
        (_sof(1, 0xC3), "unsupported_pixels"),
        (_sof(4, 12), "unsupported_pixels"),
        (_sof(9, 2), "unsupported_pixels"),
        (_sof(6, 0)[:_SOF] + b"\xff\xc0\x00\x11\x08\x00\x00" + _JPEG[_SOF + 7 :], "corrupt"),
    ],
)
def test_jpeg(data: bytes, reason: RefusalReason) -> None:
    assert _reason(data) == reason


def _scans(count: int) -> bytes:
    data = encode(_PICTURE, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (count - data.count(b"\xff\xda")) + data[-2:]


def test_a_hundred_scans_are_the_most() -> None:
    assert read_header(_scans(100), DEFAULT_LIMITS).width == 24
    assert _reason(_scans(101)) == "too_many_frames"


def test_four_scans_cost_a_frame() -> None:
    pixels = 24 * 16
    assert read_header(_scans(40), Limits(max_total_pixels=10 * pixels)).width == 24
    assert _reason(_scans(44), Limits(max_total_pixels=10 * pixels)) == "too_many_pixels"


def test_scans_of_what_lies_behind_the_end_do_not_count() -> None:
    data = encode(_PICTURE, "JPEG", progressive=True) + b"\xff\xda\0\0" * 500
    assert read_header(data, DEFAULT_LIMITS).width == 24


def test_a_picture_in_parts_is_counted_even_where_it_is_not_progressive() -> None:
    start = _JPEG.index(b"\xff\xda")
    one = _JPEG[: start + 4] + b"\x01" + _JPEG[start + 5 :]
    assert _reason(one[:-2] + one[start:-2] * 200) == "too_many_frames"


# Everything


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_which_way_is_up(kind: str, number: int) -> None:
    data = encode(stored(_PICTURE, number), kind, exif=exif_of(number))
    assert inspect(data, DEFAULT_LIMITS).orientation == number


def test_every_format_has_an_inspector() -> None:
    assert set(INSPECTORS) == FORMATS | EXTRA_FORMATS


def test_only_what_decides_pixels_is_handed_on() -> None:
    data = with_chunk(encode(quadrants([(1, 2, 3)] * 4)), b"zTXt", b"a\0\0" + zlib.compress(_TEXT))
    data = with_chunk(data, b"prVt", b"private")
    assert inspect(data, DEFAULT_LIMITS).data == encode(quadrants([(1, 2, 3)] * 4))


_shares = st.floats(0, 1, exclude_max=True)
_files = st.sampled_from(sorted(_GOLDEN.values()))


@settings(max_examples=400, deadline=None)
@given(
    _files, st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8)
)
def test_any_change_gives_a_header_or_a_refusal(
    file: bytes, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(file)
    for place, value in changes:
        data[int(min(len(data), 300) * place)] = value
    _header_or_refusal(bytes(data))


@settings(max_examples=200, deadline=None)
@given(_files, _shares, st.binary(max_size=60))
def test_any_end_gives_a_header_or_a_refusal(file: bytes, share: float, end: bytes) -> None:
    _header_or_refusal(file[: int(len(file) * share)] + end)


def _header_or_refusal(data: bytes) -> None:
    everything = Limits(formats=FORMATS | EXTRA_FORMATS)
    try:
        header = read_header(data, everything)
    except ImageRefusedError:
        return
    assert 1 <= header.width * header.height <= everything.max_pixels
    assert 1 <= header.frames <= everything.max_frames
