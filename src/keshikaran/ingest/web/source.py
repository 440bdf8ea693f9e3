"""A list of addresses as a source: what was fetched before is not fetched again."""

from __future__ import annotations

import contextlib
import queue
import random
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from urllib3.util import Url

from keshikaran.errors import RefusalReason
from keshikaran.ingest.entries import Content, Entry, Held, LocalFile
from keshikaran.ingest.web.connection import Guard
from keshikaran.ingest.web.failure import FetchError
from keshikaran.ingest.web.fetch import Fetcher, FetchOptions, check_url
from keshikaran.ingest.web.robots import ROBOTS_BYTES, Robots
from keshikaran.ingest.web.turns import Turns
from keshikaran.ingest.web.url_list import UrlEntry
from keshikaran.pixels import EXTENSIONS, Limits
from keshikaran.store import Store
from keshikaran.types import Refusal

ROOT = "urls"

_THREADS = 4
_CONTENT_REASONS = frozenset(get_args(RefusalReason)) - {"unreadable_file"}
_WAITING = 2  # contents that nobody has taken yet


@dataclass(frozen=True, slots=True)
class UrlSource:
    """Addresses to import images from.

    Entries come as they arrive, not in the order of the list: hosts differ in speed.

    Attributes:
        store: knows what was fetched before.
        entries: the list.
        options: how to fetch.
        again: fetch also what was fetched before.
        guard: makes the connections; None for the usual one.
        context: for TLS; None for the system's certificates.
    """

    store: Store
    entries: Sequence[UrlEntry]
    options: FetchOptions = field(default_factory=FetchOptions)
    again: bool = False
    guard: Guard | None = None
    context: ssl.SSLContext | None = None

    @property
    def root(self) -> str:
        """See `Source`. The same for all lists: an address means the same in each."""
        return ROOT

    @property
    def class_folders(self) -> Sequence[str]:
        """See `Source`."""
        return ()

    @property
    def labelled(self) -> bool:
        """See `Source`."""
        return any(label is not None for entry in self.entries for _, label in entry.claims)

    @property
    def count(self) -> int:
        """See `Source`."""
        return sum(len(entry.claims) for entry in self.entries)

    @property
    def containers(self) -> Sequence[str]:
        """See `Source`."""
        return ()

    @property
    def threads(self) -> int:
        """See `Source`."""
        return _THREADS

    def walk(self, limits: Limits) -> Iterator[Entry | Refusal]:
        """See `Source`; closing the iterator early ends all connections."""
        names = [entry.claims[0][0] for entry in self.entries]
        images = {} if self.again else self.store.visited.images(ROOT, names)
        refusals = {} if self.again else self.store.visited.refusals(ROOT, names)
        jobs: list[tuple[str, _Job]] = []
        for name, entry in zip(names, self.entries, strict=True):
            record, refusal = images.get(name), refusals.get(name)
            if record is not None:
                extension = EXTENSIONS[record.format]
                if self.store.blobs.holds(record.image_id, extension, record.bytes):
                    path = self.store.blobs.path_of(record.image_id, extension)
                    yield from _found(entry, LocalFile(str(path)))
                    continue
            elif refusal is not None and refusal.reason in _CONTENT_REASONS:
                yield from _refused(entry, refusal)
                continue
            try:
                jobs.append((check_url(entry.url).host or "", _Job(entry)))
            except FetchError as error:
                yield from _refused(entry, error)
        yield from _Crew(self, jobs, limits).results()


@dataclass(frozen=True, slots=True)
class _Job:
    entry: UrlEntry
    attempt: int = 0


_Outcome = tuple[UrlEntry, bytes | FetchError]


class _Crew:
    """Threads that fetch, and the queue they put things into."""

    def __init__(self, source: UrlSource, jobs: Sequence[tuple[str, _Job]], limits: Limits) -> None:
        options = source.options
        self._options = options
        self._limits = limits
        self._count = len(jobs)
        guard = source.guard or Guard(allow_private=options.allow_private)
        self._fetcher = Fetcher(guard, options, source.context)
        self._robots = Robots(self._fetch_robots, options.retries + 1)
        self._turns = Turns(jobs, interval_s=1 / options.rate, per_host=options.per_host)
        self._outcomes: queue.Queue[_Outcome | Exception] = queue.Queue(_WAITING)
        self._is_stopped = threading.Event()

    def results(self) -> Iterator[Entry | Refusal]:
        number = min(self._options.jobs, self._count)
        threads = [
            threading.Thread(target=self._work, name=f"keshikaran-fetch-{n}", daemon=True)
            for n in range(number)
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(self._count):
                outcome = self._outcomes.get()
                if isinstance(outcome, Exception):
                    raise outcome
                entry, content = outcome
                if isinstance(content, bytes):
                    yield from _found(entry, Held(content))
                else:
                    yield from _refused(entry, content)
        finally:
            self._is_stopped.set()
            self._turns.stop()
            self._fetcher.cut()
            for thread in threads:
                thread.join(self._options.stall_s)
            self._fetcher.close()

    def _work(self) -> None:
        try:
            while (turn := self._turns.take()) is not None:
                self._do(*turn)
        except Exception as error:  # a defect: it must not be waited for in vain
            self._put(error)

    def _do(self, host: str, job: _Job) -> None:
        again, wait_s = None, 0.0
        try:
            content: bytes | FetchError = self._fetch(host, job.entry.url)
        except FetchError as error:
            content = error
            wait_s = self._wait_s(error, job.attempt)
            if error.is_passing and wait_s > self._options.longest_wait_s:
                content = _too_patient(error, wait_s)
            elif error.is_passing and job.attempt < self._options.retries:
                again = replace(job, attempt=job.attempt + 1)
        self._turns.done(host, again, wait_s)
        if again is None:
            self._put((job.entry, content))

    def _put(self, outcome: _Outcome | Exception) -> None:
        while not self._is_stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._outcomes.put(outcome, timeout=0.1)
                break

    def _fetch(self, host: str, url: str) -> bytes:
        def before_hop(hop: Url) -> None:
            if self._is_stopped.is_set():
                raise FetchError("fetch_failed", "interrupted")
            name = hop.host or ""
            if not self._options.ignore_robots:
                pause_s = min(self._robots.check(hop), self._options.longest_wait_s)
                self._turns.slow_down(name, pause_s)
            if name != host:
                self._turns.visit(name)

        return self._fetcher.fetch(url, self._limits.max_bytes, before_hop)

    def _fetch_robots(self, address: str) -> bytes:
        return self._fetcher.fetch(address, ROBOTS_BYTES, cut_at_limit=True)

    def _wait_s(self, error: FetchError, attempt: int) -> float:
        if error.wait_s is not None:
            return error.wait_s
        return float(self._options.backoff_s * 2**attempt * random.uniform(0.75, 1.25))


def _too_patient(error: FetchError, wait_s: float) -> FetchError:
    detail = f"{error.detail}; it asks to come back in {wait_s:,.0f} s"
    return FetchError(error.reason, detail)


def _found(entry: UrlEntry, content: Content) -> Iterator[Entry]:
    for name, label in entry.claims:
        yield Entry(name, content, label)


def _refused(entry: UrlEntry, why: FetchError | Refusal) -> Iterator[Refusal]:
    for name, _ in entry.claims:
        yield Refusal(name, "import", why.reason, why.detail)
