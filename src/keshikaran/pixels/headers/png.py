"""PNG and APNG: only the chunks that decide pixels are handed on."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import Limits
from keshikaran.pixels.exif import orientation_of
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

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_CHUNKS = 32_768
_GREY, _COLOUR, _PALETTE = 0, 2, 3
_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP"}


@dataclass(slots=True)
class _Chunks:
    """What was found on the walk through the chunks."""

    budget: MetadataBudget
    kept: list[bytes] = field(default_factory=lambda: [_SIGNATURE])
    first: dict[bytes, bytes] = field(default_factory=dict)
    promised: int | None = None
    controls: int = 0
    controls_before: int = 0
    profile: bytes | None = None
    complete: bool = False


def inspect(data: bytes, limits: Limits) -> Inspection:
    """Size, frames, orientation, profile, gamma, transparent colour."""
    width, height, depth, colour = _ihdr(data)
    check_size(width, height, limits)
    chunks = _Chunks(MetadataBudget(limits))
    key_is_ours = colour in {_GREY, _COLOUR}
    _walk(data, chunks, (width, height), limits, keep_key=not key_is_ours)
    if b"IDAT" not in chunks.first:
        raise corrupt("it has no pixels") if chunks.complete else truncated("header")
    frames = _frames(chunks)
    check_work(width * height * frames, limits)
    key = _key(chunks, colour) if key_is_ours else None
    if key is not None and frames > 1:
        # Pictures that follow are laid over the first: that needs the key while decoding.
        if (colour, depth) != (_COLOUR, 8):
            detail = "an animation with a transparent grey, or a transparent 16-bit colour"
            raise ImageRefusedError("unsupported_pixels", detail)
        chunks.kept.insert(2, _chunk(data, b"tRNS"))
        key = None
    stored = b"".join(chunks.kept)
    orientation = orientation_of(chunks.first.get(b"eXIf", b""))
    gamma = _gamma(chunks)
    header = ImageHeader("png", width, height, frames)
    return Inspection(header, stored, orientation, chunks.profile, gamma, key, depth)


def _ihdr(data: bytes) -> tuple[int, int, int, int]:
    """Columns, rows, bits, kind of colour."""
    if len(data) < 33:
        raise truncated("header")
    length, name, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, 8)
    if name != b"IHDR" or length != 13 or depth not in _DEPTHS.get(colour, ()):
        raise corrupt("its first chunk is not a sound header")
    return width, height, depth, colour


def _walk(
    data: bytes, chunks: _Chunks, size: tuple[int, int], limits: Limits, *, keep_key: bool
) -> None:
    position, number = len(_SIGNATURE), 0
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        number += 1
        if number > _MOST_CHUNKS:
            detail = f"it has more than {_MOST_CHUNKS:,} chunks"
            raise corrupt(detail)
        if name in _PIXELS or (keep_key and name == b"tRNS"):
            chunks.kept.append(data[position:end])
        if end > len(data):
            if name == b"IDAT":  # how much of the picture is there, the decoder finds out
                chunks.first.setdefault(name, b"")
            return
        _note(chunks, name, data[position + 8 : end - 4] if name != b"IDAT" else b"", size)
        check_frames(chunks.controls, limits)
        position = end
        if name == b"IEND":
            chunks.complete = True
            return


def _note(chunks: _Chunks, name: bytes, body: bytes, size: tuple[int, int]) -> None:
    if name in _TEXTS:
        chunks.budget.spend(len(body))
        _inflate(chunks, name, body)
    elif name == b"fcTL":
        _check_control(body, size)
        chunks.controls += 1
        chunks.controls_before += b"IDAT" not in chunks.first
    elif name == b"acTL":
        if b"IDAT" in chunks.first or chunks.promised is not None or len(body) != 8:
            raise corrupt("its animation header is out of place")
        chunks.promised = int.from_bytes(body[:4], "big")
    chunks.first.setdefault(name, body)


def _inflate(chunks: _Chunks, name: bytes, body: bytes) -> None:
    """Hold packed texts against the budget, and keep the profile."""
    _, _, rest = body.partition(b"\0")
    if name == b"iCCP" and chunks.profile is None:
        chunks.profile = chunks.budget.inflate(rest[1:], keep=True)
    elif name == b"zTXt":
        chunks.budget.inflate(rest[1:], keep=False)
    elif name == b"iTXt" and rest[:1] == b"\1":
        chunks.budget.inflate(rest[2:].split(b"\0", 2)[-1], keep=False)


def _check_control(body: bytes, size: tuple[int, int]) -> None:
    if len(body) != 26:
        raise corrupt("a frame's header has the wrong length")
    width, height, left, top = struct.unpack_from(">IIII", body, 4)
    if not (width and height) or left + width > size[0] or top + height > size[1]:
        raise corrupt("a frame lies outside the canvas")


def _frames(chunks: _Chunks) -> int:
    """What viewers show: a picture that is not part of the animation counts as well."""
    if chunks.promised is None:
        if chunks.controls:
            raise corrupt("it has frames and no animation header")
        return 1
    if chunks.promised != chunks.controls:
        if not chunks.complete:
            raise truncated("animation")
        detail = f"{chunks.promised:,} frames promised, {chunks.controls:,} there"
        raise corrupt(detail)
    if chunks.controls_before > 1:
        raise corrupt("a frame of its animation has no pixels")
    return chunks.controls + (chunks.controls_before == 0)


def _key(chunks: _Chunks, colour: int) -> tuple[int, ...] | None:
    body = chunks.first.get(b"tRNS")
    if body is None:
        return None
    samples = 1 if colour == _GREY else 3
    if len(body) < 2 * samples:
        raise corrupt("its transparent colour is cut off")
    return struct.unpack_from(f">{samples}H", body)


def _gamma(chunks: _Chunks) -> float | None:
    """The exponent; a profile or a declaration of sRGB outweighs it."""
    body = chunks.first.get(b"gAMA", b"")
    if len(body) < 4 or chunks.profile is not None or b"sRGB" in chunks.first:
        return None
    return int.from_bytes(body[:4], "big") / 100_000 or None


def _chunk(data: bytes, name: bytes) -> bytes:
    """The first chunk of that name, whole."""
    position = len(_SIGNATURE)
    while data[position + 4 : position + 8] != name:
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return data[position : position + 12 + int.from_bytes(data[position : position + 4], "big")]
