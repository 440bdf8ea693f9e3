"""What does HTTP cost?

Throughput against `predict_many` on the same files in the same run, then latency at 80% and
rejections at 150% of what was measured, open loop.

The server, the load generator and the bulk run each are a process; all share the processors, as on
a small machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import (
    TASKS,
    clothing,
    keshikaran,
    machine,
    parser,
    photographs,
    show,
    temporary_folder,
)
from keshikaran import Predictor

_LOAD = Path(__file__).resolve().parent / "http_load.py"
_SECONDS = 15.0


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
    """Run the load generator."""
    words = {"host": server.host, "port": server.port, "files": [str(f) for f in files], **order}
    done = subprocess.run(
        [sys.executable, str(_LOAD)],
        input=json.dumps(words),
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def bulk_rate(model: Path, files: list[Path]) -> float:
    """Images a second of `predict_many`, files read as it goes."""
    with Predictor.load(model) as predictor:
        list(predictor.predict_many(files[:20]))
        started = time.perf_counter()
        count = sum(1 for _ in predictor.predict_many(files))
        return count / (time.perf_counter() - started)


def single_ms(model: Path, file: Path, times: int = 200) -> float:
    """Median of one image at a time, in this process."""
    data = file.read_bytes()
    with Predictor.load(model) as predictor:
        taken = []
        for _ in range(times):
            started = time.perf_counter()
            predictor.predict(data)
            taken.append(time.perf_counter() - started)
    return 1e3 * statistics.median(taken)


def quantile_ms(seconds: list[float], share: float) -> float:
    """A quantile in milliseconds; NaN of nothing."""
    ordered = sorted(seconds)
    if not ordered:
        return float("nan")
    return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def open_loop(server: Server, files: list[Path], rate: float, seconds: float) -> dict[str, Any]:
    """Figures of a run at a fixed rate."""
    done = load(server, files, kind="open", rate=rate, seconds=seconds)
    by: dict[bool, list[float]] = {True: [], False: []}
    for _, status, taken in done["samples"]:
        by[status == 200].append(taken)
    good, rejected = by[True], by[False]
    return {
        "asked_per_s": rate,
        "goodput_per_s": len(good) / done["wall_s"],
        "statuses": done["statuses"],
        "p50_ms": quantile_ms(good, 0.5),
        "p99_ms": quantile_ms(good, 0.99),
        "rejected_p50_ms": quantile_ms(rejected, 0.5),
        "rejected_p99_ms": quantile_ms(rejected, 0.99),
    }


def main() -> None:
    """Measure and print."""
    chosen = parser(__doc__)
    chosen.add_argument("--model", type=Path, help="a model file; default: one is trained first")
    chosen.add_argument("--limit", type=int, default=1000, help="photographs")
    chosen.add_argument("--seconds", type=float, default=_SECONDS, help="of each open loop")
    chosen.add_argument("--rounds", type=int, default=3, help="of throughput")
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
    bulk, http = [], []
    with Server(model) as server:
        load(server, files, kind="closed", connections=8, count=100)
    for _ in range(given.rounds):
        bulk.append(bulk_rate(model, files))
        with Server(model) as server:
            load(server, files, kind="closed", connections=8, count=100)
            done = load(server, files, kind="closed", connections=8, count=len(files))
            http.append(len(files) / done["wall_s"])
    capacity = statistics.median(http)
    ratios = [one / other for one, other in zip(http, bulk, strict=True)]
    show(
        "HTTP with keep-alive against predict_many",
        {
            **machine(),
            "photographs": len(files),
            "predict_many_per_s": statistics.median(bulk),
            "http_per_s": capacity,
            "ratio (median of rounds)": statistics.median(ratios),
        },
    )
    one = photographs(given.data, 1)[0]
    alone = single_ms(model, one)
    with Server(model) as server:
        done = load(server, [one], kind="closed", connections=1, count=200)
        over = quantile_ms([taken for _, _, taken in done["samples"]], 0.5)
        figures = {"in process ms": alone, "http ms": over, "ratio": over / alone}
        show("One photograph, idle server", figures)
        for share in (0.8, 1.5):
            figures = open_loop(server, files, share * capacity, given.seconds)
            figures["goodput / capacity"] = figures["goodput_per_s"] / capacity
            show(f"Open loop at {share:.0%}", figures)


if __name__ == "__main__":
    main()
