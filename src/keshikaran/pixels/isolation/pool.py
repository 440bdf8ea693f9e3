"""Children by turns: as many as there is work for, up to a number; the latest one first."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

from keshikaran.errors import IsolationError
from keshikaran.pixels.contract import DecodedImage, PixelSpec
from keshikaran.pixels.isolation.messages import Reply


class Child(Protocol):
    """One decoding process, as its parent sees it. Used by one thread at a time."""

    pid: int

    def ask(self, data: bytes, spec: PixelSpec, timeout_s: float) -> tuple[Reply, DecodedImage]:
        """Have an image decoded; see `shared.SharedChild.ask`."""

    def is_alive(self) -> bool:
        """Whether it can be asked."""

    def kill(self) -> int:
        """End it at once and give back what it held.

        Returns:
            Its exit code; minus the signal's number if one ended it, be it ours or an earlier one.
        """

    def forget(self) -> None:
        """Close our side only: in a fork of the process that owns it."""


class Launcher(Protocol):
    """Starts children."""

    def launch(self) -> Child:
        """A new child.

        Raises:
            IsolationError: none can be started.
        """

    def close(self) -> None:
        """End what is needed to start children."""

    def abandon(self) -> None:
        """Close our side only: in a fork of the process that owns it."""


@dataclass(eq=False, slots=True)
class Lent:
    """A child and what it has done so far.

    Attributes:
        child: the process.
        images: how many it was given.
        busy_s: seconds it took for them.
    """

    child: Child
    images: int = 0
    busy_s: float = 0.0


class Pool:
    """Lends children. Thread-safe.

    Args:
        launcher: starts them.
        size: how many there may be at a time.
    """

    def __init__(self, launcher: Launcher, size: int) -> None:
        self._launcher = launcher
        self._size = size
        self._changed = threading.Condition()
        self._idle: list[Lent] = []
        self._all: set[Lent] = set()
        self._count = 0
        self._closed = False

    def take(self, *, fresh: bool = False) -> Lent:
        """A child that lives, new if need be; waits while all are lent.

        Args:
            fresh: ask for one that has seen no image yet.

        Raises:
            IsolationError: none can be started, or the pool is closed.
        """
        lent = self._idle_or_place()
        if lent is not None and not fresh and lent.child.is_alive():
            return lent
        try:
            if lent is not None:
                self._end(lent)
            started = Lent(self._launcher.launch())
        except BaseException:
            with self._changed:
                self._count -= 1
                self._changed.notify()
            raise
        with self._changed:
            self._all.add(started)
            closed = self._closed
        if closed:
            self.drop(started)
            raise _closed()
        return started

    def put(self, lent: Lent) -> None:
        """Give back a child that can be asked again."""
        with self._changed:
            if not self._closed:
                self._idle.append(lent)
                self._changed.notify()
                return
        self.drop(lent)

    def drop(self, lent: Lent) -> int:
        """Give back a child for good: it is killed. Returns what `Child.kill` does."""
        try:
            return self._end(lent)
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify()

    def pids(self) -> list[int]:
        """Process ids of all children there are."""
        with self._changed:
            return sorted(lent.child.pid for lent in self._all)

    def close(self) -> None:
        """End all children that are not lent; those are ended when they come back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for lent in idle:
            self.drop(lent)
        self._launcher.close()

    def abandon(self) -> None:
        """Close our side of everything, end nothing, take no lock: after a fork."""
        for lent in self._all:
            lent.child.forget()
        self._launcher.abandon()

    def _idle_or_place(self) -> Lent | None:
        with self._changed:
            while not self._closed:
                if self._idle:
                    return self._idle.pop()
                if self._count < self._size:
                    self._count += 1
                    return None
                self._changed.wait()
        raise _closed()

    def _end(self, lent: Lent) -> int:
        with self._changed:
            self._all.discard(lent)
        return lent.child.kill()


def _closed() -> IsolationError:
    what = "This decoder is closed."
    return IsolationError(what, "Make a new one, or close it later.")
