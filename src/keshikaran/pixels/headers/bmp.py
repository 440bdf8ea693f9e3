"""BMP: one picture, no metadata that counts."""

from __future__ import annotations

import struct

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import Limits
from keshikaran.pixels.headers.base import ImageHeader, Inspection, check_size, corrupt, truncated

_OLD_HEADER = 12
_PLAIN = {0, 3, 6}
_RUN_LENGTHS = {1, 2}
_MOST_COLOURS = 65_536
_DEPTHS = {1, 2, 4, 8, 16, 24, 32}


def inspect(data: bytes, limits: Limits) -> Inspection:
    """Size, depth and whether the pixels can be there."""
    if len(data) < 30:
        raise truncated("header")
    kind = int.from_bytes(data[14:18], "little")
    if kind == _OLD_HEADER:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        compression = colours = 0
    elif len(data) < 54:
        raise truncated("header")
    else:
        width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
        colours = int.from_bytes(data[46:50], "little")
    height = abs(height)  # negative: stored from the top
    check_size(width, height, limits)
    if compression not in _PLAIN | _RUN_LENGTHS or depth not in _DEPTHS:
        detail = f"{depth} bits in compression {compression} are not accepted"
        raise ImageRefusedError("unsupported_pixels", detail)
    if colours > _MOST_COLOURS:
        detail = f"the header says a palette of {colours:,} colours"
        raise corrupt(detail)
    _check_length(data, width, height, depth, compression)
    return Inspection(ImageHeader("bmp", width, height), data)


def _check_length(data: bytes, width: int, height: int, depth: int, compression: int) -> None:
    """What is not packed must be there: a small file need not be given a large canvas."""
    if compression in _RUN_LENGTHS:
        return
    offset = int.from_bytes(data[10:14], "little")
    row = (width * depth + 31) // 32 * 4
    if offset + row * (height - 1) + (width * depth + 7) // 8 > len(data):
        raise truncated("picture")
