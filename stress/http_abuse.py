"""Huge, endless, lying and slow uploads against a started server, beside a client that behaves."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from keshikaran.backbones import open_engine
from keshikaran.bundle import pack, run_self_test
from stress.finding import Finding, Size
from stress.hostile_bundles import SIDE, manifest, network

_GIGABYTE = 1_000_000_000
_PIECE = b"\xff\xd8\xff\xe0" + bytes(65_532)
_MOST_MB = 32.0
_BOUNDARY = "b"
_GOOD_EVERY_S = 0.02

_DRIVER = """
import json, sys
from keshikaran.predictor import Predictor
from keshikaran.web.log import write_to
from keshikaran.web.server import serve
from keshikaran.web.settings import ServerSettings
write_to()
serve(
    ServerSettings(port=0, **json.loads(sys.argv[2])),
    lambda _: Predictor.load(sys.argv[1]),
    lambda url, _: print(url, flush=True),
)
"""
_QUICK = {"header_timeout_s": 1.0, "idle_timeout_s": 1.0, "rate_window_s": 1.0, "linger_s": 0.3}


class _Server:
    """A server as a process of its own."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.port = int(url.rpartition(":")[2])

    def forget_peak(self) -> None:
        """Let the highest memory count from here."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5", "ascii")

    def memory_mb(self, line: str) -> float:
        """`VmRSS` now, or `VmHWM`, its highest."""
        status = Path(f"/proc/{self._process.pid}/status").read_text("ascii")
        found = re.search(rf"^{line}:\s+(\d+)", status, re.MULTILINE)
        return int(found.group(1)) / 1e3 if found else float("nan")

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None


def run(size: Size) -> Finding:
    """Ask."""
    uploads, slow = (50, 500) if size == "full" else (16, 60)
    settings = {} if size == "full" else _QUICK
    with TemporaryDirectory() as folder, _started(Path(folder), settings) as server:
        figures, failures = asyncio.run(_scenes(server, uploads, slow, size))
        if not server.is_alive():
            failures.append("the server has died")
    return Finding(
        "Do hostile uploads and slow clients cost the server or others?", figures, failures
    )


async def _scenes(
    server: _Server, uploads: int, slow: int, size: Size
) -> tuple[dict[str, float | str], list[str]]:
    failures: list[str] = []
    async with _good_client(server) as quiet:
        await asyncio.sleep(4 if size == "full" else 1)
    server.forget_peak()
    before = server.memory_mb("VmRSS")
    outcomes = await asyncio.gather(
        *(_upload(server, _KINDS[number % len(_KINDS)]) for number in range(uploads))
    )
    grown = server.memory_mb("VmHWM") - before
    answers = Counter(f"{kind} {status}" for kind, status, _ in outcomes)
    failures += [f"{kind}: {status}" for kind, status, _ in outcomes if not 400 <= status <= 503]
    if grown > _MOST_MB:
        failures.append(f"{grown:.0f} MB more memory")
    deadlines = {"head": 10.0, "idle": 30.0, "body": 30.0}
    async with _good_client(server) as beside:
        held = await asyncio.gather(
            *(_slow(server, list(deadlines)[number % 3]) for number in range(slow))
        )
    longest = {kind: max(s for name, s in held if name == kind) for kind in deadlines}
    for kind, limit in deadlines.items():
        if longest[kind] > limit:
            failures.append(f"slow {kind}: held for {longest[kind]:.0f} s")
    failures += [f"a good client got {status}" for _, status in quiet + beside if status != 200]
    return {
        "uploads of 1 GB at once": float(uploads),
        "answers": ", ".join(f"{name} ({count})" for name, count in sorted(answers.items())),
        "bytes sent before the end, most, MB": max(sent for *_, sent in outcomes) / 1e6,
        "more memory at the highest, MB": grown,
        "slow connections at once": float(slow),
        **{f"slow {kind}: held at most, s": seconds for kind, seconds in longest.items()},
        "good client alone: p50, ms": _quantile_ms(quiet, 0.5),
        "good client alone: p99, ms": _quantile_ms(quiet, 0.99),
        "good client beside slow ones: p50, ms": _quantile_ms(beside, 0.5),
        "good client beside slow ones: p99, ms": _quantile_ms(beside, 0.99),
    }, failures


# Uploads of a gigabyte: each a head and what goes around the pieces of the body

_KINDS = {
    0: ("declared", f"Content-Length: {_GIGABYTE}", "image/jpeg"),
    1: ("chunked", "Transfer-Encoding: chunked", "image/jpeg"),
    2: ("multipart", "Transfer-Encoding: chunked", f"multipart/form-data; boundary={_BOUNDARY}"),
    3: ("lying, too little", "Content-Length: 1000", "image/jpeg"),
    4: ("lying, just allowed", f"Content-Length: {20 * 1024 * 1024}", "image/jpeg"),
}
_PART = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="a.jpg"\r\n\r\n'
).encode()


async def _upload(server: _Server, what: tuple[str, str, str]) -> tuple[str, int, int]:
    """Send until somebody puts an end to it; kind, status of the answer, bytes sent."""
    kind, length, content_type = what
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: a\r\n{length}\r\nContent-Type: {content_type}\r\n\r\n"
    )
    writer.write(head.encode())
    chunked = "chunked" in length
    if kind == "multipart":
        writer.write(b"%x\r\n%s\r\n" % (len(_PART), _PART))
    answer = asyncio.create_task(reader.read(4096))
    sent = 0
    # The one that lies within the limit stops short of its promise: it is slow, then.
    end = _GIGABYTE if kind != "lying, just allowed" else 300_000
    with contextlib.suppress(OSError):
        while sent < end and not answer.done():
            writer.write(b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE) if chunked else _PIECE)
            await writer.drain()
            sent += len(_PIECE)
    try:
        data = await asyncio.wait_for(answer, 60)
    except (OSError, TimeoutError):
        data = b""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return kind, int(data[9:12] or b"0"), sent


async def _slow(server: _Server, kind: str) -> tuple[str, float]:
    """A client that takes its time; how long the server put up with it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    first = {
        "head": b"POST /v1/predict HTTP/1.1\r\nX-Slow: ",
        "idle": b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
        "body": b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
    }[kind]
    started = time.perf_counter()
    end = asyncio.create_task(_until_closed(reader))
    with contextlib.suppress(OSError):
        writer.write(first)
        while not end.done() and time.perf_counter() - started < 60:
            await asyncio.wait({end}, timeout=1)
            if kind != "idle":
                writer.write(b"a")
                await writer.drain()
    await end
    writer.close()
    return kind, time.perf_counter() - started


async def _until_closed(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass


# A client that behaves


@asynccontextmanager
async def _good_client(server: _Server) -> AsyncIterator[list[tuple[float, int]]]:
    """Sends a picture now and then, each over a connection of its own; seconds and statuses."""
    samples: list[tuple[float, int]] = []
    leave = asyncio.Event()

    async def go() -> None:
        while not leave.is_set():
            started = time.perf_counter()
            status = await _good_request(server)
            samples.append((time.perf_counter() - started, status))
            await asyncio.sleep(_GOOD_EVERY_S)

    running = asyncio.create_task(go())
    yield samples
    leave.set()
    await running


async def _good_request(server: _Server) -> int:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(_GOOD)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + _GOOD)
        data = await reader.read()
        writer.close()
    except OSError:
        return 0
    return int(data[9:12] or b"0")


def _picture() -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


_GOOD = _picture()


def _quantile_ms(samples: list[tuple[float, int]], share: float) -> float:
    ordered = sorted(seconds for seconds, _ in samples)
    return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def _started(folder: Path, settings: dict[str, float]) -> Iterator[_Server]:
    engine = open_engine(network().SerializeToString(), streams=1)
    fitting = replace(manifest(), self_test=run_self_test(engine, SIDE, SIDE))
    model = folder / "model.onnx"
    model.write_bytes(pack(network(), fitting))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-c", _DRIVER, str(model), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        if process.stdout is None:
            raise RuntimeError
        try:
            yield _Server(process, process.stdout.readline().strip())
        finally:
            process.terminate()
            process.wait(timeout=60)
