"""Image files written byte by byte: kinds that no library writes, and those none should read."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from keshikaran.types import UInt8Array

PNG = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112

# How a camera stores the picture for each orientation: the inverse of what makes it upright.
_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encode(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def animation(frames: list[Image.Image], image_format: str, **options: Any) -> bytes:
    """Pictures as one file of frames or pages."""
    return encode(frames[0], image_format, save_all=True, append_images=frames[1:], **options)


def soft(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of soft random colours: no turn leaves it the same, JPEG does it little harm."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def stored(image: Image.Image, orientation: int) -> Image.Image:
    """The picture as a file of that EXIF orientation holds it."""
    method = _STORED.get(orientation)
    return image if method is None else image.transpose(method)


def exif(orientation: int) -> Image.Exif:
    """EXIF that says nothing but which way is up."""
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block


# PNG


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    check = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def ihdr(width: int, height: int, depth: int, colour: int, *, adam7: bool = False) -> bytes:
    """The header chunk of a PNG."""
    body = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(adam7))
    return chunk(b"IHDR", body)


def png(
    size: tuple[int, int],
    depth: int,
    colour: int,
    scanlines: bytes,
    *,
    adam7: bool = False,
    extra: bytes = b"",
) -> bytes:
    """A PNG of ready-made scanlines; `extra` are chunks between header and pixels."""
    pixels = chunk(b"IDAT", zlib.compress(scanlines))
    return PNG + ihdr(*size, depth, colour, adam7=adam7) + extra + pixels + chunk(b"IEND", b"")


def scanlines(samples: np.ndarray) -> bytes:
    """Rows of 8- or 16-bit samples [H, W, bands], each without a filter."""
    wide = samples.astype(">u2") if samples.dtype.itemsize == 2 else samples
    return b"".join(b"\0" + row.tobytes() for row in wide)


def adam7_scanlines(pixels: UInt8Array) -> bytes:
    """The scanlines of an interlaced picture: seven passes, each row without a filter."""
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


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk right behind its header."""
    return data[:33] + chunk(kind, body) + data[33:]


# TIFF


def ifd(entries: list[tuple[int, int, int, int]], start: int, following: int = 0) -> bytes:
    """A little-endian directory of (tag, kind, count, value), to lie at `start`."""
    assert start >= 8
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def tiff(size: tuple[int, int], bits: int, white: int, data: bytes, *, samples: int = 1) -> bytes:
    """An uncompressed TIFF; `white` 0: zero is white, 1: zero is black, 2: colour."""
    values = {256: size[0], 257: size[1], 259: 1, 262: white, 277: samples, 278: size[1]}
    values |= {279: len(data)}
    place = 8 + 2 + 12 * (len(values) + 2) + 4
    depths = struct.pack(f"<{samples}H", *[bits] * samples)
    entries = [(tag, 4, 1, value) for tag, value in values.items()]
    entries.append((258, 3, samples, bits if samples == 1 else place))
    entries.append((273, 4, 1, place + (len(depths) if samples > 1 else 0)))
    body = (depths if samples > 1 else b"") + data
    return b"II*\x00\x08\x00\x00\x00" + ifd(entries, 8) + body


# GIF


def gif(
    screen: tuple[int, int],
    frames: list[bytes],
    palette: bytes = bytes(3) + b"\xff" * 3,
    *,
    trailer: bytes = b";",
) -> bytes:
    """A GIF of ready-made frames and a palette of two colours."""
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", *screen, 0x80, 0, 0)
        + palette
        + b"".join(frames)
        + trailer
    )


def gif_frame(width: int, height: int, lzw: bytes, *, left: int = 0, control: bytes = b"") -> bytes:
    """A frame with its pixels packed already."""
    place = struct.pack("<HHHHB", left, 0, width, height, 0)
    return control + b"," + place + lzw


DOT = b"\x02\x02\x44\x01\x00"
"""One pixel of colour 0, packed as GIF packs it."""


# BMP


def bmp_with_alpha(image: Image.Image) -> bytes:
    """A BMP of 32 bits with a mask for each band; Pillow writes none for transparency."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    pixels = image.convert("RGBA").transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    body = pixels.tobytes("raw", "BGRA")
    start = struct.pack("<IiiHHIIiiII", 108, *image.size, 1, 32, 3, len(body), 0, 0, 0, 0)
    header = (start + masks).ljust(108, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + 108 + len(body), 0, 0, 14 + 108) + header + body


# WebP


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file of ready-made chunks."""
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def vp8x(width: int, height: int, flags: int) -> tuple[bytes, bytes]:
    """The header chunk of an extended WebP."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes([flags, 0, 0, 0]) + size


# JPEG


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one more segment at its start."""
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]
