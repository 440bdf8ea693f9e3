"""A child process that decodes: what kills it is counted, not suffered."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import DEFAULT_LIMITS, Limits, PixelSpec, decode_image

SPEC = PixelSpec(32, 32, "crop")
_PEAK = "VmHWM:"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one file.

    Attributes:
        outcome: `pixels`, a reason for refusal, or words that should not occur.
        typed: whether it is one of the first two.
        seconds: how long it took.
        grown_mb: by how much the child's memory grew at its highest.
    """

    outcome: str
    typed: bool
    seconds: float
    grown_mb: float


class Child:
    """One process that decodes files, replaced when it dies or hangs.

    Args:
        timeout_s: how long a file may take before it counts as a hang.
        limits: what the decoder is told.
    """

    def __init__(self, timeout_s: float = 5.0, limits: Limits = DEFAULT_LIMITS) -> None:
        self._timeout_s = timeout_s
        self._limits = limits
        self._start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, data: bytes) -> Answer:
        """Decode one file."""
        self._pipe.send_bytes(data)
        try:
            if self._pipe.poll(self._timeout_s):
                answer: Answer = self._pipe.recv()
                return answer
        except (EOFError, ConnectionError):
            self._process.join()
            words = f"crash, exit code {self._process.exitcode}"
        else:
            words = f"hang, over {self._timeout_s:g} s"
        self._end()
        self._start()
        return Answer(words, typed=False, seconds=self._timeout_s, grown_mb=0.0)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self._limits), daemon=True)
        self._process.start()
        other.close()
        if not self._pipe.recv():
            message = "the child did not start"
            raise RuntimeError(message)

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


def resident_mb() -> float:
    """Memory this process has in use."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def _serve(pipe: Connection, limits: Limits) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)  # libtiff complains there
    _decode(b"GIF89a", limits)
    pipe.send(True)
    while True:
        try:
            data = pipe.recv_bytes()
        except EOFError:
            return
        _forget_peak()
        before = _peak_mb()
        started = time.perf_counter()
        outcome, typed = _decode(data, limits)
        seconds = time.perf_counter() - started
        pipe.send(Answer(outcome, typed, seconds, max(0.0, _peak_mb() - before)))


def _decode(data: bytes, limits: Limits) -> tuple[str, bool]:
    try:
        views = decode_image(data, SPEC, limits).views
    except ImageRefusedError as refusal:
        return refusal.reason, True
    except BaseException as error:
        return f"{type(error).__name__}: {error}", False
    sound = views.shape[1:] == (SPEC.height, SPEC.width, 3) and views.dtype == "uint8"
    return ("pixels", True) if sound else (f"views of shape {views.shape}", False)


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", "ascii")


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith(_PEAK))
    return int(line.split()[1]) / 1e3
