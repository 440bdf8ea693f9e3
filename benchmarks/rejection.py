"""What does it cost to say no?

A server whose queue is full, in a process of its own; each request is refused at its head. Printed
is the server's processor time a refusal (over kept connections, unless the answer closes them),
beside the time that a whole image costs it, which is what a refusal must not take away.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
from pathlib import Path

from common import machine, median_of, parser, photographs, show, temporary_folder
from http_load import Client, closed
from serve import trained
from tree import cpu_s

_DRIVER = """
import json, sys
from keshikaran.predictor import Predictor
from keshikaran.web.log import write_to
from keshikaran.web.server import serve
from keshikaran.web.service import Service
from keshikaran.web.settings import ServerSettings

class Full(Service):
    def __init__(self, load, settings, metrics):
        super().__init__(load, settings, metrics)
        self._waiting = settings.max_waiting if sys.argv[2] == "full" else 0

import keshikaran.web.server as server
server.Service = Full
write_to()
serve(
    ServerSettings(port=0),
    lambda _: Predictor.load(sys.argv[1]),
    lambda url, _: print(url, flush=True),
)
"""
_BAR_MS = 50.0


def cost(model: Path, files: list[Path], state: str, count: int) -> dict[str, float]:
    """Processor milliseconds of the server for each answer, and how long the slowest took."""
    with subprocess.Popen(
        [sys.executable, "-c", _DRIVER, str(model), state],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            host, _, port = (
                process.stdout.readline().strip().removeprefix("http://").rpartition(":")
            )
            client = Client(host, int(port), [file.read_bytes() for file in files])
            asyncio.run(_ask(client, 50))
            before, client.samples = cpu_s(process.pid), []
            asyncio.run(_ask(client, count))
            used = cpu_s(process.pid) - before
        finally:
            process.terminate()
    wanted = 200 if state == "free" else 503
    assert all(status == wanted for _, status, _ in client.samples), "an unexpected answer"
    seconds = sorted(taken for _, _, taken in client.samples)
    return {
        "processor ms": 1e3 * used / count,
        "p50 ms": 1e3 * statistics.median(seconds),
        "slowest ms": 1e3 * seconds[-1],
    }


async def _ask(client: Client, count: int) -> None:
    client.forget_connections()
    await closed(client, 4, count)


def main() -> None:
    """Measure and print."""
    chosen = parser(__doc__)
    chosen.add_argument("--model", type=Path, help="a model file; default: one is trained first")
    chosen.add_argument("--rounds", type=int, default=3)
    chosen.add_argument("--count", type=int, default=2000, help="refusals a round")
    given = chosen.parse_args()
    files = photographs(given.data, 200)
    with temporary_folder() as folder:
        model = given.model or trained(given.data, folder)
        refused = [cost(model, files, "full", given.count) for _ in range(given.rounds)]
        answered = [cost(model, files, "free", 200) for _ in range(given.rounds)]
    no, yes = median_of(refused), median_of(answered)
    show(
        "A refusal against an answer (medians of rounds)",
        {
            **machine(),
            "a refusal: processor ms": no["processor ms"],
            "an answer: processor ms": yes["processor ms"],
            "refusals for an answer's processor time": yes["processor ms"] / no["processor ms"],
            "a refusal: p50 ms": no["p50 ms"],
            f"a refusal: slowest ms (bar {_BAR_MS:g})": no["slowest ms"],
        },
    )


if __name__ == "__main__":
    main()
