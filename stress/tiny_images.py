"""Image files of a few dozen bytes, as many as wanted, no two alike."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIDE = 4


def tiny_png(number: int) -> bytes:
    """A grey 4 × 4 picture whose pixels spell `number`."""
    pixels = struct.pack(">16s", number.to_bytes(16, "big"))
    rows = b"".join(b"\0" + pixels[at : at + _SIDE] for at in range(0, len(pixels), _SIDE))
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def write_tiny_classes(folder: Path, count: int, start: int = 0) -> Path:
    """`count` pictures from number `start` on: odd ones in `folder/1`, even ones in `folder/0`."""
    for label in ("0", "1"):
        (folder / label).mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        (folder / str(number % 2) / f"{number:06d}.png").write_bytes(tiny_png(number))
    return folder


def _chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)
