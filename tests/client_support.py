"""A server that gives the answers it was told to give, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from keshikaran.hashing import image_id_of
from loopback_support import QuietHandler, listening

MODEL_ID = "20260101T000000Z-0123abcd"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    client_port: int


Script = Callable[[BaseHTTPRequestHandler, Asked], None]


@dataclass
class Scripted:
    """What will be answered, in turn and the last for ever; and what was asked."""

    script: list[Script]
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    port: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = Asked(handler.path, headers, body, handler.client_address[1])
        with self._lock:
            self.asked.append(asked)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        try:
            answer(handler, asked)
        finally:
            with self._lock:
                self._now -= 1


def prediction(body: bytes, **changed: Any) -> dict[str, Any]:
    """An answer about these bytes."""
    usual = {
        "path": "-",
        "image_id": image_id_of(body),
        "score": 0.01,
        "verdict": "pass",
        "reason": None,
        "model_id": MODEL_ID,
        "frames_total": 1,
        "frames_scored": 1,
        "source": "model",
        "evidence": None,
    }
    return {**usual, **changed}


def reply(status: int, body: bytes, **headers: str) -> Script:
    """Answer with this; headers with underscores for dashes."""

    def answer(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def problem(status: int, code: str, **headers: str) -> Script:
    """Refuse as `keshikaran serve` does."""
    said = {"status": status, "code": code, "title": "A title.", "detail": "In detail."}
    return reply(status, json.dumps({**said, "hint": "", "request_id": "r-1"}).encode(), **headers)


def judge(**changed: Any) -> Script:
    """Answer about the image that was sent."""

    def answer(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        reply(200, json.dumps(prediction(asked.body, **changed)).encode())(handler, asked)

    return answer


def after(pause_s: float, then: Script) -> Script:
    """Wait, then answer."""

    def answer(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        time.sleep(pause_s)
        then(handler, asked)

    return answer


def hang_up(handler: BaseHTTPRequestHandler, _: Asked) -> None:
    """End the connection without a word."""
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler, _: Asked) -> None:
    """Send an answer byte by byte, which never ends."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


@contextmanager
def scripted(*script: Script, wrap: Callable[[Any], Any] | None = None) -> Iterator[Scripted]:
    """Run a server on 127.0.0.1 until the block ends.

    Args:
        script: its answers.
        wrap: makes the listening socket a TLS one.
    """
    site = Scripted(list(script))

    class Handler(QuietHandler):
        disable_nagle_algorithm = True
        timeout = 5

        def do_POST(self) -> None:
            try:
                site.take(self, self._body())
            except OSError:
                self.close_connection = True

        def do_GET(self) -> None:
            self.do_POST()

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            pieces = []
            while length := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

    with listening(Handler, wrap) as site.port:
        yield site
