"""A load generator of its own: raw HTTP/1.1 over keep-alive connections, in a process of its own.

Reads one JSON object on standard input, prints one on standard output. Needs nothing but the
standard library.

`closed`: each of `connections` sends its next request when its last was answered. `open`: requests
start at a `rate`, whatever became of those before; connections are opened as needed. Their
`arrivals` are `constant` (one every 1/rate seconds, as wrk2 and vegeta do by default) or `poisson`
(independent of each other, with exponential pauses: harsher, as requests come in crowds).
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Sample = tuple[float, int, float]
"""When it started (seconds from the first), its status (0: no answer), how long it took."""


class Client:
    """Sends requests over connections that it keeps.

    Args:
        host: where the server is.
        port: where the server is.
        bodies: what is sent, in turns.
    """

    def __init__(self, host: str, port: int, bodies: list[bytes]) -> None:
        self._host, self._port = host, port
        head = (
            "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
            "Content-Length: {}\r\n\r\n"
        )
        self._requests = [head.format(len(body)).encode() + body for body in bodies]
        self._free: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self.samples: list[Sample] = []
        self._first = time.perf_counter()

    async def send(self, number: int, *, started: float | None = None) -> int:
        """One request; its answer's status, 0 if none came."""
        began = time.perf_counter() if started is None else started
        try:
            status = await self._exchange(self._requests[number % len(self._requests)])
        except (OSError, asyncio.IncompleteReadError, ValueError):
            status = 0
        self.samples.append((began - self._first, status, time.perf_counter() - began))
        return status

    def forget_connections(self) -> None:
        """Open new ones: those kept belong to another event loop."""
        self._free.clear()

    async def _exchange(self, request: bytes) -> int:
        kept = bool(self._free)
        reader, writer = (
            self._free.popleft() if kept else await asyncio.open_connection(self._host, self._port)
        )
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            if kept:  # the server may end an idle connection at any time
                return await self._exchange(request)
            raise
        lower = head.lower()
        length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        if b"connection: close" in lower:
            writer.close()
        else:
            self._free.append((reader, writer))
        return int(head[9:12])


async def closed(client: Client, connections: int, count: int) -> None:
    """As fast as answers come."""
    numbers = iter(range(count))

    async def one() -> None:
        for number in numbers:
            await client.send(number)

    await asyncio.gather(*(one() for _ in range(connections)))


def starts(rate: float, count: int, arrivals: str) -> Iterator[float]:
    """When each of `count` requests starts, in seconds."""
    chance, now = random.Random(0), 0.0
    for _ in range(count):
        yield now
        now += chance.expovariate(rate) if arrivals == "poisson" else 1 / rate


async def opened(client: Client, rate: float, seconds: float, arrivals: str) -> None:
    """At a rate; a late start counts as waiting."""
    first = time.perf_counter()
    tasks: list[asyncio.Task[int]] = []
    for number, start in enumerate(starts(rate, int(rate * seconds), arrivals)):
        due = first + start
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        tasks.append(asyncio.create_task(client.send(number, started=due)))
    await asyncio.gather(*tasks)


async def main() -> None:
    """Do what standard input asks for."""
    order: dict[str, Any] = json.loads(sys.stdin.read())
    bodies = [Path(name).read_bytes() for name in order["files"]]
    client = Client(order["host"], order["port"], bodies)
    started, processor = time.perf_counter(), time.process_time()
    if order["kind"] == "closed":
        await closed(client, order["connections"], order["count"])
    else:
        arrivals = order.get("arrivals", "constant")
        await opened(client, order["rate"], order["seconds"], arrivals)
    wall = time.perf_counter() - started
    done = {"wall_s": wall, "cpu_s": time.process_time() - processor}
    statuses = Counter(status for _, status, _ in client.samples)
    print(json.dumps({**done, "statuses": statuses, "samples": client.samples}))


if __name__ == "__main__":
    asyncio.run(main())
