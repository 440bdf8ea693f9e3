"""Are files that are small and ask for much refused before they get it?"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image

from stress.child import Child
from stress.files import (
    DOT,
    PNG,
    chunk,
    encode,
    gif,
    gif_frame,
    ifd,
    ihdr,
    riff,
    soft,
    vp8x,
    with_segment,
)
from stress.finding import Finding, Size

_MOST_SECONDS = 0.05
_MOST_MB = 64.0
_ZEROS = 256 * 1024 * 1024
_REFUSALS = {
    "too_many_pixels",
    "too_many_frames",
    "too_much_metadata",
    "side_too_long",
    "corrupt",
    "truncated",
    "unsupported_pixels",
}


@cache
def bombs() -> dict[str, bytes]:
    """All of them, by name."""
    return dict([*_pngs(), *_gifs(), *_webps(), *_tiffs(), *_others()])


def run(size: Size) -> Finding:
    """Give each to a child that decodes, a few times; the fastest counts."""
    # Other tests run beside the quick size: its clock must not decide.
    rounds, most_seconds = (2, 20 * _MOST_SECONDS) if size == "quick" else (10, _MOST_SECONDS)
    failures, slowest, largest = [], 0.0, 0.0
    files = bombs()
    with Child(timeout_s=20.0) as child:
        for name, data in files.items():
            answers = [child.ask(data) for _ in range(rounds)]
            seconds = min(answer.seconds for answer in answers)
            grown = max(answer.grown_mb for answer in answers)
            slowest, largest = max(slowest, seconds), max(largest, grown)
            if answers[0].outcome not in _REFUSALS:
                failures.append(f"{name}: {answers[0].outcome}")
            if seconds > most_seconds or grown > _MOST_MB:
                failures.append(f"{name}: {seconds * 1000:.0f} ms, {grown:.0f} MB")
    figures = {
        "bombs": len(files),
        "largest file, bytes": max(map(len, files.values())),
        "slowest refusal, ms": slowest * 1000,
        "most memory for one, MB": largest,
    }
    return Finding("Are decompression bombs refused from the header?", figures, failures)


@cache
def _packed_zeros() -> bytes:
    """256 MB in 256 KB."""
    packer = zlib.compressobj(9)
    block = bytes(1024 * 1024)
    return b"".join(packer.compress(block) for _ in range(_ZEROS // len(block))) + packer.flush()


def _apng(frames: int) -> bytes:
    control = struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 1, 0, 0)
    pixel = zlib.compress(b"\0\0")
    parts = [PNG, ihdr(1, 1, 8, 0), chunk(b"acTL", struct.pack(">II", frames, 0))]
    parts += [chunk(b"fcTL", control), chunk(b"IDAT", pixel)]
    parts += [chunk(b"fcTL", control) + chunk(b"fdAT", bytes(4) + pixel)] * (frames - 1)
    return b"".join([*parts, chunk(b"IEND", b"")])


def _pngs() -> Iterator[tuple[str, bytes]]:
    pixel, end = chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b"")
    small = PNG + ihdr(1, 1, 8, 2)
    packed = _packed_zeros()
    yield "PNG of 20,000 x 20,000", PNG + ihdr(20_000, 20_000, 8, 2) + pixel + end
    yield "PNG of 2^31 x 1", PNG + ihdr(2**31 - 1, 1, 8, 2) + pixel + end
    yield "PNG, zTXt", small + chunk(b"zTXt", b"a\0\0" + packed) + pixel + end
    yield "PNG, iTXt", small + chunk(b"iTXt", b"a\0\1\0\0\0" + packed) + pixel + end
    yield "PNG, iCCP", small + chunk(b"iCCP", b"a\0\0" + packed) + pixel + end
    many = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9)) * 500
    yield "PNG, 500 zTXt of 1 MB", small + many + pixel + end
    yield "PNG of a million empty chunks", small + chunk(b"IDAT", b"") * 1_000_000 + end
    yield "APNG of 50,000 frames", _apng(50_000)


def _gifs() -> Iterator[tuple[str, bytes]]:
    yield "GIF of 65,535 x 65,535", gif((65_535, 65_535), [gif_frame(1, 1, DOT)])
    yield "GIF of a million frames", gif((1, 1), [gif_frame(1, 1, DOT)] * 1_000_000)
    yield (
        "GIF of 1,000 frames of 8,000 x 8,000",
        gif((8_000, 8_000), [gif_frame(1, 1, DOT)] * 1_000),
    )
    grown = [gif_frame(1, 1, DOT), gif_frame(60_000, 60_000, DOT, left=5_000)]
    yield "GIF whose second frame outgrows its canvas", gif((1, 1), grown)


def _webps() -> Iterator[tuple[str, bytes]]:
    frame = encode(soft(1, 1), "WEBP", lossless=True)[12:]
    place = bytes(6) + bytes(6) + bytes(4)
    yield (
        "WebP of 16,383 x 16,383",
        riff((b"VP8L", b"\x2f" + _vp8l_size(16_383, 16_383) + bytes(20))),
    )
    yield "WebP with a canvas of 2^24 x 2^24", riff(vp8x(2**24, 2**24, 2), (b"ANMF", place + frame))
    many = [(b"ANMF", place + frame)] * 50_000
    yield "WebP of 50,000 frames", riff(vp8x(1, 1, 2), (b"ANIM", bytes(6)), *many)
    heavy = [(b"ANMF", place + frame)] * 1_900
    yield (
        "WebP of 1,900 frames of 7,000 x 7,000",
        riff(vp8x(7_000, 7_000, 2), (b"ANIM", bytes(6)), *heavy),
    )


def _vp8l_size(width: int, height: int) -> bytes:
    return struct.pack("<I", (width - 1) | (height - 1) << 14)


def _tiff(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    return b"II*\0\x08\0\0\0" + ifd(entries, 8, following) + bytes(64)


def _page(width: int, height: int, **more: int) -> list[tuple[int, int, int, int]]:
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 64}
    values |= {int(tag[1:]): value for tag, value in more.items()}
    return [(tag, 4, 1, value) for tag, value in values.items()]


def _tiffs() -> Iterator[tuple[str, bytes]]:
    yield "TIFF of 2^31 x 2^31", _tiff(_page(2**31, 2**31))
    yield "TIFF with tiles of 2^31", _tiff(_page(64, 64, t322=2**31 - 16, t323=2**31 - 16, t324=8))
    yield "TIFF of 65,535 samples a pixel", _tiff(_page(64, 64, t277=65_535))
    strips = [entry for entry in _page(64, 64) if entry[0] != 273] + [(273, 4, 2**30, 8)]
    yield "TIFF of a billion strips", _tiff(strips)
    yield "TIFF whose pages run in a circle", _tiff(_page(64, 64), following=8)
    shared = [entry for entry in _page(8, 8) if entry[0] < 300]
    overlap = [*shared, *((60_000 + number, 7, 3_000_000, 300) for number in range(500))]
    yield "TIFF whose 500 tags share 3 MB", _tiff(overlap) + bytes(3_000_000)
    size = 2 + 12 * len(shared) + 4
    pages = [ifd(shared, 8, 8 + size * (number + 1)) for number in range(20_000)]
    yield "TIFF of 20,000 pages", b"II*\0\x08\0\0\0" + b"".join(pages)


def _others() -> Iterator[tuple[str, bytes]]:
    bmp = bytearray(encode(soft(8, 8), "BMP"))
    for name, width, height in (
        ("BMP of 2^31 x 2^31", 2**31 - 1, 2**31 - 1),
        ("BMP of 7,900 x -7,900", 7_900, -7_900),
        ("BMP of -8 x 8", -8, 8),
    ):
        struct.pack_into("<ii", bmp, 18, width, height)
        yield name, bytes(bmp)
    jpeg = encode(soft(64, 64), "JPEG", progressive=True)
    size = jpeg.index(b"\xff\xc2") + 5
    yield (
        "JPEG of 65,500 x 65,500",
        jpeg[:size] + struct.pack(">HH", 65_500, 65_500) + jpeg[size + 4 :],
    )
    last = jpeg.rindex(b"\xff\xda")
    yield "JPEG of 1,000 scans", jpeg[:-2] + jpeg[last:-2] * 1_000 + jpeg[-2:]
    large = jpeg[:size] + struct.pack(">HH", 7_900, 7_900) + jpeg[size + 4 :]
    yield "JPEG of 7,900 x 7,900 in 90 scans", large[:-2] + jpeg[last:-2] * 80 + jpeg[-2:]
    noisy = Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8))
    many = encode(noisy, "JPEG")
    for _ in range(9):
        many = with_segment(many, 0xFE, bytes(65_000))
    yield "JPEG of 36 MB of comments", many[:2] + many[2 : 2 + 9 * 65_004] * 62 + many[2:]
