"""Huge, endless, lying and slow uploads against a started server, beside a client that behaves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stress.finding import Finding, Size
from stress.good_client import GoodClient, Samples
from stress.http_server import HOST, Server, started, warm_up

_GIGABYTE = 1_000_000_000
_PIECE = b"\xff\xd8\xff\xe0" + bytes(65_532)
_MOST_MB = 32.0
_MIB = 1024 * 1024
_BOUNDARY = "b"

# The quick size shares its machine with tests: a client that stands still must not lose its answer.
_QUICK = {
    "header_timeout_s": 1.0,
    "idle_timeout_s": 1.0,
    "rate_window_s": 1.0,
    "linger_s": 20.0,
}
_ALONE_S = {"quick": 0.5, "full": 20.0}
_MOST_SLOWER = 2.0
_DEADLINES_S = {"silent": 10.0, "head": 10.0, "idle": 30.0, "body": 30.0, "chunks": 30.0}


def run(size: Size) -> Finding:
    """Ask."""
    uploads, slow = (50, 500) if size == "full" else (16, 60)
    settings: dict[str, Any] = {} if size == "full" else _QUICK
    with TemporaryDirectory() as folder, started(Path(folder), **settings) as server:
        figures, failures = asyncio.run(_scenes(server, uploads, slow, size))
        if not server.is_alive():
            failures.append("the server has died")
    return Finding(
        "Do hostile uploads and slow clients cost the server or others?", figures, failures
    )


async def _scenes(
    server: Server, uploads: int, slow: int, size: Size
) -> tuple[dict[str, float | str], list[str]]:
    await warm_up(server)
    with GoodClient(server.port) as before:
        await asyncio.sleep(_ALONE_S[size])
    grown: dict[str, float] = {}
    outcomes: list[tuple[str, int, int]] = []
    failures: list[str] = []
    for kind in _KINDS:
        grown[kind[0]] = await _uploads(server, kind, uploads, outcomes, failures)
    with GoodClient(server.port) as beside:
        held = await asyncio.gather(
            *(_slow(server, list(_DEADLINES_S)[number % 5]) for number in range(slow))
        )
    with GoodClient(server.port) as after:
        await asyncio.sleep(_ALONE_S[size])
    longest = {kind: max(s for name, s in held if name == kind) for kind in _DEADLINES_S}
    failures += [
        f"slow {kind}: held for {longest[kind]:.0f} s"
        for kind, limit in _DEADLINES_S.items()
        if longest[kind] > limit
    ]
    alone = before.samples + after.samples
    failures += [
        f"a good client got {status}" for _, status in alone + beside.samples if status != 200
    ]
    slower = _quantile_ms(beside.samples, 0.99) / _quantile_ms(alone, 0.99)
    if size == "full" and slower > _MOST_SLOWER:  # the quick size shares its machine with tests
        failures.append(f"a good client's p99 is {slower:.1f} times what it was")
    answers = Counter(f"{kind} {status}" for kind, status, _ in outcomes)
    return {
        "uploads of 1 GB at once": float(uploads),
        "answers": ", ".join(f"{name} ({count})" for name, count in sorted(answers.items())),
        "bytes sent before the end, most, MB": max(sent for *_, sent in outcomes) / 1e6,
        **{
            f"{kind}: more memory at the highest, all processes, MB (bar {_MOST_MB:g})": most
            for kind, most in grown.items()
        },
        "slow connections at once": float(slow),
        **{f"slow {kind}: held at most, s": seconds for kind, seconds in longest.items()},
        "good client's requests, alone and beside": f"{len(alone)}, {len(beside.samples)}",
        "good client alone: p50, ms": _quantile_ms(alone, 0.5),
        "good client alone: p99, ms": _quantile_ms(alone, 0.99),
        "good client beside slow ones: p50, ms": _quantile_ms(beside.samples, 0.5),
        "good client beside slow ones: p99, ms": _quantile_ms(beside.samples, 0.99),
        "p99 beside slow ones against alone": slower,
    }, failures


async def _uploads(
    server: Server,
    kind: tuple[str, str, str],
    uploads: int,
    outcomes: list[tuple[str, int, int]],
    failures: list[str],
) -> float:
    """Many of a kind at once: MB more at the highest; notes outcomes, and what should not be."""
    server.forget_peak()
    before = server.memory_mb()
    ends = await asyncio.gather(*(_upload(server, kind) for _ in range(uploads)))
    grown = server.peak_mb() - before
    outcomes += ends
    failures += [f"{kind[0]}: {status}" for _, status, _ in ends if not 400 <= status <= 503]
    if grown > _MOST_MB:
        failures.append(f"{kind[0]}: {grown:.0f} MB more memory")
    return grown


# Uploads of a gigabyte: each a head and what goes around the pieces of the body

_KINDS = (
    ("declared", f"Content-Length: {_GIGABYTE}", "image/jpeg"),
    ("chunked", "Transfer-Encoding: chunked", "image/jpeg"),
    ("multipart", "Transfer-Encoding: chunked", f"multipart/form-data; boundary={_BOUNDARY}"),
    ("lying, too little", "Content-Length: 1000", "image/jpeg"),
    ("lying, just allowed, and stopping short", f"Content-Length: {20 * _MIB}", "image/jpeg"),
    ("lying, as much as is allowed", f"Content-Length: {20 * _MIB}", "image/jpeg"),
)
_PART = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="a.jpg"\r\n\r\n'
).encode()


async def _upload(server: Server, what: tuple[str, str, str]) -> tuple[str, int, int]:
    """Send until somebody puts an end to it; kind, status of the answer, bytes sent."""
    kind, length, content_type = what
    reader, writer = await asyncio.open_connection(HOST, server.port)
    lines = ["POST /v1/predict HTTP/1.1", "Host: localhost", length]
    writer.write("\r\n".join([*lines, f"Content-Type: {content_type}", "", ""]).encode())
    chunked = "chunked" in length
    if kind == "multipart":
        writer.write(b"%x\r\n%s\r\n" % (len(_PART), _PART))
    answer = asyncio.create_task(reader.read(4096))
    sent = 0
    end = 300_000 if kind.endswith("short") else _GIGABYTE
    with contextlib.suppress(OSError):
        while sent < end and not answer.done():
            writer.write(b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE) if chunked else _PIECE)
            await writer.drain()
            await asyncio.sleep(0)  # while there is room, drain does not look for an answer
            sent += len(_PIECE)
    try:
        data = await asyncio.wait_for(answer, 60)
    except (OSError, TimeoutError):
        data = b""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return kind, int(data[9:12] or b"0"), sent


async def _slow(server: Server, kind: str) -> tuple[str, float]:
    """A client that takes its time; how long the server put up with it."""
    reader, writer = await asyncio.open_connection(HOST, server.port)
    first = {
        "silent": b"",
        "head": b"POST /v1/predict HTTP/1.1\r\nX-Slow: ",
        "idle": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "body": b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
        "chunks": (
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        ),
    }[kind]
    drip = {"head": b"a", "body": b"a", "chunks": b"1\r\na\r\n"}.get(kind, b"")
    started = time.perf_counter()
    end = asyncio.create_task(_until_closed(reader))
    with contextlib.suppress(OSError):
        writer.write(first)
        while not end.done() and time.perf_counter() - started < 60:
            await asyncio.wait({end}, timeout=1)
            if drip:
                writer.write(drip)
                await writer.drain()
    await end
    writer.close()
    return kind, time.perf_counter() - started


async def _until_closed(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass


def _quantile_ms(samples: Samples, share: float) -> float:
    ordered = sorted(seconds for seconds, _ in samples)
    return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]
