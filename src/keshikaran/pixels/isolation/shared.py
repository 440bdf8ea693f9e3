"""One forked child as its parent sees it: a socket for words, shared memory for the rest."""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import socket
import time
from collections.abc import Callable

import numpy as np

from keshikaran.pixels.contract import DecodedImage, PixelSpec
from keshikaran.pixels.isolation.forked import LARGE_FILE, MORE, PIXEL_BYTES, mapped_bytes
from keshikaran.pixels.isolation.messages import (
    MAX_PACKET,
    ChildDiedError,
    ChildTimeoutError,
    Reply,
    Request,
    image_of,
    pixel_bytes,
    read_reply,
)
from keshikaran.types import UInt8Array


class SharedChild:
    """Asks one child. Used by one thread at a time.

    Args:
        channel: our end of its socket.
        memory: what we share with it.
        end: kills and reaps it, and says how it had ended (exit code, or minus a signal).
    """

    def __init__(
        self, channel: socket.socket, memory: mmap.mmap, pid: int, end: Callable[[int], int]
    ) -> None:
        self.pid = pid
        self._channel = channel
        self._memory = memory
        self._end = end
        self._number = 0
        channel.setblocking(False)
        self._ready = select.poll()
        self._ready.register(channel, select.POLLIN)

    def ask(self, data: bytes, spec: PixelSpec, timeout_s: float) -> tuple[Reply, DecodedImage]:
        """Have an image decoded.

        Args:
            data: the image file; not more than the child's limits allow.
            spec: the pixels wanted.
            timeout_s: seconds until it has taken too long.

        Returns:
            The reply, and the pixels, copied: the child could still change its own.
            Without any if the reply is a refusal or a failure.

        Raises:
            ChildDiedError: it ended or talks nonsense.
            ChildTimeoutError: it takes too long.
        """
        deadline = time.monotonic() + timeout_s
        self._number += 1
        self._memory[PIXEL_BYTES : PIXEL_BYTES + len(data)] = data
        self._send(Request(self._number, len(data), spec).pack())
        reply = read_reply(self._receive(deadline), self._number)
        pixels = np.empty(pixel_bytes(reply, spec), dtype=np.uint8)
        self._collect(pixels, deadline)
        if len(data) > LARGE_FILE:
            self._memory.madvise(mmap.MADV_REMOVE, PIXEL_BYTES)
        return reply, image_of(reply, spec, pixels)

    def is_alive(self) -> bool:
        """Whether it has not hung up; a child that waits has nothing to say either."""
        return not self._ready.poll(0)

    def kill(self) -> int:
        """End it at once and give back what it held; see `pool.Child.kill`."""
        self.forget()
        return self._end(self.pid)

    def forget(self) -> None:
        """Close our side; the child ends when it next looks."""
        self._channel.close()
        self._memory.close()

    def _collect(self, pixels: UInt8Array, deadline: float) -> None:
        flat = pixels.data
        for start in range(0, len(flat), PIXEL_BYTES):
            if start:
                self._send(MORE)
                read_reply(self._receive(deadline), self._number)
            size = min(PIXEL_BYTES, len(flat) - start)
            with memoryview(self._memory) as area, area[:size] as part:
                flat[start : start + size] = part

    def _send(self, packet: bytes) -> None:
        try:
            self._channel.send(packet, socket.MSG_NOSIGNAL)
        except OSError as error:
            msg = "ended while it waited"
            raise ChildDiedError(msg) from error

    def _receive(self, deadline: float) -> bytes:
        left_ms = max(0.0, deadline - time.monotonic()) * 1000
        # Asked twice: if we were stopped meanwhile, the answer has been there for long.
        if not self._ready.poll(left_ms) and not self._ready.poll(0):
            raise ChildTimeoutError
        try:
            packet = self._channel.recv(MAX_PACKET + 1)
        except OSError as error:
            msg = "ended while it decoded"
            raise ChildDiedError(msg) from error
        if not packet:
            msg = "ended while it decoded"
            raise ChildDiedError(msg)
        return packet


def shared_memory(max_bytes: int) -> int:
    """A descriptor of memory that has no name anywhere and a size that nobody can change."""
    descriptor = os.memfd_create("keshikaran", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, mapped_bytes(max_bytes))
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
