"""AVIF and HEIC: the boxes that say how large the pictures are and how many."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from keshikaran.pixels.contract import ImageFormat, Limits
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

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"iprp", b"ipco", b"meta"}
_FULL = {b"meta"}
_DEPTH = 8
_MOST_BOXES = 20_000


def inspect(data: bytes, limits: Limits) -> Inspection:
    """The largest picture in the file, and the longest track.

    How many of the pictures a viewer shows is for the decoder to say.
    """
    width = height = frames = 0
    budget = MetadataBudget(limits)
    image_format: ImageFormat = "avif" if b"avif" in data[8:64] or b"avis" in data[8:64] else "heic"
    for number, (name, start, end) in enumerate(_boxes(data, 0, len(data), _DEPTH)):
        if number == _MOST_BOXES:
            detail = f"it has more than {_MOST_BOXES:,} boxes"
            raise corrupt(detail)
        if name == b"ispe" and end - start >= 12:
            columns, rows = struct.unpack_from(">II", data, start + 4)
            check_size(columns, rows, limits)
            width, height = max(width, columns), max(height, rows)
        elif name == b"stsz" and end - start >= 12:
            frames = max(frames, int.from_bytes(data[start + 8 : start + 12], "big"))
            check_frames(frames, limits)
        elif name == b"colr":
            budget.spend(end - start)
    if not width:
        raise corrupt("it says no size")
    check_work(width * height * max(frames, 1), limits)
    return Inspection(ImageHeader(image_format, width, height, max(frames, 1)), data)


def _boxes(data: bytes, position: int, end: int, depth: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of what each box holds, and the boxes within those that hold boxes."""
    while position + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1 and start + 8 <= end:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        stop = position + size if size else end
        if stop < start:
            raise corrupt("a box ends before it begins")
        if stop > end:
            raise truncated("last box")
        yield name, start, stop
        if name in _CONTAINERS and depth:
            yield from _boxes(data, start + 4 * (name in _FULL), stop, depth - 1)
        position = stop
