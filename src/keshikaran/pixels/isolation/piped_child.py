"""A child that is started, not forked: settings, requests and answers go through its pipes."""

from __future__ import annotations

import gc
import os
import signal
from typing import IO

from keshikaran.pixels.isolation.child import find_function, serve, warm_up
from keshikaran.pixels.isolation.confine import address_space, limit_resources
from keshikaran.pixels.isolation.messages import REQUEST_SIZE, ChildSettings, Reply, Request


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    port = PipePort()
    settings = ChildSettings.from_json(port.read_packet())
    decode = find_function(settings.function)
    warm_up(settings.limits)
    gc.enable()
    limit_resources(settings, address_space(), None)
    port.write_packet(b"ready")
    serve(port, decode, settings.limits)


class PipePort:
    """Standard input and output, kept from whatever else writes there; see `child.Port`."""

    def __init__(self) -> None:
        self._from: IO[bytes] = os.fdopen(os.dup(0), "rb")
        self._to: IO[bytes] = os.fdopen(os.dup(1), "wb")
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)

    def read_packet(self) -> bytes:
        """Some bytes with their length before them."""
        return self._from.read(int.from_bytes(self._from.read(4), "little"))

    def write_packet(self, packet: bytes) -> None:
        """The same in the other direction."""
        self._to.write(len(packet).to_bytes(4, "little") + packet)
        self._to.flush()

    def receive(self) -> tuple[Request, bytes] | None:
        """See `Port.receive`."""
        packet = self._from.read(REQUEST_SIZE)
        if len(packet) < REQUEST_SIZE:
            return None
        request = Request.unpack(packet)
        data = self._from.read(request.length)
        return (request, data) if len(data) == request.length else None

    def send(self, reply: Reply, pixels: memoryview) -> None:
        """See `Port.send`."""
        self.write_packet(reply.pack())
        self._to.write(pixels)
        self._to.flush()
