"""What a freshly forked child does: arrange its descriptors, give up its rights, serve.

Pixels and image files go through memory that both sides map. Its size is sealed: a child
cannot shrink it under its parent's hands.
"""

from __future__ import annotations

import io
import mmap
import os
import socket
from typing import NoReturn

from keshikaran.pixels.isolation.child import DecodeFunction, serve
from keshikaran.pixels.isolation.confine import confine
from keshikaran.pixels.isolation.messages import (
    MAX_PACKET,
    ChildSettings,
    Reply,
    Request,
)

PIXEL_BYTES = 8 * 1024 * 1024
LARGE_FILE = 1024 * 1024
MORE = b"more"
_CHANNEL, _MAPPED = 3, 4
_DESCRIPTORS = 5


def mapped_bytes(max_bytes: int) -> int:
    """Size of the shared memory: the pixels' area, then the image file's."""
    return PIXEL_BYTES + max(1, -(-max_bytes // mmap.PAGESIZE)) * mmap.PAGESIZE


def become_child(
    settings: ChildSettings, decode: DecodeFunction, zygote: int, channel: int, memory: int
) -> NoReturn:
    """Turn this process, just forked, into one that decodes until its parent hangs up."""
    try:
        port = _arrange(channel, memory, mapped_bytes(settings.limits.max_bytes))
        confine(settings, _DESCRIPTORS, zygote)
        serve(port, decode, settings.limits)
    except BaseException:
        os._exit(70)
    os._exit(0)


def _arrange(channel: int, memory: int, size: int) -> SharedPort:
    """Nothing at 0 to 2, the channel at 3, the memory at 4, no hole between them.

    A hole could be filled again: the limit on descriptors is on their numbers.
    """
    above = 10
    os.dup2(channel, above)
    os.dup2(memory, above + 1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    os.dup2(above, _CHANNEL)
    os.closerange(_MAPPED, above + 1)
    mapped = mmap.mmap(above + 1, size)  # keeps a duplicate, at the lowest free number
    os.closerange(_DESCRIPTORS, os.sysconf("SC_OPEN_MAX"))
    return SharedPort(socket.socket(fileno=_CHANNEL), mapped)


class SharedPort:
    """A child's socket and the memory it shares with its parent; see `child.Port`."""

    def __init__(self, channel: socket.socket, memory: mmap.mmap) -> None:
        self._channel = channel
        self._memory = memory

    def receive(self) -> tuple[Request, bytes] | None:
        """See `Port.receive`."""
        packet = self._channel.recv(MAX_PACKET)
        if not packet:
            return None
        request = Request.unpack(packet)
        if request.length > LARGE_FILE:
            return request, self._moved(request.length)
        return request, self._memory[PIXEL_BYTES : PIXEL_BYTES + request.length]

    def _moved(self, length: int) -> bytes:
        """The file, of which the shared memory then holds nothing: it is not there twice."""
        with io.BytesIO() as out:
            for start in range(PIXEL_BYTES, PIXEL_BYTES + length, LARGE_FILE):
                size = min(LARGE_FILE, PIXEL_BYTES + length - start)
                out.write(self._memory[start : start + size])
                self._memory.madvise(mmap.MADV_REMOVE, start, size)
            return out.getvalue()

    def send(self, reply: Reply, pixels: memoryview) -> None:
        """See `Port.send`. More pixels than fit are sent in parts, each when asked for."""
        packet = reply.pack()
        for start in range(0, max(1, len(pixels)), PIXEL_BYTES):
            if start and self._channel.recv(MAX_PACKET) != MORE:
                return
            part = pixels[start : start + PIXEL_BYTES]
            self._memory[: len(part)] = part
            self._channel.send(packet)
