"""What parent and child say to each other. The child may lie: every reply is checked here.

Nothing a child sends is ever unpickled or used as a size: a reply is a fixed header and at most
a few kilobytes of JSON. The parent computes from its own `PixelSpec` how many bytes of pixels
there are; the child's only word on that is how many views.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any, get_args

from keshikaran.errors import ImageRefusedError, RefusalReason
from keshikaran.pixels.contract import DEFAULT_LIMITS, RESIZE_MODES, Limits, PixelSpec

MAX_VIEWS = 256
MAX_PACKET = 8 * 1024
_MAX_DETAIL = 300
_MAX_FRAMES = 2**31

_REQUEST = struct.Struct("<QQII")  # number, bytes of data, height, width; then the resize mode
_REPLY = struct.Struct("<QBBIII")  # number, kind, worn, views, frames in all, frames scored
_PIXELS, _REFUSED, _FAILED = range(3)

FORK, REAP = b"F", b"R"
ANSWER = struct.Struct("<i")  # a zygote's: process id or status; negative: an errno

REQUEST_SIZE = _REQUEST.size + 1
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
        spec = self.spec
        mode = RESIZE_MODES.index(spec.resize_mode)
        return _REQUEST.pack(self.number, self.length, spec.height, spec.width) + bytes([mode])

    @classmethod
    def unpack(cls, packet: bytes) -> Request:
        """Back from bytes."""
        number, length, height, width = _REQUEST.unpack_from(packet)
        return cls(number, length, PixelSpec(height, width, RESIZE_MODES[packet[_REQUEST.size]]))


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
    """

    number: int
    worn: bool = False
    views: int = 0
    frames_total: int = 0
    frames_scored: int = 0
    refusal: ImageRefusedError | None = None
    failure: str | None = None

    def pack(self) -> bytes:
        """As bytes: a header, then words if there are any."""
        kind, words = _PIXELS, b""
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
    if kind == _PIXELS and not words:
        return _pixels(number, bool(worn), views, total, scored)
    if kind == _REFUSED:
        text = _words(words, "reason", "detail")
        return Reply(number, bool(worn), refusal=_refusal(text["reason"], text["detail"]))
    if kind == _FAILED:
        return Reply(number, bool(worn), failure=_plain(_words(words, "detail")["detail"]))
    msg = f"sent a reply of the unknown kind {kind}"
    raise ChildDiedError(msg)


def _pixels(number: int, worn: bool, views: int, total: int, scored: int) -> Reply:
    if not (1 <= views <= MAX_VIEWS and 1 <= scored <= total < _MAX_FRAMES):
        msg = f"claimed {views:,} views of {scored:,} of {total:,} frames"
        raise ChildDiedError(msg)
    return Reply(number, worn, views, total, scored)


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
