"""A server that is asked to end, or killed, or loses its decoders, while clients are at it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from stress.finding import Finding, Size
from stress.http_server import Server, Wire, picture, request, started, still_there

_ENDS = {"quick": 1, "full": 50}
_KILLS = {"quick": 1, "full": 10}
_DECODER_KILLS = {"quick": 3, "full": 100}
_CLIENTS = 6
_MOST_S = 30.0
_DRAIN_S = {"quick": 0.3, "full": 1.0}
_AT_ONCE_S = 5.0


@dataclass
class _Seen:
    """What clients saw.

    Attributes:
        answers: statuses.
        lost: requests that were accepted and not answered, in words.
    """

    answers: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)


@dataclass
class _End:
    """One server's end: the statuses of `/readyz`, and seconds from the signal."""

    ready: list[int]
    seconds: float


def run(size: Size) -> Finding:
    """Ask."""
    with TemporaryDirectory(prefix="keshikaran-stress-") as name:
        folder = Path(name)
        chance = random.Random(0)
        seen, ends, failures = _Seen(), list[_End](), list[str]()
        for number in range(_ENDS[size]):
            with started(folder, f"end{number}", drain_s=_DRAIN_S[size]) as server:
                end, words = asyncio.run(_ended(server, seen, chance))
            ends.append(end)
            failures += [f"end {number}: {word}" for word in words]
        left = _killed(folder, chance, size)
        with started(folder, "decoders") as server:
            killed, undecided, others = asyncio.run(_without_decoders(server, size, chance))
    failures += [f"lost: {words}" for words in seen.lost]
    wrong = {status for status in seen.answers if status not in (200, 503)}
    failures += [f"answered with {status} while it ended" for status in wrong]
    failures += [f"process {pid} outlived its parent" for pid in left]
    failures += [f"answered with {status} while decoders were killed" for status in others]
    if undecided > killed:
        failures.append(f"{killed} killed decoders cost {undecided} requests")
    figures = {
        "SIGTERMs under load": len(ends),
        "requests answered around them": seen.answers.total(),
        "of these with 503": seen.answers[503],
        "requests lost": len(seen.lost),
        "longest end, s": max(end.seconds for end in ends),
        "SIGKILLs under load": _KILLS[size],
        "processes left behind": len(left),
        "decoders killed under load": killed,
        "requests that this cost": undecided,
    }
    question = "Does a signal lose a request, or leave a process behind?"
    return Finding(question, figures, failures)


# The end


async def _ended(server: Server, seen: _Seen, chance: random.Random) -> tuple[_End, list[str]]:
    """Load it, end it, look at what is left."""
    family = server.family()
    clients = [
        asyncio.create_task(_client(server.port, seen, keeps=number % 2 == 0))
        for number in range(_CLIENTS)
    ]
    await asyncio.sleep(chance.uniform(0.05, 0.6))
    family += [pid for pid in server.family() if pid not in family]
    server.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    ready = await _ready_until_closed(server.port)
    code = await asyncio.to_thread(server.process.wait, 60)
    seconds = time.monotonic() - began
    await asyncio.gather(*clients)
    words = [f"exit code {code}"] if code else []
    words += [f"it took {seconds:.1f} s"] if seconds > _MOST_S else []
    if 503 not in ready or set(ready[ready.index(503) :]) != {503}:
        words.append(f"/readyz said {ready} before the port closed")
    words += [f"process {pid} is left" for pid in still_there(family, _AT_ONCE_S)]
    return _End(ready, seconds), words


async def _client(port: int, seen: _Seen, *, keeps: bool) -> None:
    """Ask again and again until nobody listens; keeps its connection as long as it may."""
    words = request(picture(), close=not keeps)
    wire = None
    while True:
        if wire is None:
            try:
                wire = await Wire.open(port)
            except OSError:
                return
        try:
            seen.answers[await wire.ask(words)] += 1
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            seen.lost.append(f"{type(error).__name__} ({'kept' if keeps else 'new'} connection)")
            await wire.close()
            return
        if not (keeps and wire.is_kept):
            await wire.close()
            wire = None


async def _ready_until_closed(port: int) -> list[int]:
    """What `/readyz` says, again and again, until nobody listens.

    The system may still take a connection in at the moment when the port closes, and then drop it.
    """
    said: list[int] = []
    words = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    while True:
        try:
            wire = await Wire.open(port)
        except OSError:
            return said[:-1] if said[-1:] == [0] else said
        try:
            said.append(await wire.ask(words))
        except (OSError, asyncio.IncompleteReadError):
            said.append(0)
        await wire.close()
        await asyncio.sleep(0.02)


# Killed


def _killed(folder: Path, chance: random.Random, size: Size) -> list[int]:
    """Kill servers under load; the processes that are left."""
    left: list[int] = []
    for number in range(_KILLS[size]):
        with started(folder, f"kill{number}") as server:
            left += asyncio.run(_kill(server, chance))
    return left


async def _kill(server: Server, chance: random.Random) -> list[int]:
    clients = [
        asyncio.create_task(_client(server.port, _Seen(), keeps=True)) for _ in range(_CLIENTS)
    ]
    await asyncio.sleep(chance.uniform(0.1, 0.6))
    family = server.family()
    server.process.kill()
    await asyncio.to_thread(server.process.wait)
    await asyncio.gather(*clients)
    return await asyncio.to_thread(still_there, family, _AT_ONCE_S)


async def _without_decoders(
    server: Server, size: Size, chance: random.Random
) -> tuple[int, int, list[int]]:
    """Kill decoders under load: how many, requests undecided, other answers than 200."""
    seen, over, killed = _Seen(), asyncio.Event(), 0

    async def client(number: int) -> None:
        wire = await Wire.open(server.port)
        words = request(picture(number, 640, 480))
        while not over.is_set():
            seen.answers[await wire.ask(words)] += 1
        await wire.close()

    clients = [asyncio.create_task(client(number)) for number in range(_CLIENTS)]
    while killed < _DECODER_KILLS[size]:
        await asyncio.sleep(chance.uniform(0.05, 0.2))
        # The last ones are the children of the process that makes decoders.
        if pids := server.family()[2:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
                killed += 1
    over.set()
    await asyncio.gather(*clients)
    return killed, seen.answers[422], [s for s in seen.answers if s not in (200, 422)]
