"""A client that behaves, in a process of its own: `python -m stress.good_client PORT`.

Sends a picture now and then, each over a connection of its own, until its standard input ends;
then prints a JSON list of seconds and statuses.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from stress.http_server import Wire, picture, request

_EVERY_S = 0.02

Samples = list[tuple[float, int]]
"""Seconds and status (0: no answer) of each request."""


class GoodClient:
    """Runs it beside something else, within a `with` block; then has `samples`.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self.samples: Samples = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stress.good_client", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[1],
        )
        if self._process.stdout is None or not self._process.stdout.readline():
            raise RuntimeError

    def __enter__(self) -> GoodClient:
        return self

    def __exit__(self, *error: object) -> None:
        out, _ = self._process.communicate(timeout=60)
        self.samples = [(float(seconds), int(status)) for seconds, status in json.loads(out)]


async def _ask(port: int, over: threading.Event) -> Samples:
    words = request(picture(), close=True)
    samples: Samples = []
    while not over.is_set():
        started = time.perf_counter()
        try:
            wire = await Wire.open(port)
            status = await wire.ask(words)
            await wire.close()
        except (OSError, asyncio.IncompleteReadError):
            status = 0
        samples.append((time.perf_counter() - started, status))
        await asyncio.sleep(_EVERY_S)
    return samples


def main() -> None:
    """See the module."""
    over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    print("ready", flush=True)
    json.dump(asyncio.run(_ask(int(sys.argv[1]), over)), sys.stdout)


if __name__ == "__main__":
    main()
