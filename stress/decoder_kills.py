"""Children that decode are killed at random moments while images are featurized."""

from __future__ import annotations

import io
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from keshikaran.backbones import open_engine
from keshikaran.errors import ImageRefusedError
from keshikaran.inference import Inferred, Pipeline, infer_many
from keshikaran.pixels import InProcessDecoder, PixelSpec
from keshikaran.pixels.isolated import IsolatedDecoder
from stress.finding import Finding, Size
from stress.hostile_bundles import SIDE, network
from stress.isolated_corpus import open_descriptors, resident_mb

_SPEC = PixelSpec(SIDE, SIDE, "crop")
_MOST_ROUNDS = 100
_END_S = 5.0
_GROWTH_MB = 40.0


def run(size: Size) -> Finding:
    """Featurize the same photographs over and over until enough children were killed."""
    images, kills, replacements = (60, 10, 20) if size == "quick" else (2000, 200, 1000)
    rng = random.Random(0)
    with TemporaryDirectory(prefix="keshikaran-stress-") as name:
        files = _make_files(Path(name), images)
        expected = {r.key: _scores(r) for r in _featurize(files, InProcessDecoder())}
        decoder = IsolatedDecoder()
        next(iter(_featurize(files[:8], decoder)))
        before = open_descriptors(), resident_mb()
        with _Killer(decoder, kills, rng) as killer:
            lost, wrong, rounds = _watch(files, decoder, killer, expected)
        replaced_ms = _replace(files[1].read_bytes(), decoder, replacements)
        left = open_descriptors() - before[0]
        grown_mb = resident_mb() - before[1]
        decoder.close()
        orphans = _still_there(killer.seen)
    failures = [f"{path.name}: other features than undisturbed" for path in wrong]
    if killer.done < kills:
        failures.append(f"only {killer.done} of {kills} kills found a child")
    if lost > killer.done:
        failures.append(f"{lost} images were lost by {killer.done} kills")
    failures += [f"process {pid} outlived its decoder" for pid in orphans]
    if left > 0:
        failures.append(f"{left} descriptors more than before")
    if grown_mb > _GROWTH_MB:
        failures.append(f"the parent grew by {grown_mb:.0f} MB")
    figures = {
        "children killed": killer.done,
        "images decoded": rounds * images,
        "images lost (refused as decoder_died)": lost,
        "images with other features than undisturbed": len(wrong),
        "children replaced one after the other": replacements,
        "decoding an image with a fresh child, ms (median)": replaced_ms[0],
        "decoding it with the same child again, ms (median)": replaced_ms[1],
        "processes left behind": len(orphans),
        "descriptors left open": max(0, left),
        "the parent grew by, MB": grown_mb,
    }
    question = "Does killing the processes that decode cost more than their own images?"
    return Finding(question, figures, failures)


def _make_files(folder: Path, count: int) -> list[Path]:
    """Pictures of coarse noise, each another, of the size of photographs."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        blocks = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        out = io.BytesIO()
        kind = "PNG" if number % 8 == 0 else "JPEG"
        blocks.resize((640, 480), Image.Resampling.NEAREST).save(out, kind)
        path = folder / f"{number}.{kind.lower()}"
        path.write_bytes(out.getvalue())
        files.append(path)
    return files


def _featurize(
    files: list[Path], decoder: IsolatedDecoder | InProcessDecoder
) -> Iterator[Inferred[Path]]:
    engine = open_engine(network().SerializeToString(), streams=2)
    yield from infer_many(
        ((path, path.read_bytes) for path in files), Pipeline(decoder, engine, _SPEC)
    )


def _scores(result: Inferred[Path]) -> bytes:
    return b"" if result.outputs is None else result.outputs["features"].tobytes()


def _watch(
    files: list[Path], decoder: IsolatedDecoder, killer: _Killer, expected: dict[Path, bytes]
) -> tuple[int, list[Path], int]:
    """Images lost, those with other features, and rounds."""
    lost, rounds = 0, 0
    wrong: list[Path] = []
    while rounds < _MOST_ROUNDS and (rounds == 0 or not killer.is_done()):
        rounds += 1
        for result in _featurize(files, decoder):
            refusal = result.refusal
            if isinstance(refusal, ImageRefusedError) and refusal.reason == "decoder_died":
                lost += 1
            elif _scores(result) != expected[result.key]:
                wrong.append(result.key)
    return lost, wrong, rounds


def _replace(data: bytes, decoder: IsolatedDecoder, times: int) -> tuple[float, float]:
    """Kill the child that waits, decode, decode again; medians of both in ms."""
    fresh: list[float] = []
    again: list[float] = []
    for _ in range(times):
        for pid in decoder.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for seconds in (fresh, again):
            started = time.perf_counter()
            decoder.decode(data, _SPEC)
            seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(fresh), 1e3 * statistics.median(again)


class _Killer:
    """Kills a child now and then, from a thread of its own, until there were enough."""

    def __init__(self, decoder: IsolatedDecoder, kills: int, rng: random.Random) -> None:
        self.done = 0
        self.seen: set[int] = set()
        self._decoder, self._kills, self._rng = decoder, kills, rng
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Killer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._leave.set()
        self._thread.join()

    def is_done(self) -> bool:
        """Whether there were enough."""
        return self.done >= self._kills

    def _run(self) -> None:
        while not self.is_done() and not self._leave.wait(self._rng.uniform(0.002, 0.06)):
            pids = self._decoder.pids()
            self.seen.update(pids)
            if pids:
                with suppress(ProcessLookupError):
                    os.kill(self._rng.choice(pids), signal.SIGKILL)
                    self.done += 1


def _still_there(pids: set[int]) -> list[int]:
    """Which of these processes live, after a moment to end."""
    until = time.monotonic() + _END_S
    while (left := [pid for pid in pids if _is_decoder(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def _is_decoder(pid: int) -> bool:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"keshikaran.pixels.isolation" in words
    return False
