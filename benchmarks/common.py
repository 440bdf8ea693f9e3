"""What the benchmarks share: where the photographs are, how a line of results looks."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tree import PeakMemory

ROOT = Path(__file__).resolve().parent.parent
TASKS: tuple[tuple[str, ...], ...] = (
    ("dress", "skirt", "shorts"),
    ("longsleeve", "outwear"),
    ("t-shirt",),
    ("dress", "skirt"),
)


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser that knows where the photographs are."""
    result = argparse.ArgumentParser(description=description)
    default = os.environ.get("KESHIKARAN_TEST_DATA", str(ROOT.parent / "shared" / "data"))
    result.add_argument("--data", type=Path, default=Path(default), help="folder of photographs")
    return result


def clothing(data: Path) -> Path:
    """The folder of class folders of the clothing photographs."""
    folder = data / "clothing" / "images"
    if not folder.is_dir():
        sys.exit(f"{folder} is missing: name the folder of photographs with --data.")
    return folder


def photographs(data: Path, limit: int | None = None) -> list[Path]:
    """The clothing photographs, spread evenly over the classes if limited."""
    files = sorted(clothing(data).glob("*/*.jpg"))
    return files if limit is None else files[:: max(1, len(files) // limit)][:limit]


def show(title: str, rows: dict[str, Any]) -> None:
    """Print figures for people, and the same as one JSON line for programmes."""
    print(f"\n## {title}")
    for name, value in rows.items():
        print(f"{name:<44} {round(value, 4) if isinstance(value, float) else value}")
    print("JSON " + json.dumps({"title": title, **rows}), flush=True)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }


def median_of(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over rounds that all have the same figures."""
    return {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that goes away."""
    with TemporaryDirectory(prefix="keshikaran-bench-") as name:
        yield Path(name)


def keshikaran(*arguments: str) -> tuple[dict[str, Any], float, float]:
    """Run the command line in a process of its own.

    Returns:
        The JSON object it printed, wall seconds, and peak memory in MB of it and its children
        together; pages that they share count once.
    """
    # An installed package is compiled; so is this one, by its first run.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "keshikaran", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.stdout, process.stderr
    if out is None or err is None:
        raise RuntimeError
    peak = PeakMemory(process.pid)
    text, words = out.read(), err.read()
    code = process.wait()
    wall = time.perf_counter() - started
    peak.stop()
    if code not in {0, 3}:
        sys.exit(f"keshikaran {' '.join(arguments)} ended with {code}:\n{words}")
    result = json.loads(text) if text.startswith("{") and "\n{" not in text else {}
    return result, wall, peak.mb
