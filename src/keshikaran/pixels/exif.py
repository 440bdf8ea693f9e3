"""The one thing in EXIF that decides pixels: which way is up."""

from __future__ import annotations

import struct

_ORIENTATION = 0x0112
_MARKER = b"Exif\x00\x00"
_BYTE_ORDERS = {b"II*\x00": "<", b"MM\x00*": ">"}
_SHORT, _LONG = 3, 4


def orientation_of(block: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 when absent or unreadable.

    Only the first directory is read, up to the tag or the damage: what comes behind may be
    broken.

    Args:
        block: with or without the marker that some containers put before it.
    """
    tiff = block[len(_MARKER) :] if block.startswith(_MARKER) else block
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, place)
            if tag == _ORIENTATION:
                return _value(tiff, place, kind, order)
    except struct.error:  # the block ends early
        pass
    return 1


def _value(tiff: bytes, place: int, kind: int, order: str) -> int:
    if kind not in {_SHORT, _LONG}:
        return 1
    (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), tiff, place + 8)
    return value if 1 <= value <= 8 else 1
