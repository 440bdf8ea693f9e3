"""Processes of a decoder, seen from outside."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

HOSTILE = "stress.hostile_decoders:decode"
MANY_VIEWS = "stress.hostile_decoders:many_views"
_END_S = 10.0


def is_decoder(pid: int) -> bool:
    """Whether this process lives and is one of ours."""
    try:
        return b"keshikaran.pixels.isolation" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def parent_of(pid: int) -> int:
    """Its parent's process id."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def outliving(pids: Iterable[int]) -> list[int]:
    """Which of them still live after a while."""
    until = time.monotonic() + _END_S
    left = list(pids)
    while (left := [pid for pid in left if is_decoder(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    return left
