"""Processor time and memory of a process together with all it started (Linux)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY_S = 0.05
# Fields of /proc/PID/stat behind the name: parent; user, system, and those of reaped children.
_PARENT, _TIMES = 1, slice(11, 15)


def tree(root: int) -> list[int]:
    """Process ids of `root` and its living descendants."""
    parents = {pid: int(fields[_PARENT]) for pid, fields in _all()}
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_s(root: int) -> float:
    """Processor seconds of `root`, its descendants, and those of them that were reaped."""
    fields = dict(_all())
    return sum(sum(map(int, fields[pid][_TIMES])) for pid in tree(root) if pid in fields) / _TICKS


def memory_mb(root: int, what: tuple[str, str] = ("Rss:", "Pss:")) -> tuple[float, int]:
    """Memory of `root` and its descendants, and how many processes they are.

    The resident size of `root`, and the proportional one of the others: a page that several of
    them share counts once. Where that may not be read, their resident size is taken. `what` names
    other lines of smaps_rollup: for `root`, and for the others.
    """
    keys = [what[0], *[what[1]] * (len(pids := tree(root)) - 1)]
    found = (_memory_kb(pid, key) for pid, key in zip(pids, keys, strict=True))
    sizes = [size for size in found if size is not None]
    return sum(sizes) / 1024, len(sizes)


class PeakMemory:
    """Watches a tree from another thread; `mb` and `processes` are the peak so far.

    A look costs some milliseconds: long work is looked at less often.
    """

    def __init__(
        self, root: int, what: tuple[str, str] = ("Rss:", "Pss:"), every_s: float = _EVERY_S
    ) -> None:
        self.mb, self.processes = 0.0, 0
        self._what, self._every_s = what, every_s
        self._root = root
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._every_s):
            mb, processes = memory_mb(self._root, self._what)
            if mb > self.mb:
                self.mb, self.processes = mb, processes


def _all() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
                yield int(folder.name), text.rpartition(")")[2].split()


def _memory_kb(pid: int, key: str) -> int | None:
    for name, start in (("smaps_rollup", key), ("status", "VmRSS:")):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8").splitlines():
                if line.startswith(start):
                    return int(line.split()[1])
    return None
