"""A request's body, taken in piece by piece and never at any length, pace or cost."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from keshikaran.web.budget import SMALL_BYTES, Lease
from keshikaran.web.problems import ClientLeftError, RequestRefusedError
from keshikaran.web.settings import ServerSettings

_ROUNDS = 8  # of the event loop: read, parse, tell the application, with some to spare

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class _Pace:
    """The clock over a body: a total, and a minimum in each window."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._now = asyncio.get_running_loop().time
        self._ends = self._now() + settings.body_timeout_s
        self._start_window()

    def _start_window(self) -> None:
        self._window_ends = self._now() + self._settings.rate_window_s
        self._in_window = 0

    @property
    def next_check(self) -> float:
        """When to look again, on the loop's clock."""
        return min(self._ends, self._window_ends)

    def forgive(self, seconds: float) -> None:
        """The client was made to wait."""
        self._ends += seconds
        self._window_ends += seconds

    def count(self, received: int) -> None:
        """Bytes have come."""
        self._in_window += received
        self.check()

    def check(self) -> None:
        """Refuse what takes too long.

        Raises:
            RequestRefusedError: `request_timeout`.
        """
        settings = self._settings
        if self._now() >= self._ends:
            what = f"Its body was not complete after {settings.body_timeout_s:g} s."
            raise RequestRefusedError("request_timeout", what, "Send less.", close=True)
        if self._now() < self._window_ends:
            return
        if self._in_window < settings.min_body_rate * settings.rate_window_s:
            what = (
                f"Its body came with less than {settings.min_body_rate:,} bytes a second"
                f" over {settings.rate_window_s:g} s."
            )
            raise RequestRefusedError("request_timeout", what, "Send it faster.", close=True)
        self._start_window()


def check_declared(declared: int | None, limit: int) -> None:
    """Refuse a declared length before a byte of it is read.

    Raises:
        RequestRefusedError: `too_large`.
    """
    if declared is not None and declared > limit:
        _refuse_size(limit)


async def pieces(
    receive: Receive, settings: ServerSettings, lease: Lease, limit: int
) -> AsyncIterator[bytes]:
    """The body as it arrives.

    Args:
        receive: the request's own, of ASGI.
        settings: pace.
        lease: where memory is reserved for what is given out; while there is none, the client
            is not read from.
        limit: bytes at most.

    Raises:
        RequestRefusedError: `request_timeout`, `too_large`, `memory_full`, `length_required`.
        ClientLeftError: the client has gone.
    """
    pace = _Pace(settings)
    total = 0
    loop = asyncio.get_running_loop()
    while True:
        asked = loop.time()
        await lease.make_room()
        pace.forgive(loop.time() - asked)
        message = await _next(receive, pace)
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        piece: bytes = message.get("body", b"")
        total += len(piece)
        if total > limit:
            _refuse_size(limit)
        if piece:
            lease.take(len(piece))
            pace.count(len(piece))
            yield piece
        if not message.get("more_body", False):
            lease.complete()
            if total > SMALL_BYTES:
                await _see_what_follows(receive)
            return


async def read_whole(receive: Receive, settings: ServerSettings, lease: Lease, limit: int) -> bytes:
    """The whole body; see `pieces`."""
    with io.BytesIO() as out:  # gives its bytes out without a copy; a refusal keeps none
        async for piece in pieces(receive, settings, lease, limit):
            out.write(piece)
        return out.getvalue()


async def _see_what_follows(receive: Receive) -> None:
    """Let the HTTP server read on for a moment: what is longer than declared costs no decoding.

    Raises:
        ClientLeftError: more came than was declared, or the client has gone.
    """
    waiting = asyncio.ensure_future(receive())
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
        if waiting.done() and waiting.result()["type"] == "http.disconnect":
            raise ClientLeftError
    waiting.cancel()


async def _next(receive: Receive, pace: _Pace) -> MutableMapping[str, Any]:
    """The next message, however long the pace allows to wait for it."""
    waiting = asyncio.ensure_future(receive())
    try:
        while not waiting.done():
            left = pace.next_check - asyncio.get_running_loop().time()
            await asyncio.wait({waiting}, timeout=max(0.0, left))
            if not waiting.done():
                pace.check()
        return waiting.result()
    finally:
        waiting.cancel()


def _refuse_size(limit: int) -> None:
    what = f"It has more than {limit:,} bytes."
    raise RequestRefusedError("too_large", what, "Send a smaller file.", close=True)
