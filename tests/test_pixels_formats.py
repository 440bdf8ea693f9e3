"""Every format that is accepted gives the picture that was put in."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from stress.files import exif, stored

from keshikaran.pixels import (
    DEFAULT_LIMITS,
    FORMATS,
    RESIZE_MODES,
    ImageFormat,
    PixelSpec,
    ResizeMode,
    read_header,
    read_pixels,
    sniff_format,
)
from keshikaran.pixels.exif import orientation_of
from keshikaran.pixels.header import inspect
from keshikaran.pixels.jpeg import fast_mode
from keshikaran.types import UInt8Array
from support import encode

_WIDTH, _HEIGHT = 64, 32
_NATIVE = PixelSpec(_HEIGHT, _WIDTH)
_ORIENTATIONS = range(1, 9)


def _four_colours(scale: int = 1) -> Image.Image:
    """Four flat quarters, each of its own colour, wider than high: no turn leaves it the same.

    The quarters end where the blocks of a JPEG end.
    """
    pixels = np.zeros((_HEIGHT, _WIDTH, 3), dtype=np.uint8)
    pixels[:16, :32] = (200, 40, 40)
    pixels[:16, 32:] = (40, 180, 60)
    pixels[16:, :32] = (50, 60, 210)
    pixels[16:, 32:] = (220, 210, 50)
    return Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1))


def _pixels(image: Image.Image) -> UInt8Array:
    return np.asarray(image.convert("RGB"))


def _distance(a: UInt8Array, b: UInt8Array) -> int:
    return int(np.abs(a.astype(np.int16) - b).max())


def _same_but_for_edges(a: UInt8Array, b: UInt8Array) -> bool:
    """Chroma at half the resolution, and DCT-scaled decoding, soften the edges."""
    return float(np.quantile(np.abs(a.astype(np.int16) - b), 0.9)) <= 3


def _row(data: bytes) -> list[tuple[int, ...]]:
    """A file of one row of pixels → that row."""
    header = read_header(data, DEFAULT_LIMITS)
    pixels = read_pixels(data, PixelSpec(header.height, header.width))
    return [tuple(int(value) for value in pixel) for pixel in pixels[0]]


def _grey(*values: int) -> list[tuple[int, ...]]:
    return [(value, value, value) for value in values]


# PNG kinds that Pillow reads and does not write


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def _png(
    size: tuple[int, int], depth: int, colour: int, scanlines: bytes, *, adam7: bool = False
) -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, int(adam7))
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(scanlines))
    return b"\x89PNG\r\n\x1a\n" + body + _chunk(b"IEND", b"")


def _adam7(pixels: UInt8Array) -> bytes:
    """The scanlines of an interlaced picture: seven passes, each row with filter 0."""
    passes = [
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]  # fmt: skip
    return b"".join(
        b"\x00" + row.tobytes()
        for top, left, down, right in passes
        for row in pixels[top::down, left::right]
        if row.size
    )


def _tiff(size: tuple[int, int], bits: int, white: int, data: bytes) -> bytes:
    """An uncompressed TIFF in grey; `white` 0: zero is white, 1: zero is black."""
    tags = [(256, size[0]), (257, size[1]), (258, bits), (259, 1), (262, white), (273, 0)]
    tags += [(277, 1), (278, size[1]), (279, len(data))]
    offset = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, offset if tag == 273 else value) for tag, value in tags
    )
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(tags)) + entries + bytes(4) + data


# JPEG


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_colour_jpeg(progressive: bool, subsampling: str) -> None:
    data = encode(
        _four_colours(), "JPEG", quality=95, progressive=progressive, subsampling=subsampling
    )
    assert _same_but_for_edges(read_pixels(data, _NATIVE), _pixels(_four_colours()))


def test_grey_jpeg() -> None:
    grey = _four_colours().convert("L")
    data = encode(grey, "JPEG", quality=95)
    assert _distance(read_pixels(data, _NATIVE), _pixels(grey)) <= 2


def test_cmyk_jpeg() -> None:
    data = encode(_four_colours().convert("CMYK"), "JPEG", quality=95)
    assert fast_mode(data, read_header(data, DEFAULT_LIMITS)) is None
    assert _distance(read_pixels(data, _NATIVE), _pixels(_four_colours())) <= 3


def _resampled(size: tuple[int, int], luma_sampling: int) -> bytes:
    """A flat JPEG of six blocks (four of luma) whose header says another subsampling."""
    data = bytearray(encode(Image.new("RGB", size, (90, 120, 150)), "JPEG", subsampling="4:2:0"))
    luma = data.index(b"\xff\xc0") + 11
    assert data[luma] == 0x22
    data[luma] = luma_sampling
    return bytes(data)


@pytest.mark.parametrize(("size", "luma_sampling"), [((16, 8), 0x41), ((8, 16), 0x14)])
def test_jpeg_with_rare_chroma_subsampling_is_read(
    size: tuple[int, int], luma_sampling: int
) -> None:
    pixels = read_pixels(_resampled(size, luma_sampling), PixelSpec(size[1], size[0]))
    assert np.abs(pixels.astype(np.int16) - (90, 120, 150)).max() <= 3


def test_jpeg_with_a_subsampling_unknown_to_turbojpeg_is_read() -> None:
    data = _resampled((8, 16), 0x13)
    assert fast_mode(data, read_header(data, DEFAULT_LIMITS)) is None
    assert read_pixels(data, PixelSpec(8, 8)).shape == (8, 8, 3)


def test_large_jpeg_shrunk_while_decoding_looks_like_one_shrunk_afterwards() -> None:
    rng = np.random.default_rng(5)
    soft = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    large = soft.resize((1024, 768), Image.Resampling.BICUBIC)
    spec = PixelSpec(96, 128)
    from_jpeg = read_pixels(encode(large, "JPEG", quality=95), spec)
    from_png = read_pixels(encode(large), spec)
    assert float(np.abs(from_jpeg.astype(np.int16) - from_png).mean()) < 2.0


def _with_stray_bytes(data: bytes, marker: bytes) -> bytes:
    place = data.index(marker)
    return data[:place] + b"stray bytes" + data[place:]


def _with_odd_scan_parameters(data: bytes) -> bytes:
    end = data.index(b"\xff\xda") + 14
    assert data[end - 3 : end] == b"\x00\x3f\x00"
    return data[: end - 2] + b"\x00" + data[end - 1 :]


def _with_odd_jfif_version(data: bytes) -> bytes:
    version = data.index(b"JFIF\x00") + 5
    return data[:version] + b"\x09" + data[version + 1 :]


_FLAWS: dict[str, Callable[[bytes], bytes]] = {
    "stray bytes before the tables": lambda data: _with_stray_bytes(data, b"\xff\xdb"),
    "stray bytes before the frame": lambda data: _with_stray_bytes(data, b"\xff\xc0"),
    "stray bytes at the end": lambda data: data[:-2] + b"stray" + data[-2:],
    "odd scan parameters": _with_odd_scan_parameters,
    "odd JFIF version": _with_odd_jfif_version,
}


@pytest.mark.parametrize("flaw", _FLAWS.values(), ids=_FLAWS.keys())
def test_flaws_that_cameras_write_and_viewers_ignore_are_ignored(
    flaw: Callable[[bytes], bytes],
) -> None:
    data = encode(_four_colours(), "JPEG", quality=95)
    assert _distance(read_pixels(flaw(data), _NATIVE), read_pixels(data, _NATIVE)) <= 2


def test_bytes_after_the_end_of_a_jpeg_are_ignored() -> None:
    data = encode(_four_colours(), "JPEG", quality=95)
    assert np.array_equal(
        read_pixels(data + b"a second picture, or a thumbnail", _NATIVE), read_pixels(data, _NATIVE)
    )


# EXIF orientation


@pytest.mark.parametrize("orientation", _ORIENTATIONS)
@pytest.mark.parametrize("kind", ["RGB", "L", "CMYK"])
def test_jpeg_is_upright(orientation: int, kind: str) -> None:
    image = _four_colours().convert(kind)
    plain = read_pixels(encode(image, "JPEG", quality=95), _NATIVE)
    turned = encode(stored(image, orientation), "JPEG", quality=95, exif=exif(orientation))
    assert _distance(read_pixels(turned, _NATIVE), plain) <= 3


@pytest.mark.parametrize("orientation", _ORIENTATIONS)
@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_upright(orientation: int, image_format: str) -> None:
    image = stored(_four_colours(), orientation)
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encode(image, image_format, exif=exif(orientation), **options)
    assert np.array_equal(read_pixels(data, _NATIVE), _pixels(_four_colours()))


@pytest.mark.parametrize("orientation", _ORIENTATIONS)
@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_large_jpeg_is_upright_in_every_resize_mode(orientation: int, mode: ResizeMode) -> None:
    spec = PixelSpec(24, 20, mode)
    large = _four_colours(scale=16)
    options = {"quality": 95, "subsampling": "4:4:4"}
    turned = encode(stored(large, orientation), "JPEG", exif=exif(orientation), **options)
    upright = read_pixels(encode(large, "JPEG", **options), spec)
    assert _distance(read_pixels(turned, spec), upright) <= 3
    assert _same_but_for_edges(upright, read_pixels(encode(large), spec))


@pytest.mark.parametrize("orientation", _ORIENTATIONS)
def test_turned_jpeg_keeps_the_detail_that_is_needed(orientation: int) -> None:
    rows = np.arange(128)[:, None, None] % 2 * 200
    striped = Image.fromarray(np.broadcast_to(rows, (128, 512, 3)).astype(np.uint8))
    turned = encode(stored(striped, orientation), "JPEG", quality=95, exif=exif(orientation))
    pixels = read_pixels(turned, PixelSpec(128, 64))
    assert np.abs(pixels.astype(np.int16) - rows).mean() < 5


def test_header_tells_the_size_asstored() -> None:
    data = encode(stored(_four_colours(), 6), "JPEG", exif=exif(6))
    header = read_header(data, DEFAULT_LIMITS)
    assert (header.format, header.width, header.height) == ("jpeg", _HEIGHT, _WIDTH)


def _with_segments(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def _app1(payload: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


_HEAD = b"Exif\x00\x00"
_BROKEN_EXIF = {
    "empty": _HEAD,
    "garbage": _HEAD + bytes(range(200, 256)),
    "cut off": _HEAD + b"II*\x00\x08\x00\x00\x00\x05\x00\x12\x01",
    "pointing outside": _HEAD + b"II*\x00\xff\xff\xff\x7f",
    "no orientation 0": _HEAD + exif(0).tobytes()[6:],
    "no orientation 9": _HEAD + exif(9).tobytes()[6:],
    "orientation in words": _HEAD
    + b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x02\x00\x04\x00\x00\x00up\x00\x00"
    + bytes(4),
}


@pytest.mark.parametrize("payload", _BROKEN_EXIF.values(), ids=_BROKEN_EXIF.keys())
@pytest.mark.parametrize("kind", ["RGB", "CMYK"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_exif_leaves_the_picture_as_it_is(payload: bytes, kind: str) -> None:
    data = encode(_four_colours().convert(kind), "JPEG", quality=95)
    broken = _with_segments(data, _app1(payload))
    assert np.array_equal(read_pixels(broken, _NATIVE), read_pixels(data, _NATIVE))


def test_broken_exif_in_a_png_leaves_the_picture_as_it_is() -> None:
    data = encode(_four_colours(), exif=b"Exif\x00\x00this is no block of tags")
    assert np.array_equal(read_pixels(data, _NATIVE), _pixels(_four_colours()))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_orientation_counts_though_a_later_tag_is_damaged() -> None:
    block = exif(6)
    block[0x0131] = "software with a name too long to stay beside its tag"
    cut = _HEAD + block.tobytes()[6:-20]
    data = encode(stored(_four_colours(), 6), "JPEG", quality=95)
    plain = read_pixels(encode(_four_colours(), "JPEG", quality=95), _NATIVE)
    assert _distance(read_pixels(_with_segments(data, _app1(cut)), _NATIVE), plain) <= 3


def test_exif_is_found_behind_other_segments_and_fill_bytes() -> None:
    data = encode(_four_colours(), "JPEG")
    segment = _app1(_HEAD + exif(8).tobytes()[6:])
    other = _app1(b"http://ns.adobe.com/xap/1.0/\x00<x/>")
    assert (
        inspect(_with_segments(data, other, b"\xff\xff\xff" + segment), DEFAULT_LIMITS).orientation
        == 8
    )


def test_exif_behind_the_start_of_the_picture_does_not_count() -> None:
    data = encode(_four_colours(), "JPEG")
    end = data.index(b"\xff\xd9")
    late = data[:end] + _app1(_HEAD + exif(8).tobytes()[6:]) + data[end:]
    assert inspect(late, DEFAULT_LIMITS).orientation == 1


def test_an_exif_block_that_cannot_be_read_counts_as_upright() -> None:
    assert orientation_of(_HEAD + b"XX not a byte order") == 1


# PNG


def test_colour_png() -> None:
    assert np.array_equal(read_pixels(encode(_four_colours()), _NATIVE), _pixels(_four_colours()))


def test_transparency_is_put_on_white() -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 51)])
    assert _row(encode(image)) == [(255, 0, 0), (255, 255, 255), (204, 204, 204)]


def test_grey_with_alpha_is_put_on_white() -> None:
    image = Image.new("LA", (3, 1))
    image.putdata([(10, 255), (10, 0), (0, 51)])
    assert _row(encode(image)) == _grey(10, 255, 204)


def test_palette_with_transparent_entries_is_put_on_white() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 0])
    image.putdata([0, 1, 2])
    data = encode(image, transparency=bytes([255, 0, 51]))
    assert _row(data) == [(255, 0, 0), (255, 255, 255), (204, 204, 204)]


def test_palette_without_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([1, 0])
    assert _row(encode(image)) == [(0, 255, 0), (255, 0, 0)]


def test_one_colour_named_transparent_is_put_on_white() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    assert _row(encode(image, transparency=(9, 9, 9))) == [(1, 2, 3), (255, 255, 255)]


def test_one_bit_png() -> None:
    image = Image.new("1", (3, 1))
    image.putdata([0, 255, 0])
    assert _row(encode(image)) == _grey(0, 255, 0)


def test_sixteen_bit_grey_is_scaled_not_cut() -> None:
    values = np.array([0, 128, 129, 257, 32768, 65407, 65408, 65535], dtype=">u2")
    data = _png((len(values), 1), 16, 0, b"\x00" + values.tobytes())
    assert _row(data) == _grey(0, 0, 1, 1, 128, 255, 255, 255)


def test_sixteen_bit_colour_png() -> None:
    values = np.array([65535, 32768, 0], dtype=">u2")
    assert _row(_png((1, 1), 16, 2, b"\x00" + values.tobytes())) == [(255, 128, 0)]


def test_interlaced_png_is_the_same_as_a_plain_one() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (13, 11, 3), dtype=np.uint8)
    data = _png((11, 13), 8, 2, _adam7(pixels), adam7=True)
    assert np.array_equal(read_pixels(data, PixelSpec(13, 11)), pixels)


def test_animated_png_gives_its_first_picture() -> None:
    first, second = _four_colours(), Image.new("RGB", (_WIDTH, _HEIGHT), (1, 2, 3))
    data = encode(first, save_all=True, append_images=[second])
    assert np.array_equal(read_pixels(data, _NATIVE), _pixels(first))


# WebP


def test_lossless_webp() -> None:
    data = encode(_four_colours(), "WEBP", lossless=True)
    assert np.array_equal(read_pixels(data, _NATIVE), _pixels(_four_colours()))


def test_lossy_webp() -> None:
    data = encode(_four_colours(), "WEBP", quality=95)
    assert float(np.abs(read_pixels(data, _NATIVE).astype(float) - _four_colours()).mean()) < 4


def test_transparent_webp_is_put_on_white() -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 51))
    image.putpixel((1, 0), (7, 8, 9, 255))
    assert _row(encode(image, "WEBP", lossless=True)) == [(204, 204, 204), (7, 8, 9)]


def test_animated_webp_gives_its_first_picture() -> None:
    first, second = _four_colours(), Image.new("RGB", (_WIDTH, _HEIGHT), (1, 2, 3))
    data = encode(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert np.array_equal(read_pixels(data, _NATIVE), _pixels(first))


# BMP, TIFF, GIF


@pytest.mark.parametrize("kind", ["RGB", "L", "1", "P", "RGBA"])
def test_bmp(kind: str) -> None:
    image = _four_colours().convert(kind)
    assert np.array_equal(read_pixels(encode(image, "BMP"), _NATIVE), _pixels(image))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("kind", ["RGB", "L", "P", "1"])
def test_tiff(kind: str, compression: str | None) -> None:
    image = _four_colours().convert(kind)
    data = encode(image, "TIFF", compression=compression)
    assert np.array_equal(read_pixels(data, _NATIVE), _pixels(image))


def test_cmyk_tiff() -> None:
    data = encode(_four_colours().convert("CMYK"), "TIFF")
    assert _distance(read_pixels(data, _NATIVE), _pixels(_four_colours())) <= 3


def test_transparent_tiff_is_put_on_white() -> None:
    image = Image.new("RGBA", (1, 1), (0, 0, 0, 51))
    assert _row(encode(image, "TIFF")) == [(204, 204, 204)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_tiff_is_scaled_not_cut(order: str) -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=f"{order}u2")
    data = encode(Image.fromarray(values), "TIFF")
    assert data[:2] == (b"II" if order == "<" else b"MM")
    assert _row(data) == _grey(0, 1, 128, 255)


def test_sixteen_bit_tiff_with_zero_as_white_is_not_a_negative() -> None:
    values = np.array([0, 32768, 65535], dtype="<u2")
    assert _row(_tiff((3, 1), 16, 0, values.tobytes())) == _grey(255, 127, 0)


def test_twelve_bit_tiff_is_not_almost_black() -> None:
    packed = bytes([0x00, 0x08, 0x00, 0xFF, 0xF0, 0x00])  # 0, 2048, 4095, 0
    assert _row(_tiff((4, 1), 12, 1, packed)) == _grey(0, 128, 255, 0)


def test_tiff_of_many_pages_gives_the_first() -> None:
    second = Image.new("RGB", (5, 5), (1, 2, 3))
    data = encode(_four_colours(), "TIFF", save_all=True, append_images=[second])
    assert np.array_equal(read_pixels(data, _NATIVE), _pixels(_four_colours()))


def test_gif_gives_its_first_frame() -> None:
    first = _four_colours().quantize(8)
    second = Image.new("RGB", first.size, (1, 2, 3)).quantize(8)
    data = encode(first, "GIF", save_all=True, append_images=[second])
    assert np.array_equal(read_pixels(data, _NATIVE), _pixels(first))


def test_transparent_gif_is_put_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    assert _row(encode(image, "GIF", transparency=1)) == [(10, 20, 30), (255, 255, 255)]


# Names


@pytest.mark.parametrize("image_format", sorted(FORMATS))
def test_format_is_told_by_the_first_bytes(image_format: ImageFormat) -> None:
    data = encode(_four_colours(), image_format.upper())
    assert sniff_format(data) == image_format
    assert read_header(data, DEFAULT_LIMITS).format == image_format


def test_old_gif_and_big_endian_tiff_are_known() -> None:
    assert sniff_format(b"GIF87a") == "gif"
    assert sniff_format(b"MM\x00*") == "tiff"


def test_same_bytes_give_the_same_pixels_and_an_array_of_ones_own() -> None:
    data = encode(_four_colours(), "JPEG")
    spec = PixelSpec(20, 30, "crop")
    first, second = read_pixels(data, spec), read_pixels(data, spec)
    assert np.array_equal(first, second)
    assert first.shape == (20, 30, 3)
    assert first.dtype == np.uint8
