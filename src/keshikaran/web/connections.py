"""Sockets held to their limits, around whatever speaks HTTP on them.

No Python HTTP server closes a connection that never sends a request, limits connections by client,
or bounds a request's head; docs/adr/0021 has what was measured. So each connection gets a guard
between the socket and the server's protocol. It knows nothing of HTTP: the server's application
tells it when a request's head has arrived and when the answer has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any, Literal

from keshikaran.web.connection_table import ConnectionTable
from keshikaran.web.problems import RequestRefusedError

STATE_KEY = "connection"
"""Under this name a request's scope state holds the guard of its connection."""

_NO_LINGERING = struct.pack("ii", 1, 0)
_LINGER_BYTES = 8 * 1024 * 1024
_WIRE_SPARE_BYTES = 256 * 1024
_LAST_CALL_S = 1.0
_CONTINUE = b"HTTP/1.1 100 "

_NOBODY = asyncio.Protocol()

Make = Callable[[dict[str, Any]], asyncio.Protocol]
"""Makes the server's protocol for one connection; its argument goes into each request's state."""


class Guard(asyncio.BufferedProtocol):
    """One connection: timers and counts around the server's protocol.

    Phases: `head` (a request's head is awaited or arriving), `busy` (the application has it),
    `idle` (between requests), `closing` (refused: what still comes is thrown away for a moment, so
    that the client can read the answer instead of losing it to a reset).

    Args:
        make: makes the protocol that speaks HTTP.
        table: where connections are counted.
    """

    def __init__(self, make: Make, table: ConnectionTable) -> None:
        self._loop = asyncio.get_running_loop()
        self._table, self._settings = table, table.settings
        self._inner = make({STATE_KEY: self})
        self._phase: Literal["head", "busy", "idle", "closing"] = "head"
        self._body_is_whole = True
        self._received = 0
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._client: str | None = None
        self._inner_is_connected = self._answering = self._is_last_call = False
        self._wire_limit = 2 * self._settings.max_request_bytes + _WIRE_SPARE_BYTES

    # What the application tells

    def request_began(self) -> None:
        """A request's head is complete."""
        if self._phase == "closing":
            return
        self._set("busy", None)
        self._body_is_whole = self._answering = False

    def body_ended(self) -> None:
        """A request's body has been taken in completely."""
        self._body_is_whole = True

    def answer_began(self) -> None:
        """What is written from now on is the application's answer."""
        self._answering = True

    def request_ended(self) -> None:
        """Its answer has gone."""
        if self._phase == "busy":
            self._set("idle", self._settings.idle_timeout_s)

    def give_up(self) -> None:
        """The application has nobody to answer; a refusal of ours is left to be read."""
        if self._phase != "closing":
            self.cut_off()

    def cut_off(self) -> None:
        """End the connection by a reset: what the client has not taken is kept by nobody."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        self.transport.abort()

    # What the socket tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it; refuse it or begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        _send_at_once(transport)
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) else None
        refusal = self._table.enter(self._client)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._inner_is_connected = True
        self._inner.connection_made(GuardedTransport(self))
        self._set("head", self._settings.header_timeout_s)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where the next bytes go: one buffer serves all connections, as one is read at a time."""
        return self._table.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass bytes on while they are within the limits."""
        data = bytes(memoryview(self._table.buffer)[:nbytes])
        self._received += len(data)
        if self._phase == "closing":
            if self._received > _LINGER_BYTES:
                self.cut_off()
            return
        if self._phase == "idle":
            self._set("head", self._settings.header_timeout_s)
            self._received = len(data)
        elif self._phase == "busy" and self._received > self._wire_limit:
            self.cut_off()
            return
        self._inner.data_received(data)
        if self._phase == "head" and self._received > self._settings.max_header_bytes:
            # Bytes that complete a head start the application in the loop's next round.
            self._loop.call_soon(self._check_head)

    def eof_received(self) -> bool | None:
        """A client that says it has no more to say is gone."""
        return None if self._phase == "closing" else self._inner.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget it."""
        self._stop_timer()
        self._table.leave(self._client)
        self._let_inner_go(error)

    def pause_writing(self) -> None:
        """Pass on that the client reads slowly."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that it reads again."""
        self._inner.resume_writing()

    # What the server's protocol wants

    def write(self, data: bytes) -> None:
        """Send. By itself the server says only `100 Continue`, or that it does not understand."""
        if self._phase == "closing":
            return
        own = self._phase != "busy" or not self._answering
        if own and not data.startswith(_CONTINUE):
            what = "These bytes are no HTTP/1.1 request."
            data = self._table.refuse("bad_request", what, "Send one.").raw()
            self._body_is_whole = False
            # Whoever sends more than was declared gets no work done for what came before.
            self._loop.call_soon(self._let_inner_go)
        # Head and body of an answer come one after the other: together they cost one call of the
        # system, and the client is woken once.
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(data)

    def _send(self) -> None:
        if self._unsent:
            self.transport.write(b"".join(self._unsent))
            self._unsent.clear()

    def close(self) -> None:
        """Close at once, or with a moment's patience where the client may still be sending."""
        if self._phase == "closing":
            return
        self._send()
        if self._table.stopping and self._phase != "busy" and not self._is_last_call:
            # A request may be on its way already: it is answered, as the last.
            self._is_last_call = True
            self._set(self._phase, _LAST_CALL_S)
        elif self._body_is_whole:
            self._set("closing", self._settings.send_timeout_s)
            self.transport.close()
        else:
            self._linger()

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._phase == "closing" or self.transport.is_closing()

    # Inside

    def _set(
        self, phase: Literal["head", "busy", "idle", "closing"], timeout_s: float | None
    ) -> None:
        self._phase, self._received = phase, 0
        self._stop_timer()
        if timeout_s is not None:
            self._timer = self._loop.call_later(timeout_s, self._time_is_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_up(self) -> None:
        if self._phase == "closing":
            self.cut_off()
        elif self._phase == "head" and self._received:
            limit = f"Its head was not complete after {self._settings.header_timeout_s:g} s."
            self._refuse(self._table.refuse("request_timeout", limit, "Send it faster."))
        else:
            self._body_is_whole = True
            self.close()

    def _check_head(self) -> None:
        if self._phase == "head":
            limit = f"It has more than {self._settings.max_header_bytes:,} bytes."
            self._refuse(self._table.refuse("headers_too_large", limit, "Send fewer headers."))

    def _refuse(self, refusal: RequestRefusedError) -> None:
        self._send()
        self.transport.write(refusal.raw())
        self._linger()

    def _let_inner_go(self, error: Exception | None = None) -> None:
        """For the server's protocol the connection has ended.

        It holds what it has read of a body. We hold it, and it us: only the collector of such
        circles would find it, long after.
        """
        if self._inner_is_connected:
            self._inner_is_connected = False
            self._inner.connection_lost(error)
            self._inner = _NOBODY

    def _linger(self) -> None:
        self._set("closing", self._settings.linger_s)
        if not self._table.stopping:  # at the end, the server waits for those it knows of
            self._loop.call_soon(self._let_inner_go)
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()


def _send_at_once(transport: asyncio.Transport) -> None:
    """Let no part of an answer wait until the client has confirmed the one before.

    asyncio does so only for sockets that were made with the protocol's number, and those of
    `socket.create_server` were not: each answer took 40 ms longer, until the delayed confirmation.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class GuardedTransport(asyncio.Transport):
    """The socket as the server's protocol sees it.

    Args:
        guard: asked before anything is written or closed.
    """

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard
        self._socket = guard.transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """See `asyncio.Transport`."""
        return self._socket.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.Transport`."""
        self._guard.write(bytes(data))

    def close(self) -> None:
        """See `Guard.close`."""
        self._guard.close()

    def is_closing(self) -> bool:
        """See `asyncio.Transport`."""
        return self._guard.is_closing

    def pause_reading(self) -> None:
        """See `asyncio.Transport`."""
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.Transport`."""
        if not self._guard.is_closing:
            self._socket.resume_reading()

    def abort(self) -> None:
        """See `Guard.cut_off`."""
        self._guard.cut_off()
