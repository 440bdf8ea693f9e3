"""Whose turn it is: many hosts at once, each of them gently."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Job = TypeVar("Job")


@dataclass(slots=True)
class _Host(Generic[Job]):
    interval_s: float
    waiting: deque[Job] = field(default_factory=deque)
    active: int = 0
    next_at: float = 0.0
    is_queued: bool = False
    limit: int = 1  # the first goes alone: it learns what the site wishes


class Turns(Generic[Job]):
    """Hands out jobs so that no host is asked too often or by too many at once.

    Args:
        jobs: pairs of a host and a job.
        interval_s: between the starts of two jobs of one host.
        per_host: jobs of one host at once.
        clock: seconds.
    """

    def __init__(
        self,
        jobs: Iterable[tuple[str, Job]],
        *,
        interval_s: float,
        per_host: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval_s = interval_s
        self._per_host = per_host
        self._clock = clock
        self._hosts: dict[str, _Host[Job]] = {}
        self._queue: list[tuple[float, int, str]] = []
        self._number = 0
        self._active = 0
        self._is_stopped = False
        self._changed = threading.Condition()
        for name, job in jobs:
            self._host(name).waiting.append(job)
        for name in self._hosts:
            self._enqueue(name)

    def take(self) -> tuple[str, Job] | None:
        """Wait for the next job; None when there are no more."""
        with self._changed:
            while not self._is_stopped:
                pause = self._pause()
                if pause is not None and pause <= 0:
                    return self._pop()
                if pause is None and not self._active:
                    break
                self._changed.wait(pause)
            self._changed.notify_all()
            return None

    def done(self, name: str, again: Job | None = None, wait_s: float = 0.0) -> None:
        """A job of this host is over, or is to be tried again after a while."""
        with self._changed:
            host = self._host(name)
            host.active -= 1
            host.limit = self._per_host
            self._active -= 1
            if again is not None:
                host.waiting.appendleft(again)
                host.next_at = max(host.next_at, self._clock() + wait_s)
            self._enqueue(name)
            self._changed.notify_all()

    def visit(self, name: str) -> None:
        """Wait until this host may be asked once more, on behalf of another host's job."""
        with self._changed:
            host = self._host(name)
            starts_at = max(host.next_at, self._clock())
            host.next_at = starts_at + host.interval_s
            while not self._is_stopped and (pause := starts_at - self._clock()) > 0:
                self._changed.wait(pause)

    def slow_down(self, name: str, interval_s: float) -> None:
        """Leave at least this much time between two jobs of this host."""
        with self._changed:
            host = self._host(name)
            if interval_s > host.interval_s:
                host.next_at += interval_s - host.interval_s
                host.interval_s = interval_s

    def stop(self) -> None:
        """Nobody gets another job."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _host(self, name: str) -> _Host[Job]:
        if name not in self._hosts:
            self._hosts[name] = _Host(self._interval_s)
        return self._hosts[name]

    def _enqueue(self, name: str) -> None:
        host = self._hosts[name]
        if host.waiting and host.active < host.limit and not host.is_queued:
            host.is_queued = True
            self._number += 1
            heapq.heappush(self._queue, (host.next_at, self._number, name))

    def _pause(self) -> float | None:
        """Seconds until the next job; None if all wait for one that is under way."""
        while self._queue:
            queued_at, _, name = self._queue[0]
            host = self._hosts[name]
            if host.next_at <= queued_at:
                return host.next_at - self._clock()
            heapq.heappop(self._queue)  # it was slowed down meanwhile
            host.is_queued = False
            self._enqueue(name)
        return None

    def _pop(self) -> tuple[str, Job]:
        _, _, name = heapq.heappop(self._queue)
        host = self._hosts[name]
        host.is_queued = False
        host.active += 1
        self._active += 1
        host.next_at = max(self._clock(), host.next_at) + host.interval_s
        job = host.waiting.popleft()
        self._enqueue(name)
        return name, job
