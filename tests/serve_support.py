"""Servers for tests: the application called directly, or a process on a loopback port."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bundle_support import bundle, opened, scoring_model
from keshikaran.pixels import InProcessDecoder
from keshikaran.predictor import Predictor
from keshikaran.web.app import Api
from keshikaran.web.metrics import Metrics
from keshikaran.web.service import Load, Service
from keshikaran.web.settings import ServerSettings
from support import bluish, encode, reddish

T = TypeVar("T")

RED = encode(reddish(1))
BLUE = encode(bluish(1), "JPEG", quality=95)
MODEL_ID = "20260101T000000Z-0123abcd"
OTHER_MODEL_ID = "20260101T000001Z-0123abce"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@cache
def predictor(model_id: str = MODEL_ID) -> Predictor:
    """The fake model, decoding in this process."""
    return Predictor(bundle(model_id=model_id), opened(scoring_model()), decoder=InProcessDecoder())


def fresh_predictor(model_id: str = MODEL_ID) -> Predictor:
    """One that may be closed or changed."""
    return Predictor(bundle(model_id=model_id), opened(scoring_model()), decoder=InProcessDecoder())


def api(load: Load | None = None, **settings: Any) -> Api:
    """The routes around the fake model."""
    chosen = ServerSettings(**settings)
    figures = Metrics()
    service = Service(load or (lambda _: fresh_predictor()), chosen, figures)
    return Api(service, chosen, figures)


@dataclass
class Request:
    """One request to an application, with a client that may leave in the middle."""

    method: str = "POST"
    path: str = "/v1/predict"
    body: bytes | Iterable[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    declared: bool = True
    client: str = "127.0.0.1"
    leaves_after: asyncio.Event | None = None

    def pieces(self) -> list[bytes]:
        return [self.body] if isinstance(self.body, bytes) else list(self.body)


async def call(to: Api, request: Request) -> Answer:
    """Send a request to the application."""
    pieces = request.pieces()
    headers = {name.lower(): value for name, value in request.headers.items()}
    if request.declared and any(pieces):
        headers.setdefault("content-length", str(sum(map(len, pieces))))
    elif any(pieces):
        headers["transfer-encoding"] = "chunked"
    sent: list[Any] = []
    waiting = list(pieces)

    async def receive() -> dict[str, Any]:
        if waiting:
            piece = waiting.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(waiting)}
        if request.leaves_after is None:
            await asyncio.sleep(3600)
        else:
            await request.leaves_after.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": request.method,
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in headers.items()],
        "client": (request.client, 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    await to.app(scope, receive, send)
    if not sent:
        return Answer(0, {}, b"")
    found = {k.decode(): v.decode("latin-1") for k, v in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], found, body)


def ask(to: Api, **request: Any) -> Answer:
    """Send one request to the application and wait for the answer."""
    return asyncio.run(call(to, Request(**request)))


def get(to: Api, path: str, **request: Any) -> Answer:
    """GET."""
    return ask(to, method="GET", path=path, **request)


def in_loop(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function to its end."""

    async def run() -> T:
        return await work()

    return asyncio.run(run())


BOUNDARY = "b0undary"
MULTIPART = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(*files: tuple[str, bytes], closed: bool = True) -> bytes:
    """A multipart body."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"'
        f"\r\nContent-Type: image/png\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode() if closed else b""])


_DRIVER = """
import json, sys
from pathlib import Path
from keshikaran.predictor import Predictor
from keshikaran.web.log import write_to
from keshikaran.web.server import serve
from keshikaran.web.settings import ServerSettings
model, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
files = {name: Path(settings.pop(name)) for name in list(settings) if name.endswith("_file")}
write_to()
serve(
    ServerSettings(port=0, **files, **settings),
    lambda name: Predictor.load(model.parent / (name or model.name), isolation=sys.argv[3]),
    lambda url, model_id: print(json.dumps({"url": url}), flush=True),
)
"""


class Running:
    """A server as a process of its own, on a free port of this machine."""

    def __init__(self, model: Path, log: Path, *, isolation: str = "off", **settings: Any) -> None:
        self.log = log
        with log.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _DRIVER, str(model), json.dumps(settings), isolation],
                stdout=subprocess.PIPE,
                stderr=err,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, log.read_text()
        self.port = int(json.loads(line)["url"].rpartition(":")[2])

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def connect(self, timeout_s: float = 10) -> socket.socket:
        """A connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)

    def post(self, body: bytes, path: str = "/v1/predict", **headers: str) -> Answer:
        """One request over a connection of its own."""
        with self.connect() as connection:
            connection.sendall(head(len(body), path, **headers) + body)
            return read_answer(connection)

    def get(self, path: str, **headers: str) -> Answer:
        """One request over a connection of its own."""
        with self.connect() as connection:
            connection.sendall(head(None, path, method="GET", **headers))
            return read_answer(connection)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]

    def resident_mb(self) -> float:
        """Memory of its main process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def head(
    length: int | None, path: str = "/v1/predict", method: str = "POST", **headers: str
) -> bytes:
    """A request's head; `length` -1 declares none and sends chunks."""
    given = {"Host": "localhost", "Content-Type": "application/octet-stream"}
    if length == -1:
        given["Transfer-Encoding"] = "chunked"
    elif length is not None:
        given["Content-Length"] = str(length)
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def read_answer(connection: socket.socket) -> Answer:
    """One answer, and no byte more."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            return Answer(0, {}, data)
        data += piece
    first, *lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    body = data.partition(b"\r\n\r\n")[2]
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65_536)
    return Answer(int(first.split()[1]), headers, body)


def seconds_until_closed(
    connection: socket.socket,
    drip: bytes = b"",
    pause_s: float = 0.05,
    since: float | None = None,
) -> float:
    """How long the server keeps a connection, while a byte is sent now and then.

    Args:
        connection: to that server.
        drip: what is sent again and again.
        pause_s: between two drips.
        since: `time.monotonic()` from when to count; None for now. What is at least so long, is so
            on a machine that stands still now and then, too, if it counts from before the cause.
    """
    started = time.monotonic() if since is None else since
    connection.settimeout(pause_s)
    while time.monotonic() - started < 30:
        with suppress(TimeoutError):
            try:
                if not connection.recv(65_536):
                    break
            except ConnectionError:
                break
        with suppress(OSError):
            connection.sendall(drip)
    return time.monotonic() - started
