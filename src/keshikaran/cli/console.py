"""Talking to people: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from keshikaran.inert import printable
from keshikaran.types import ProgressTask

__all__ = ["TerminalProgress", "printable", "result", "say", "talk"]

talk = Console(stderr=True, highlight=False, emoji=False)


def say(text: str) -> None:
    """One line of talk, on stderr."""
    talk.print(text, markup=False, soft_wrap=True)


def result(text: str) -> None:
    """One line of results, on stdout."""
    sys.stdout.write(text + "\n")


class _RateColumn(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        """The rate as text; empty before there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="cyan")


@dataclass(frozen=True)
class _BarTask:
    bars: RichProgress
    number: TaskID

    def advance(self, steps: int = 1) -> None:
        self.bars.advance(self.number, steps)


class TerminalProgress:
    """Bars with rate and time left on a terminal; nothing elsewhere.

    Tasks that overlap, also those of several threads, stand below each other.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._bars: RichProgress | None = None
        self._open = 0

    @contextmanager
    def task(self, title: str, total: int | None) -> Iterator[ProgressTask]:
        """See `keshikaran.types.Progress`."""
        with self._lock:
            if self._bars is None:
                self._bars = _new_bars()
                self._bars.start()
            bars = self._bars
            self._open += 1
        try:
            yield _BarTask(bars, bars.add_task(title, total=total))
        finally:
            with self._lock:
                self._open -= 1
                if not self._open:
                    bars.stop()
                    self._bars = None


def _new_bars() -> RichProgress:
    return RichProgress(
        SpinnerColumn(),
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        console=talk,
        disable=not talk.is_terminal,
        transient=False,
        redirect_stdout=False,  # results are no talk: they stay on stdout
    )
