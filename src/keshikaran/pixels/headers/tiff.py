"""TIFF: the chain of pages, each held against the limits before libtiff sees it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import Limits
from keshikaran.pixels.frames import sampled
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

_WIDTH, _HEIGHT, _COMPRESSION, _SAMPLES = 256, 257, 259, 277
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_METADATA = {270, 305, 315, 700, 33432, 33723, 34377, 34675}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_NUMBERS = {3: "H", 4: "I"}
_BYTES = {1, 2, 6, 7}
_MOST_ENTRIES = 1_000
_MOST_NUMBERS = 100_000
_MOST_SAMPLES = 6
# None, CCITT, LZW, JPEG, Deflate, PackBits. libtiff knows more, each with a decoder of its own
# that next to nobody uploads.
_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32946, 32773}


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    kind: int
    count: int
    place: int

    @property
    def size(self) -> int:
        return self.count * _SIZES.get(self.kind, 1)


def inspect(data: bytes, limits: Limits) -> Inspection:
    """Pages and their sizes; refuses directories that ask for more than there is."""
    order = "<" if data[:2] == b"II" else ">"
    budget = MetadataBudget(limits)
    sizes: list[tuple[int, int]] = []
    try:
        for start in _pages(data, order):
            check_frames(len(sizes) + 1, limits)
            sizes.append(_page(data, start, order, budget, limits))
    except struct.error as error:
        raise truncated("last directory") from error
    if not sizes:
        raise corrupt("there is no page in it")
    looked_at = sampled(len(sizes), limits.max_frames_scored)
    check_work(sum(sizes[page][0] * sizes[page][1] for page in looked_at), limits)
    return Inspection(ImageHeader("tiff", *sizes[0], len(sizes)), data)


def _pages(data: bytes, order: str) -> Iterator[int]:
    """Where each directory starts, along the chain."""
    seen: set[int] = set()
    (start,) = struct.unpack_from(order + "I", data, 4)
    while start:
        if start in seen:
            raise corrupt("its chain of pages is a loop")
        seen.add(start)
        yield start
        (count,) = struct.unpack_from(order + "H", data, start)
        (start,) = struct.unpack_from(order + "I", data, start + 2 + 12 * count)


def _page(
    data: bytes, start: int, order: str, budget: MetadataBudget, limits: Limits
) -> tuple[int, int]:
    """Columns and rows of one page, whose directory is held against the limits."""
    numbers: dict[int, int] = {}
    apart = 0
    for entry in _entries(data, start, order):
        apart += entry.size if entry.size > 4 else 0
        if entry.kind not in _BYTES and entry.count > _MOST_NUMBERS:
            detail = f"tag {entry.tag} has {entry.count:,} numbers"
            raise corrupt(detail)
        if entry.tag in _METADATA:
            budget.spend(entry.size)
        if entry.count == 1 and entry.kind in _NUMBERS:
            (numbers[entry.tag],) = struct.unpack_from(
                order + _NUMBERS[entry.kind], data, entry.place
            )
    if apart > len(data):
        raise corrupt("its tags ask for more bytes than the file has")
    _check_page(numbers, limits)
    return numbers[_WIDTH], numbers[_HEIGHT]


def _entries(data: bytes, start: int, order: str) -> Iterator[_Entry]:
    (count,) = struct.unpack_from(order + "H", data, start)
    if count > _MOST_ENTRIES:
        detail = f"a page has {count:,} tags"
        raise corrupt(detail)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", data, place)
        yield _Entry(tag, kind, values, place + 8)


def _check_page(numbers: dict[int, int], limits: Limits) -> None:
    check_size(numbers.get(_WIDTH, 0), numbers.get(_HEIGHT, 0), limits)
    if _TILE_WIDTH in numbers or _TILE_HEIGHT in numbers:
        check_size(numbers.get(_TILE_WIDTH, 0), numbers.get(_TILE_HEIGHT, 0), limits)
    samples, compression = numbers.get(_SAMPLES, 1), numbers.get(_COMPRESSION, 1)
    if samples > _MOST_SAMPLES:
        detail = f"{samples:,} samples a pixel"
        raise ImageRefusedError("unsupported_pixels", detail)
    if compression not in _COMPRESSIONS:
        detail = f"TIFF compression {compression} is not accepted"
        raise ImageRefusedError("unsupported_pixels", detail)
