"""JPEG XL: the size is written bit by bit at the start of the codestream."""

from __future__ import annotations

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import Limits
from keshikaran.pixels.headers.base import (
    ImageHeader,
    Inspection,
    MetadataBudget,
    check_size,
    corrupt,
    truncated,
)

_CODESTREAM = b"\xff\x0a"
_METADATA = {b"Exif", b"xml ", b"brob", b"jumb"}
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIZE_BITS = (9, 13, 18, 30)


class _Bits:
    """Reads bits from the lowest of each byte on."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise truncated("header")
        value = self._value & (1 << count) - 1
        self._value >>= count
        self._left -= count
        return value


def inspect(data: bytes, limits: Limits) -> Inspection:
    """Size; refuses animations and previews, which the decoder cannot give picture by picture."""
    stream = _codestream(data, limits)
    bits = _Bits(stream[2:66])
    width, height = _size(bits)
    check_size(width, height, limits)
    _check_still(bits)
    return Inspection(ImageHeader("jxl", width, height), data)


def _codestream(data: bytes, limits: Limits) -> bytes:
    """The start of the codestream, bare or in the first box that has some of it."""
    if data.startswith(_CODESTREAM):
        return data[:66]
    budget = MetadataBudget(limits)
    position, found = 0, b""
    while position + 8 <= len(data):
        size, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 :][:4]
        start = position + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        end = position + size if size else len(data)
        if end < start:
            raise corrupt("a box ends before it begins")
        if name in _METADATA:
            budget.spend(min(end, len(data)) - start)
        if name in {b"jxlc", b"jxlp"} and not found:
            begin = start + 4 * (name == b"jxlp")
            found = data[begin : begin + 66]
        position = end
    if not found.startswith(_CODESTREAM):
        raise corrupt("it has no picture")
    return found


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)
    height = 8 * (1 + bits.take(5)) if small else 1 + bits.take(_SIZE_BITS[bits.take(2)])
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio]
        return height * across // down, height
    return 8 * (1 + bits.take(5)) if small else 1 + bits.take(_SIZE_BITS[bits.take(2)]), height


def _check_still(bits: _Bits) -> None:
    if bits.take(1) or not bits.take(1):  # all as by default; or no extra fields
        return
    bits.take(3)  # orientation
    if bits.take(1):
        _size(bits)  # the size it should be shown at
    if bits.take(1) or bits.take(1):
        detail = "JPEG XL with a preview or an animation"
        raise ImageRefusedError("unsupported_pixels", detail)
