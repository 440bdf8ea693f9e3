"""GIF: every block is visited, so that frames are counted and the canvas is known."""

from __future__ import annotations

import struct

from keshikaran.pixels.contract import Limits
from keshikaran.pixels.headers.base import (
    ImageHeader,
    Inspection,
    MetadataBudget,
    check_frames,
    check_size,
    check_work,
    corrupt,
    truncated,
)

_EXTENSION = 0x21
_FRAME = 0x2C
_TRAILER = 0x3B
_COMMENT, _PLAIN_TEXT, _APPLICATION = 0xFE, 0x01, 0xFF
_METADATA = {_COMMENT, _PLAIN_TEXT, _APPLICATION}
_HAS_PALETTE = 0x80


def inspect(data: bytes, limits: Limits) -> Inspection:
    """Canvas (grown to hold every frame) and number of frames."""
    try:
        width, height, frames = _walk(data, limits)
    except (IndexError, struct.error) as error:
        raise truncated("last block") from error
    if not frames:
        raise corrupt("there is no frame in it")
    check_work(width * height * frames, limits)
    return Inspection(ImageHeader("gif", width, height, frames), data)


def _walk(data: bytes, limits: Limits) -> tuple[int, int, int]:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    check_size(width or 1, height or 1, limits)
    position = 13 + _palette_bytes(flags)
    budget = MetadataBudget(limits)
    frames = 0
    # A file that merely lacks its trailer is shown by every viewer.
    while position < len(data) and data[position] != _TRAILER:
        introducer = data[position]
        if introducer == _FRAME:
            left, top, columns, rows, flags = struct.unpack_from("<HHHHB", data, position + 1)
            width, height = max(width, left + columns), max(height, top + rows)
            check_size(width, height, limits)
            frames += 1
            check_frames(frames, limits)
            position = _after_blocks(data, position + 11 + _palette_bytes(flags))
        elif introducer == _EXTENSION:
            end = _after_blocks(data, position + 2)
            if data[position + 1] in _METADATA:
                budget.spend(end - position)
            position = end
        elif introducer == 0:
            position += 1
        else:
            detail = f"no block starts with the byte {introducer:#04x}"
            raise corrupt(detail)
    return width, height, frames


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & _HAS_PALETTE else 0


def _after_blocks(data: bytes, position: int) -> int:
    """The position behind a chain of blocks of up to 255 bytes."""
    while size := data[position]:
        position += size + 1
    return position + 1
