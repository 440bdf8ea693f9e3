"""Is every hostile or damaged model file refused before anything runs it?

`open_engine` is replaced by something that takes note; Python's audit events and the kernel's
inotify say which files were opened.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np

import keshikaran
from keshikaran.backbones import load_backbone, open_engine
from keshikaran.bundle import pack, parse_bundle, run_self_test, seal
from keshikaran.errors import BundleError
from keshikaran.head import Head
from keshikaran.manifest import Manifest
from keshikaran.predictor import Predictor
from keshikaran.scoring_graph import build_scoring_graph
from stress.finding import Finding, Size
from stress.hostile_bundles import CANARY, KINDS, manifest
from stress.opened_files import FolderWatch, opened_by_python

_FLIPS: dict[Size, int] = {"quick": 60, "full": 1000}
_GIGABYTES = 1_400_000_000
_END = 4_000
_LARGE = {"1.6 GB, by its size": 1_600_000_000, "1.4 GB, by its end": _GIGABYTES}

_REFUSE = """
import resource, sys, time
from pathlib import Path
from keshikaran.errors import BundleError
from keshikaran.predictor import Predictor
def peak():
    status = Path("/proc/self/status")
    if not status.exists():  # elsewhere the figure can include the parent's memory
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
before, started = peak(), time.perf_counter()
try:
    Predictor.load(Path(sys.argv[1]), isolation="off")
except BundleError:
    print(time.perf_counter() - started, peak() - before)
"""


@dataclass
class _Seen:
    """What was noticed while files were being refused."""

    refused: int = 0
    engines: int = 0
    failures: list[str] = field(default_factory=list)


def run(size: Size) -> Finding:
    """Give the loader one hostile file after the other."""
    seen = _Seen()
    figures: dict[str, object] = {"hostile bundles, each of its own kind": len(KINDS)}
    with tempfile.TemporaryDirectory() as name, _note_engines(seen), contextlib.chdir(name):
        folder = Path(name)
        (folder / CANARY).write_bytes(np.ones(3, np.float32).tobytes())
        _refuse_kinds(folder, seen)
        figures["hostile bundles refused"] = seen.refused
        seen.refused = 0
        data = real_bundle()
        figures["bytes of the good bundle"] = len(data)
        _refuse_flips(folder / "flipped.onnx", data, _FLIPS[size], seen)
        figures["random bit flips in it"] = _FLIPS[size]
        figures["bit flips refused"] = seen.refused
        figures["inference sessions opened"] = seen.engines
        _check_control(folder / "flipped.onnx", seen)
        figures["checks of the good bundle, ms"] = _checks_ms(data)
        figures |= _refuse_large(folder, size, seen)
    question = "Is every hostile or damaged model file refused before anything runs it?"
    return Finding(question, figures, seen.failures)


def real_bundle() -> bytes:
    """The embedded network with a made-up head: a bundle of the usual size."""
    backbone = load_backbone()
    weights = np.random.default_rng(0).normal(0, 0.01, backbone.dim)
    graph = build_scoring_graph(backbone, Head(weights, 0.0))
    engine = open_engine(graph.SerializeToString(), streams=1)
    answer = run_self_test(engine, backbone.height, backbone.width)
    small = manifest()
    fields = {name: getattr(small, name) for name in Manifest.__dataclass_fields__}
    shape = {"height": backbone.height, "width": backbone.width, "resize_mode": "stretch"}
    part = {"backbone": 0, "input": 0, "features": backbone.dim}
    fields |= {"inputs": [shape], "parts": [part], "self_test": answer}
    data = pack(graph, Manifest(**fields))
    parse_bundle(data, "model.onnx")
    return data


@contextlib.contextmanager
def _note_engines(seen: _Seen) -> Iterator[None]:
    def note(*_: object, **__: object) -> None:
        seen.engines += 1
        msg = "an engine was asked to load this"
        raise RuntimeError(msg)

    with mock.patch("keshikaran.predictor.open_engine", note):
        yield


def _refuse(path: Path, what: str, seen: _Seen) -> None:
    """Load `path`; anything but a refusal with words is a failure."""
    engines = seen.engines
    try:
        Predictor.load(path, isolation="off")
    except BundleError as error:
        seen.refused += 1
        if not error.hint:
            seen.failures.append(f"{what}: refused without a hint")
    except Exception as error:  # whatever it is, it is the finding
        seen.failures.append(f"{what}: {type(error).__name__}: {error}"[:300])
    else:
        seen.failures.append(f"{what}: accepted")
    if seen.engines != engines:
        seen.failures.append(f"{what}: reached an engine")


def _refuse_kinds(folder: Path, seen: _Seen) -> None:
    path = folder / "hostile.onnx"
    watch = FolderWatch(folder) if sys.platform == "linux" else None
    for what, (make, _) in KINDS.items():
        path.write_bytes(make())
        if watch:
            watch.opened()
        with opened_by_python() as names:
            _refuse(path, what, seen)
        others = set(names) - {str(path)}
        others |= watch.opened() - {path.name} if watch else set()
        if others:
            seen.failures.append(f"{what}: opened {sorted(others)}")
    if watch:
        watch.close()


def _refuse_flips(path: Path, data: bytes, count: int, seen: _Seen) -> None:
    """A third of them near the end, where manifest and digest are."""
    chosen = random.Random(20260101)
    path.write_bytes(data)
    with path.open("r+b") as file:
        for number in range(count):
            start = len(data) - _END if number % 3 == 0 else 0
            at, bit = chosen.randrange(start, len(data)), chosen.randrange(8)
            for value in (data[at] ^ 1 << bit, data[at]):
                os.pwrite(file.fileno(), bytes([value]), at)
                if value != data[at]:
                    _refuse(path, f"bit {bit} of byte {at}", seen)


def _check_control(path: Path, seen: _Seen) -> None:
    """With all bits back in place the same file gets as far as the engine."""
    engines = seen.engines
    with contextlib.suppress(RuntimeError):
        Predictor.load(path, isolation="off")
    if seen.engines != engines + 1:
        seen.failures.append("the good bundle was refused too")


def _checks_ms(data: bytes) -> float:
    """The best of three runs of all checks on a good bundle."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        parse_bundle(data, "model.onnx")
        times.append(time.perf_counter() - started)
    return min(times) * 1e3


def _refuse_large(folder: Path, size: Size, seen: _Seen) -> dict[str, object]:
    """Time and memory that refusing an enormous file takes, each in a process of its own."""
    figures: dict[str, object] = {}
    path = folder / "large.onnx"
    for what, length in (
        ("1.6 GB, by its size", 1_600_000_000),
        ("1.4 GB, by its end", _GIGABYTES),
    ):
        with path.open("wb") as file:
            file.truncate(length)
        figures |= _cost(path, what, seen)
    if size == "full":
        nodes = b"\x3a" + _varint(_GIGABYTES) + b"\x0a\x00" * (_GIGABYTES // 2)
        path.write_bytes(seal(nodes))
        del nodes
        figures |= _cost(path, "1.4 GB of empty operators with a good digest", seen)
    path.unlink()
    return figures


def _cost(path: Path, what: str, seen: _Seen) -> dict[str, object]:
    package = Path(keshikaran.__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", _REFUSE, str(path)],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout:
        seen.failures.append(f"{what}: not refused: {done.stderr[-200:]}")
        return {}
    seconds, grown = map(float, done.stdout.split())
    return {f"refusing {what}, ms": seconds * 1e3, f"refusing {what}, MB": grown / 1e6}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
