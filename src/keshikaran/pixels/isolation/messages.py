"""What parent and child say to each other. The child may lie: every reply is checked here.

Nothing a child sends is ever unpickled or used as a size: a reply is a fixed header and at most
a few kilobytes of JSON, or the order of the views. The parent computes from its own `PixelSpec` how
many bytes of pixels there are; the child's only word on that is how many views.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from keshikaran.errors import ImageRefusedError, RefusalReason
from keshikaran.pixels.contract import (
    DEFAULT_LIMITS,
    RESIZE_MODES,
    DecodedImage,
    Limits,
    PixelSpec,
)
from keshikaran.types import UInt8Array

MAX_VIEWS = 256
MAX_PACKET = 8 * 1024
_MAX_DETAIL = 300
_MAX_FRAMES = 2**31

_REQUEST = struct.Struct("<QQB")  # number, bytes of data, how many shapes; then the shapes
_SHAPE = struct.Struct("<IIB")  # height, width, resize mode
_REPLY = struct.Struct("<QBBIII")  # number, kind, worn, views, frames in all, frames scored
_PIXELS, _REFUSED, _FAILED = range(3)

FORK, REAP = b"F", b"R"
ANSWER = struct.Struct("<i")  # a zygote's: process id or status; negative: an errno

MAX_SHAPES = 8
REQUEST_SIZE = _REQUEST.size + MAX_SHAPES * _SHAPE.size
REPLY_SIZE = _REPLY.size


class ChildDiedError(Exception):
    """The child ended, or said something that no sound child says."""


class ChildTimeoutError(Exception):
    """The child did not answer in time."""


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What a child is told once, by its parent.

    Attributes:
        function: `module:name` of what decodes; takes and gives what `decode_image` does.
        limits: what a file may ask for.
        memory_bytes: address space the child may take beyond what it starts with.
        cpu_s: processor seconds after which the system ends it.
        threads: whether its decoders need threads: then it may start processes, too.
    """

    function: str
    limits: Limits
    memory_bytes: int
    cpu_s: int
    threads: bool = False

    def to_json(self) -> bytes:
        """As text for the child's start."""
        return json.dumps(asdict(self), default=sorted).encode()  # sets become lists

    @classmethod
    def from_json(cls, text: bytes) -> ChildSettings:
        """Back from text."""
        values: dict[str, Any] = json.loads(text)
        limits: dict[str, Any] = {
            name: type(getattr(DEFAULT_LIMITS, name))(value)
            for name, value in values.pop("limits").items()
        }
        return cls(limits=Limits(**limits), **values)


@dataclass(frozen=True, slots=True)
class Request:
    """One image to decode.

    Attributes:
        number: comes back in the reply.
        length: bytes of the image file.
        spec: the pixels wanted.
    """

    number: int
    length: int
    spec: PixelSpec

    def pack(self) -> bytes:
        """As bytes, `REQUEST_SIZE` of them."""
        shapes = [
            _SHAPE.pack(shape.height, shape.width, RESIZE_MODES.index(shape.resize_mode))
            for shape in self.spec.shapes
        ]
        packet = _REQUEST.pack(self.number, self.length, len(shapes)) + b"".join(shapes)
        return packet.ljust(REQUEST_SIZE, b"\0")

    @classmethod
    def unpack(cls, packet: bytes) -> Request:
        """Back from bytes."""
        number, length, count = _REQUEST.unpack_from(packet)
        places = range(_REQUEST.size, _REQUEST.size + count * _SHAPE.size, _SHAPE.size)
        found = [_SHAPE.unpack_from(packet, place) for place in places]
        first, *beside = [
            PixelSpec(height, width, RESIZE_MODES[mode]) for height, width, mode in found
        ]
        return cls(number, length, replace(first, beside=tuple(beside)))


@dataclass(frozen=True, slots=True)
class Reply:
    """What a child says about one image.

    Attributes:
        number: of the request.
        worn: whether the child wants to be replaced.
        views: how many views its pixels have; 0 if there are none.
        frames_total: frames in the file.
        frames_scored: how many of them the views come from.
        refusal: why there are no pixels.
        failure: what went wrong inside the decoder, in words: a defect, not the image's fault.
        order: see `DecodedImage.order`.
    """

    number: int
    worn: bool = False
    views: int = 0
    frames_total: int = 0
    frames_scored: int = 0
    refusal: ImageRefusedError | None = None
    failure: str | None = None
    order: tuple[int, ...] = ()

    def pack(self) -> bytes:
        """As bytes: a header, then words or the order if there are any."""
        kind, words = _PIXELS, bytes(self.order)
        if self.refusal is not None:
            text = {"reason": self.refusal.reason, "detail": self.refusal.detail[:_MAX_DETAIL]}
            kind, words = _REFUSED, json.dumps(text).encode()
        elif self.failure is not None:
            kind, words = _FAILED, json.dumps({"detail": self.failure[:_MAX_DETAIL]}).encode()
        counts = (self.views, self.frames_total, self.frames_scored)
        return _REPLY.pack(self.number, kind, self.worn, *counts) + words


def read_reply(packet: bytes, number: int) -> Reply:
    """Parse a reply as if an enemy had written it.

    Args:
        packet: what was received.
        number: of the request it must answer.

    Raises:
        ChildDiedError: no sound child says this.
    """
    if not REPLY_SIZE <= len(packet) <= MAX_PACKET:
        msg = f"sent {len(packet):,} bytes where a reply was due"
        raise ChildDiedError(msg)
    found, kind, worn, views, total, scored = _REPLY.unpack_from(packet)
    if found != number:
        msg = "answered another question"
        raise ChildDiedError(msg)
    words = packet[REPLY_SIZE:]
    if kind == _PIXELS:
        return _pixels(number, bool(worn), views, total, scored, tuple(words))
    if kind == _REFUSED:
        text = _words(words, "reason", "detail")
        return Reply(number, bool(worn), refusal=_refusal(text["reason"], text["detail"]))
    if kind == _FAILED:
        return Reply(number, bool(worn), failure=_plain(_words(words, "detail")["detail"]))
    msg = f"sent a reply of the unknown kind {kind}"
    raise ChildDiedError(msg)


def pixel_bytes(reply: Reply, spec: PixelSpec) -> int:
    """How many bytes of pixels follow a reply; 0 where there are none."""
    return reply.views * sum(3 * shape.height * shape.width for shape in spec.shapes)


def image_of(reply: Reply, spec: PixelSpec, pixels: UInt8Array) -> DecodedImage:
    """What was decoded, from as many bytes as `pixel_bytes` says."""
    views: list[UInt8Array] = []
    start = 0
    for shape in spec.shapes:
        size = reply.views * 3 * shape.height * shape.width
        part = pixels[start : start + size]
        views.append(part.reshape(reply.views, shape.height, shape.width, 3))
        start += size
    counts = (reply.frames_total, reply.frames_scored)
    return DecodedImage(views[0], *counts, tuple(views[1:]), reply.order)


def _pixels(
    number: int, worn: bool, views: int, total: int, scored: int, order: tuple[int, ...]
) -> Reply:
    if not (1 <= views <= MAX_VIEWS and 1 <= scored <= total < _MAX_FRAMES):
        msg = f"claimed {views:,} views of {scored:,} of {total:,} frames"
        raise ChildDiedError(msg)
    if order and not _is_order(order, views):
        msg = f"claimed an order that {views:,} views cannot have"
        raise ChildDiedError(msg)
    return Reply(number, worn, views, total, scored, order=order)


def _is_order(order: tuple[int, ...], views: int) -> bool:
    """Whether every view is named, each for the first time after those before it."""
    first_named = list(dict.fromkeys(order))
    return len(order) <= MAX_VIEWS and first_named == [*range(views)]


def _words(text: bytes, *names: str) -> dict[str, str]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = "sent words that are no JSON"
        raise ChildDiedError(msg) from error
    if not isinstance(values, dict) or any(type(values.get(name)) is not str for name in names):
        msg = "sent other words than were due"
        raise ChildDiedError(msg)
    return {name: values[name] for name in names}


def _refusal(reason: str, detail: str) -> ImageRefusedError:
    for known in get_args(RefusalReason):
        if reason == known:
            return ImageRefusedError(known, _plain(detail))
    msg = "gave a reason that does not exist"
    raise ChildDiedError(msg)


def _plain(text: str) -> str:
    """One line of printable characters: the words may have been chosen by an uploader."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text[:_MAX_DETAIL])
    return kept.encode("utf-8", "replace").decode()
