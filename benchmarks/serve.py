"""What does HTTP cost?

Throughput against `predict_many` on the same files in the same run, latency of one photograph
against `predict` in this process, then latency at 80% and rejections at 150% of the capacity
measured, open loop. Everything is done in rounds, sides in turns; medians and the ratios of rounds
are printed. Each round of the open loops has its own server and measures its own capacity first. A
round in which the machine grew slower after that (its processor time for an image says so) asks for
more than 80%, and is counted all the same.

The server, the load generator and this process share the processors, as on a small machine. What
the generator takes of them is printed beside each figure, and `goodput` counts against a capacity
that was measured with the same generator at work.
"""

from __future__ import annotations

import argparse
import heapq
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import (
    TASKS,
    clothing,
    keshikaran,
    machine,
    median_of,
    parser,
    photographs,
    show,
    temporary_folder,
)
from http_load import starts
from keshikaran import Predictor
from tree import cpu_s

_LOAD = Path(__file__).resolve().parent / "http_load.py"
_SECONDS = 10.0
_CONNECTIONS = 8
_SPARE_THREADS = 2  # of the server, beyond the streams of the engine


class Server:
    """`keshikaran serve` as a process."""

    def __init__(self, model: Path, *options: str) -> None:
        command = [sys.executable, "-m", "keshikaran", "serve", "--model", str(model)]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self.process.stdout is None:
            raise RuntimeError
        self.url: str = json.loads(self.process.stdout.readline())["url"]
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        self.host, self.port = host, int(port)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


def load(server: Server, files: list[Path], **order: object) -> dict[str, Any]:
    """Run the load generator; `ms_an_image` is processor time of the server and its decoders."""
    before = cpu_s(server.process.pid)
    words = {"host": server.host, "port": server.port, "files": [str(f) for f in files], **order}
    done = subprocess.run(
        [sys.executable, str(_LOAD)],
        input=json.dumps(words),
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    good = sum(status == 200 for _, status, _ in answer["samples"])
    answer["ms_an_image"] = 1e3 * (cpu_s(server.process.pid) - before) / max(1, good)
    return answer


def bulk_rate(model: Path, files: list[Path]) -> tuple[float, float]:
    """Images a second of `predict_many`, files read as it goes, and processor ms of each."""
    with Predictor.load(model) as predictor:
        list(predictor.predict_many(files[:100]))
        started, before = time.perf_counter(), cpu_s(os.getpid())
        count = sum(1 for _ in predictor.predict_many(files))
        rate = count / (time.perf_counter() - started)
        return rate, 1e3 * (cpu_s(os.getpid()) - before) / count


def idle_ms(model: Path, file: Path, server: Server, blocks: int = 20) -> tuple[float, float]:
    """Median of one image at a time, in this process and over one connection, in turns."""
    data = file.read_bytes()
    here: list[float] = []
    there: list[float] = []
    with Predictor.load(model) as predictor, Connection(server, data) as connection:
        sides = [(predictor.predict, here), (lambda _: connection.ask(), there)]
        for block in range(blocks + 1):
            for ask, taken in sides[:: 1 if block % 2 else -1]:
                for _ in range(10):
                    started = time.perf_counter()
                    ask(data)
                    taken.append(time.perf_counter() - started)
    return tuple(1e3 * statistics.median(taken[10:]) for taken in (here, there))  # type: ignore[return-value]


class Connection:
    """One connection that is kept, for one image at a time."""

    def __init__(self, server: Server, body: bytes) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.port)
        self._body = body

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def ask(self) -> bytes:
        """The answer."""
        kind = {"Content-Type": "image/jpeg"}
        self._connection.request("POST", "/v1/predict", self._body, kind)
        return self._connection.getresponse().read()


def quantile_ms(seconds: list[float], share: float) -> float:
    """A quantile in milliseconds; NaN of nothing."""
    ordered = sorted(seconds)
    if not ordered:
        return float("nan")
    return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def open_loop(
    server: Server, files: list[Path], rate: float, seconds: float, arrivals: str
) -> dict[str, Any]:
    """Figures of a run at a rate."""
    done = load(server, files, kind="open", rate=rate, seconds=seconds, arrivals=arrivals)
    by: dict[bool, list[float]] = {True: [], False: []}
    for _, status, taken in done["samples"]:
        by[status == 200].append(taken)
    good, rejected = by[True], by[False]
    statuses: dict[str, int] = done["statuses"]
    p50, p99 = quantile_ms(good, 0.5), quantile_ms(good, 0.99)
    return {
        "asked_per_s": rate,
        "goodput_per_s": len(good) / done["wall_s"],
        "rejected_per_s": len(rejected) / done["wall_s"],
        "neither 200 nor 429 nor 503": sum(
            count for status, count in statuses.items() if status not in ("200", "429", "503")
        ),
        "5xx": sum(count for status, count in statuses.items() if status >= "500"),
        "p50_ms": p50,
        "p99_ms": p99,
        "p99 / p50": p99 / p50,
        "rejected_p50_ms": quantile_ms(rejected, 0.5),
        "rejected_p99_ms": quantile_ms(rejected, 0.99),
        "rejected in 50 ms": share_below(rejected, 0.05),
        "generator's processors": done["cpu_s"] / done["wall_s"],
        "processor ms an image": done["ms_an_image"],
    }


def share_below(seconds: list[float], limit: float) -> float:
    """Which share took less; NaN of nothing."""
    return sum(each < limit for each in seconds) / len(seconds) if seconds else float("nan")


def main() -> None:
    """Measure and print."""
    chosen = parser(__doc__)
    chosen.add_argument("--model", type=Path, help="a model file; default: one is trained first")
    chosen.add_argument("--limit", type=int, default=1000, help="photographs")
    chosen.add_argument("--seconds", type=float, default=_SECONDS, help="of each open loop")
    chosen.add_argument(
        "--rounds", type=int, default=3, help="of throughput and of the idle server"
    )
    chosen.add_argument("--open-rounds", type=int, default=5, help="of the open loops")
    given = chosen.parse_args()
    files = photographs(given.data, given.limit)
    with temporary_folder() as folder:
        measure(given, given.model or trained(given.data, folder), files)


def trained(data: Path, folder: Path) -> Path:
    """A model of all photographs."""
    positive = [word for name in TASKS[0] for word in ("--positive", name)]
    done, *_ = keshikaran("train", str(clothing(data)), *positive, "-w", str(folder), "--json")
    return Path(done["model_path"])


def measure(given: argparse.Namespace, model: Path, files: list[Path]) -> None:
    """Everything, with one model."""
    bulk, rates, loads = [], [], []
    costs: dict[str, list[float]] = {"bulk": [], "http": []}
    with Server(model) as server:
        load(server, files, kind="closed", connections=_CONNECTIONS, count=100)
    for number in range(given.rounds):
        for side in ("bulk", "http") if number % 2 else ("http", "bulk"):
            if side == "bulk":
                rate, cost = bulk_rate(model, files)
                bulk.append(rate)
                costs["bulk"].append(cost)
                continue
            done = http_run(model, files)
            rates.append(len(files) / done["wall_s"])
            loads.append(done["cpu_s"] / done["wall_s"])
            costs["http"].append(done["ms_an_image"])
    show(
        "HTTP with keep-alive against predict_many",
        {
            **machine(),
            "photographs": len(files),
            "rounds": given.rounds,
            "predict_many_per_s": statistics.median(bulk),
            "http_per_s": statistics.median(rates),
            "generator's processors": statistics.median(loads),
            "predict_many: processor ms an image": statistics.median(costs["bulk"]),
            "http: processor ms an image": statistics.median(costs["http"]),
            "ratio of these": median_ratio(costs["http"], costs["bulk"]),
            "ratio (median of rounds)": median_ratio(rates, bulk),
        },
    )
    idle(given, model)
    overload(given, model, files)


def http_run(model: Path, files: list[Path]) -> dict[str, Any]:
    """A fresh server, warmed up, as fast as it answers."""
    with Server(model) as server:
        load(server, files, kind="closed", connections=_CONNECTIONS, count=100)
        return load(server, files, kind="closed", connections=_CONNECTIONS, count=len(files))


def idle(given: argparse.Namespace, model: Path) -> None:
    """One photograph at a time."""
    one = photographs(given.data, 1)[0]
    here, there = [], []
    for _ in range(given.rounds):
        with Server(model) as server:
            mine, its = idle_ms(model, one, server)
        here.append(mine)
        there.append(its)
    show(
        "One photograph, idle server",
        {
            "in process ms": statistics.median(here),
            "http ms": statistics.median(there),
            "ratio (median of rounds)": median_ratio(there, here),
        },
    )


def overload(given: argparse.Namespace, model: Path, files: list[Path]) -> None:
    """Open loop; each round measures its own capacity first."""
    sides = [(0.8, "constant"), (0.8, "poisson"), (1.5, "constant")]
    rounds: dict[tuple[float, str], list[dict[str, Any]]] = {side: [] for side in sides}
    seconds, alone = service_s(model, files), list[float]()
    for _ in range(given.open_rounds):
        with Server(model) as server:
            load(server, files, kind="closed", connections=_CONNECTIONS, count=100)
            done = load(server, files, kind="closed", connections=_CONNECTIONS, count=len(files))
            capacity = len(files) / done["wall_s"]
            for (share, arrivals), found in rounds.items():
                figures = open_loop(server, files, share * capacity, given.seconds, arrivals)
                found.append({**figures, "goodput / capacity": figures["goodput_per_s"] / capacity})
        alone.append(without_server(model, files, 0.8, given.seconds))
    for (share, arrivals), found in rounds.items():
        medians = median_of(found)
        if share < 1:
            medians["p99 / p50 of a perfect queue"] = perfect(seconds, share, arrivals)
            if arrivals == "constant":
                medians["p99 / p50 without a server"] = statistics.median(alone)
                medians["ratio of these"] = median_ratio([e["p99 / p50"] for e in found], alone)
            for number, each in enumerate(found, 1):
                medians[f"p99 / p50 of round {number}"] = each["p99 / p50"]
                medians[f"processor ms an image in round {number}"] = each["processor ms an image"]
        show(f"Open loop at {share:.0%}, {arrivals} arrivals (medians of rounds)", medians)
    verdicts(*(median_of(rounds[side]) for side in sides))


def without_server(model: Path, files: list[Path], share: float, seconds: float) -> float:
    """p99 / p50 of the same open loop in this process: threads and a queue, and no HTTP.

    As many threads as the server has, at a share of the capacity that they show first: what this
    machine makes of such a load, whoever serves it.
    """
    bodies = [file.read_bytes() for file in files]
    taken: list[float] = []

    def ask(number: int, due: float) -> None:
        predictor.predict(bodies[number % len(bodies)])
        taken.append(time.perf_counter() - due)

    with (
        Predictor.load(model) as predictor,
        ThreadPoolExecutor(predictor.engine.streams + _SPARE_THREADS) as threads,
    ):
        list(threads.map(predictor.predict, bodies[:100]))
        first = time.perf_counter()
        list(threads.map(predictor.predict, bodies))
        rate = share * len(bodies) / (time.perf_counter() - first)
        first = time.perf_counter()
        for number, start in enumerate(starts(rate, int(rate * seconds), "constant")):
            if (left := first + start - time.perf_counter()) > 0:
                time.sleep(left)
            threads.submit(ask, number, first + start)
    return quantile_ms(taken, 0.99) / quantile_ms(taken, 0.5)


def service_s(model: Path, files: list[Path]) -> list[float]:
    """Seconds that each file takes alone, in this process."""
    with Predictor.load(model) as predictor:
        taken = []
        for file in [*files[:20], *files]:
            data = file.read_bytes()
            started = time.perf_counter()
            predictor.predict(data)
            taken.append(time.perf_counter() - started)
    return taken[20:]


def perfect(seconds: list[float], share: float, arrivals: str, count: int = 50_000) -> float:
    """p99 / p50 where as many workers as processors serve in order, and nothing else happens.

    What arrives is drawn from the measured times: what the queue alone makes of them.
    """
    workers, chance = len(os.sched_getaffinity(0)), random.Random(1)
    rate = share * workers / statistics.fmean(seconds)
    free, taken = [0.0] * workers, []
    for start in starts(rate, count, arrivals):
        begins = max(start, heapq.heappop(free))
        ends = begins + chance.choice(seconds)
        heapq.heappush(free, ends)
        taken.append(ends - start)
    return quantile_ms(taken, 0.99) / quantile_ms(taken, 0.5)


def verdicts(
    constant: dict[str, float], poisson: dict[str, float], overload: dict[str, float]
) -> None:
    """One line for each thing that is asked. "Open loop" means constant arrivals; see http_load."""
    ratio, harsher = constant["p99 / p50"], poisson["p99 / p50"]
    worst = max(constant["5xx"], poisson["5xx"])
    lines = [
        ("80%: 5xx answers", worst, worst == 0, "none"),
        ("80%, constant arrivals: p99 / p50", ratio, ratio <= 3, "at most 3"),
        ("80%, Poisson arrivals: p99 / p50", harsher, harsher <= 3, "no bar, harsher"),
        (
            "150%: share rejected in 50 ms",
            overload["rejected in 50 ms"],
            overload["rejected in 50 ms"] == 1,
            "all",
        ),
        (
            "150%: goodput / capacity",
            overload["goodput / capacity"],
            overload["goodput / capacity"] >= 0.9,
            "at least 0.9",
        ),
    ]
    print()
    for what, value, holds, bar in lines:
        print(f"{'holds' if holds else 'FAILS':<6} {what}: {value:.3f} (bar: {bar})")


def median_ratio(these: list[float], those: list[float]) -> float:
    """The median of the ratios of pairs."""
    return statistics.median(one / other for one, other in zip(these, those, strict=True))


if __name__ == "__main__":
    main()
