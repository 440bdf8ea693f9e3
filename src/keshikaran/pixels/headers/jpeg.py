"""JPEG: the segments before the picture, and the number of its scans."""

from __future__ import annotations

import re
from collections.abc import Iterator

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import Limits
from keshikaran.pixels.exif import orientation_of
from keshikaran.pixels.headers.base import (
    MAX_PROFILE_BYTES,
    ImageHeader,
    Inspection,
    MetadataBudget,
    check_size,
    check_work,
    corrupt,
    truncated,
)

_EXIF = b"Exif\x00\x00"
_PROFILE = b"ICC_PROFILE\x00"
_START, _END, _SCAN, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_APP1, _APP2 = 0xE1, 0xE2
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODED_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_PROGRESSIVE = {0xC2, 0xCA}
_ALONE = {0x01, *range(0xD0, 0xD8)}
_MOST_SCANS = 100
_SCANS_A_FRAME = 4
_NEXT_IN_SCANS = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def inspect(data: bytes, limits: Limits) -> Inspection:
    """Size, orientation, profile; refuses pictures of too many scans."""
    budget = MetadataBudget(limits)
    frame: tuple[int, int, int, int] | None = None
    orientation: int | None = None
    profile: dict[int, bytes] = {}
    for marker, start, end in _segments(data):
        if marker >= 0xE0:
            budget.spend(end - start)
            if marker == _APP1 and orientation is None and data.startswith(_EXIF, start):
                orientation = orientation_of(data[start:end])
            elif marker == _APP2 and data.startswith(_PROFILE, start):
                profile[data[start + 12]] = data[start + 14 : end]
        elif marker in _FRAMES:
            if frame is not None:
                raise corrupt("it has two frame headers")
            frame = _frame(data, marker, start, end)
            check_size(frame[2], frame[3], limits)
        elif marker == _SCAN:
            break
    if frame is None:
        raise corrupt("it has no frame header")
    kind, components, width, height = frame
    if kind in _PROGRESSIVE or data[start] < components:
        _check_scans(data, end, width * height, limits)
    header = ImageHeader("jpeg", width, height)
    return Inspection(header, data, orientation or 1, _joined(profile))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of what each segment before the picture holds.

    Stray bytes between segments are passed over, as libjpeg does.
    """
    position, size = 2, len(data)
    while True:
        position = data.find(b"\xff", position)
        while position >= 0 and data[position : position + 1] == b"\xff":
            position += 1
        if position < 0 or position + 3 > size:
            raise truncated("header")
        marker = data[position]
        if marker == 0 or marker in _ALONE:
            position += 1
            continue
        if marker in {_START, _END}:
            raise corrupt("a picture begins or ends within its header")
        length = data[position + 1] << 8 | data[position + 2]
        start, position = position + 3, position + 1 + length
        if length < 2:
            raise corrupt("a segment of its header has no length")
        if position > size:
            raise truncated("header")
        yield marker, start, position


def _frame(data: bytes, marker: int, start: int, end: int) -> tuple[int, int, int, int]:
    """Kind, number of components, columns, rows."""
    if end - start < 6:
        raise corrupt("its frame header is too short")
    precision, components = data[start], data[start + 5]
    if marker not in _DECODED_FRAMES or precision != 8 or components not in {1, 3, 4}:
        detail = f"JPEG of kind {marker - 0xC0}, {precision} bits, {components} components"
        raise ImageRefusedError("unsupported_pixels", detail)
    height, width = data[start + 1] << 8 | data[start + 2], data[start + 3] << 8 | data[start + 4]
    return marker, components, width, height


def _check_scans(data: bytes, position: int, pixels: int, limits: Limits) -> None:
    """Each scan visits every block of the picture: hundreds of them are an attack."""
    scans = 1
    while (found := _NEXT_IN_SCANS.search(data, position)) is not None:
        marker, position = data[found.start() + 1], found.end()
        if marker == _END:
            break
        if marker not in _ALONE:
            position += max(int.from_bytes(data[position : position + 2], "big"), 2)
        if marker == _SCAN:
            scans += 1
            if scans > _MOST_SCANS:
                detail = f"more than {_MOST_SCANS} scans"
                raise ImageRefusedError("too_many_frames", detail)
    check_work(pixels * scans // _SCANS_A_FRAME, limits)


def _joined(parts: dict[int, bytes]) -> bytes | None:
    """A profile from its numbered parts; None if there is none, or one is missing."""
    if not parts or sorted(parts) != list(range(1, len(parts) + 1)):
        return None
    profile = b"".join(parts[number] for number in sorted(parts))
    return profile if len(profile) <= MAX_PROFILE_BYTES else None
