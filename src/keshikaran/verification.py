"""Candidates → copies: a look at the pixels, on all processors where there is much to look at."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

from joblib import Parallel, cpu_count, delayed
from threadpoolctl import threadpool_limits

from keshikaran.alignment import Evidence, Picture, compare, is_copy, thumbnail_of
from keshikaran.candidates import Candidate
from keshikaran.types import ProgressTask, UInt8Array, chunks_of

_PAIRS_AT_ONCE = 64
_THUMBNAILS_KEPT = 8_000
_WORTH_PROCESSES = 4_000

Decode = Callable[[Sequence[int]], list[UInt8Array | None]]
"""Numbers of images → their pixels, uint8 [H, W, 3] with grey bars; None where there are none."""


class Thumbnails:
    """Thumbnails of images by number; those used last stay in memory.

    Args:
        decode: gives what is not in memory.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._kept: dict[int, UInt8Array | None] = {}

    def of(self, numbers: Iterable[int]) -> dict[int, UInt8Array | None]:
        """Thumbnails, uint8 [h, w] each; None for what cannot be decoded."""
        wanted = sorted(set(numbers))
        lacking = [number for number in wanted if number not in self._kept]
        for number, view in zip(lacking, self._decode(lacking), strict=True):
            self._kept[number] = None if view is None else thumbnail_of(view)
        found = {number: self._kept[number] for number in wanted}
        for number in list(self._kept)[: max(0, len(self._kept) - _THUMBNAILS_KEPT)]:
            del self._kept[number]
        return found


def verified(
    candidates: Sequence[Candidate], thumbnails: Thumbnails, task: ProgressTask
) -> Iterator[tuple[Candidate, Evidence]]:
    """Those of the candidates that are copies, and how well they fit; in order.

    Args:
        candidates: ascending.
        thumbnails: of the images that they name.
        task: told of each candidate.
    """
    works = _works(candidates, thumbnails)
    if len(candidates) < _WORTH_PROCESSES or cpu_count() == 1:
        # Many small products: the library's own threads would only wait for each other.
        with threadpool_limits(1, "blas"):
            for work in works:
                yield from _look(work)
                task.advance(len(work.candidates))
        return
    processes = Parallel(cpu_count(), return_as="generator", pre_dispatch="2 * n_jobs")
    for found, count in processes(delayed(_counted)(work) for work in works):
        yield from found
        task.advance(count)


@dataclass(frozen=True, slots=True)
class _Work:
    """Candidates, ascending, and the thumbnails of all that they name."""

    candidates: Sequence[Candidate]
    thumbnails: dict[int, UInt8Array | None]


def _works(candidates: Sequence[Candidate], thumbnails: Thumbnails) -> Iterator[_Work]:
    """The candidates in pieces; the next one is decoded while one is looked at."""

    def prepared(some: Sequence[Candidate]) -> _Work:
        return _Work(some, thumbnails.of(n for one in some for n in (one.first, one.second)))

    parts = [candidates[part] for part in chunks_of(len(candidates), _PAIRS_AT_ONCE)]
    with ThreadPoolExecutor(1, thread_name_prefix="keshikaran") as ahead:
        coming: deque[Future[_Work]] = deque()
        for part in parts:
            coming.append(ahead.submit(prepared, part))
            if len(coming) > 1:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _counted(work: _Work) -> tuple[list[tuple[Candidate, Evidence]], int]:
    with threadpool_limits(1, "blas"):
        return _look(work), len(work.candidates)


def _look(work: _Work) -> list[tuple[Candidate, Evidence]]:
    """Compare one image after the other with its candidates."""
    found = []
    for number, candidates in groupby(work.candidates, lambda one: one.first):
        thumbnail = work.thumbnails[number]
        first = None if thumbnail is None else Picture(thumbnail)
        for candidate in candidates:
            other = work.thumbnails[candidate.second]
            if first is None or other is None:
                continue
            evidence = compare(first, Picture(other), candidate.turns)
            if evidence is not None and is_copy(evidence):
                found.append((candidate, evidence))
    return found
