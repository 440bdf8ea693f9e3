"""A web server on this machine for tests, and names that lead to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from keshikaran.ingest.web.addresses import Address
from keshikaran.ingest.web.connection import Guard
from loopback_support import QuietHandler, listening

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Site:
    """Routes, and what was asked.

    Attributes:
        routes: path → what answers; the path `/robots.txt` is 404 unless it is here.
        asked: time and path of each request.
        hosts: `Host` header of each request.
        most_at_once: requests that were answered at the same time.
    """

    routes: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[float, str]] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    port: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str, host: str = "pictures.test") -> str:
        """An address of this site under a name that `guard_for` resolves."""
        return f"http://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        """What was asked, robots.txt apart, in alphabetical order."""
        return sorted(path for _, path in self.asked if path != "/robots.txt")

    @contextmanager
    def answering(self, handler: BaseHTTPRequestHandler) -> Iterator[Answer]:
        """Count a request while it is answered."""
        with self._lock:
            self.asked.append((time.monotonic(), handler.path))
            self.hosts.append(handler.headers.get("Host", ""))
            self.headers.append(dict(handler.headers))
            self._now += handler.path != "/robots.txt"
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield self.routes.get(handler.path, status(404))
        finally:
            with self._lock:
                self._now -= handler.path != "/robots.txt"


def content(data: bytes, **headers: str) -> Answer:
    """Answer 200 with `data`; headers with underscores for dashes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def status(code: int, **headers: str) -> Answer:
    """Answer with a status and nothing else."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def in_turn(*answers: Answer) -> Answer:
    """Give each answer once, the last one for ever."""
    left = list(answers)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return answer


def dripping(data: bytes, pause_s: float) -> Answer:
    """Answer 200 and send a byte now and then."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for position in range(len(data)):
            handler.wfile.write(data[position : position + 1])
            handler.wfile.flush()
            time.sleep(pause_s)

    return answer


@contextmanager
def serving(wrap: Callable[[Any], Any] | None = None) -> Iterator[Site]:
    """Run a site on 127.0.0.1 until the block ends.

    Args:
        wrap: makes the listening socket a TLS one.
    """
    site = Site()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            try:
                with site.answering(self) as answer:
                    answer(self)
            except OSError:
                self.close_connection = True

    with listening(Handler, wrap) as site.port:
        yield site


def guard_for(
    resolver: Callable[[str, int], Sequence[str]] = lambda *_: ["127.0.0.1"],
    allowed: Callable[[Address], bool] = lambda address: str(address) == "127.0.0.1",
) -> Guard:
    """A guard for which this machine's own address is public, and nothing else is."""
    return Guard(resolver=resolver, is_allowed=allowed)
