"""Many thousand requests of all sorts: does the server's memory stay where it was?"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from stress.finding import Finding, Size
from stress.http_server import Server, Wire, picture, request, started

_COUNTS = {"quick": (300, 150), "full": (20_000, 1_000)}
"""Requests, and after how many of them the level is taken."""
_CLIENTS = 6
_MOST = {"quick": 0.20, "full": 0.05}  # of few samples an allocator's page more counts much
_WINDOWS = 20
_EVERY_S = 0.05
_BOUNDARY = "b"


def run(size: Size) -> Finding:
    """Ask."""
    count, first = _COUNTS[size]
    with TemporaryDirectory(prefix="keshikaran-stress-") as name, started(Path(name)) as server:
        samples, answers = asyncio.run(_load(server, count))
        processes = len(server.family())
    level, later = _levels(samples, count, first)
    highest = max(later) / level - 1
    end = later[-1] / level - 1
    failures = []
    if highest > _MOST[size]:
        failures.append(f"memory rose by {highest:.1%}")
    failures += [
        f"{number} answers with {status}"
        for status, number in answers.items()
        if status not in _EXPECTED
    ]
    figures = {
        "requests": count,
        "answers": ", ".join(f"{status} ({n:,})" for status, n in sorted(answers.items())),
        "processes": processes,
        f"memory of all processes after {first:,} requests, MB": level,
        "at its highest afterwards, against that": f"{highest:+.1%}",
        "at the end, against that": f"{end:+.1%}",
    }
    return Finding("Does the server's memory stay level over many requests?", figures, failures)


_EXPECTED = {200, 400, 404, 415, 422}


def _requests() -> list[bytes]:
    """Good pictures of several sizes, several at once, broken ones, and wrong requests."""
    sizes = [(160, 120), (400, 533), (640, 480), (1200, 900), (1600, 1200)]
    pictures = [picture(seed, *pixels) for seed, pixels in enumerate(sizes * 2)]
    several = b"".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="{n}.jpg"'
        "\r\n\r\n".encode()
        + data
        + b"\r\n"
        for n, data in enumerate(pictures[:3])
    )
    form = f"multipart/form-data; boundary={_BOUNDARY}"
    return [
        *map(request, pictures),
        request(several + f"--{_BOUNDARY}--\r\n".encode(), kind=form),
        request(several, kind=form),
        request(pictures[1][:3000]),
        request(b"no picture"),
        request(pictures[0], kind="text/plain"),
        b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /nothing/%d HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]


async def _load(server: Server, count: int) -> tuple[list[tuple[int, float]], Counter[int]]:
    """Samples of (requests answered, MB), and the statuses."""
    answers: Counter[int] = Counter()
    samples: list[tuple[int, float]] = []
    numbers = iter(range(count))
    words = itertools.cycle(_requests())

    async def client(numbers: Iterator[int]) -> None:
        wire = await Wire.open(server.port)
        for number in numbers:
            if not wire.is_kept or number % 50 == 0:
                await wire.close()
                wire = await Wire.open(server.port)
            answers[await wire.ask(next(words))] += 1
        await wire.close()

    async def watch() -> None:
        while True:
            samples.append((answers.total(), await asyncio.to_thread(server.memory_mb)))
            await asyncio.sleep(_EVERY_S)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(client(numbers) for _ in range(_CLIENTS)))
    watching.cancel()
    return samples, answers


def _levels(samples: list[tuple[int, float]], count: int, first: int) -> tuple[float, list[float]]:
    """The median about the first mark, and the medians of windows after it.

    Children that decode are replaced now and then; a median does not see the moments between.
    """
    width = max(1, (count - first) // _WINDOWS)
    by_window: dict[int, list[float]] = {}
    for done, mb in samples:
        if done >= first:
            by_window.setdefault((done - first) // width, []).append(mb)
    medians = [statistics.median(values) for _, values in sorted(by_window.items())]
    return medians[0], medians[1:] or medians
