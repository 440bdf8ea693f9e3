"""WebP: canvas, frames and the chunks beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keshikaran.pixels.contract import Limits
from keshikaran.pixels.exif import orientation_of
from keshikaran.pixels.headers.base import (
    MAX_PROFILE_BYTES,
    ImageHeader,
    Inspection,
    MetadataBudget,
    check_frames,
    check_size,
    check_work,
    corrupt,
    truncated,
)

_FLAGS_AT = 20
_ALPHA, _ANIMATION = 0x10, 0x02
_METADATA = {b"ICCP", b"EXIF", b"XMP "}
_FRAME_HEADER = 16


@dataclass(slots=True)
class _Found:
    frames: int = 0
    stills: int = 0
    alpha: bool = False
    orientation: int = 1
    profile: bytes | None = None


def inspect(data: bytes, limits: Limits) -> Inspection:
    """Canvas, frames, orientation, profile."""
    if len(data) < 30:
        raise truncated("header")
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise truncated("container")
    extended = data[12:16] == b"VP8X"
    width, height = _canvas(data) if extended else _bitstream(data, 12)[:2]
    check_size(width, height, limits)
    found = _walk(data, end, limits)
    animated = extended and bool(data[_FLAGS_AT] & _ANIMATION)
    frames = found.frames if animated else found.stills
    if not frames or (found.frames and not animated):
        raise corrupt("its frames are not what its header says")
    check_work(width * height * frames, limits)
    header = ImageHeader("webp", width, height, frames if animated else 1)
    if extended and found.alpha:
        data = _with_alpha(data)
    return Inspection(header, data, found.orientation, found.profile)


def _canvas(data: bytes) -> tuple[int, int]:
    width = 1 + int.from_bytes(data[24:27], "little")
    return width, 1 + int.from_bytes(data[27:30], "little")


def _bitstream(data: bytes, position: int) -> tuple[int, int, bool]:
    """Columns, rows and whether pixels may be transparent."""
    body = data[position + 8 : position + 18]
    if data[position : position + 4] == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1)
    if data[position : position + 4] == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width = int.from_bytes(body[6:8], "little") & 0x3FFF
        return width, int.from_bytes(body[8:10], "little") & 0x3FFF, False
    raise corrupt("it has no sound picture header")


def _chunks(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of what each chunk holds."""
    while position + 8 <= end:
        name = data[position : position + 4]
        start = position + 8
        stop = start + int.from_bytes(data[position + 4 : start], "little")
        if stop > end:
            raise truncated("last chunk")
        yield name, start, stop
        position = stop + (stop - start & 1)


def _walk(data: bytes, end: int, limits: Limits) -> _Found:
    found, budget = _Found(), MetadataBudget(limits)
    for name, start, stop in _chunks(data, 12, end):
        if name == b"ANMF":
            found.frames += 1
            check_frames(found.frames, limits)
            for inner, begin, _ in _chunks(data, start + _FRAME_HEADER, stop):
                _note_picture(found, data, inner, begin)
        elif name in _METADATA:
            budget.spend(stop - start)
            if name == b"EXIF":
                found.orientation = orientation_of(data[start:stop])
            elif name == b"ICCP" and stop - start <= MAX_PROFILE_BYTES:
                found.profile = data[start:stop]
        else:
            found.stills += name in {b"VP8 ", b"VP8L"}
            _note_picture(found, data, name, start)
    return found


def _note_picture(found: _Found, data: bytes, name: bytes, start: int) -> None:
    if name == b"VP8L":
        found.alpha |= _bitstream(data, start - 8)[2]
    found.alpha |= name == b"ALPH"


def _with_alpha(data: bytes) -> bytes:
    """Say in the header that there is transparency: libwebp would not look for it otherwise."""
    flags = data[_FLAGS_AT] | _ALPHA
    return data[:_FLAGS_AT] + bytes([flags]) + data[_FLAGS_AT + 1 :]
