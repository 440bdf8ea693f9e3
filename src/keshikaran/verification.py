"""Candidates → copies and suspects: a look at the pixels, on all processors where there are many.

A suspect is a pair that the pixels leave undecided though its features are as alike as those of
copies are: a pale picture, or one whose texture is all noise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from threadpoolctl import threadpool_limits

from keshikaran.alignment import Evidence, Picture, compare, is_copy, thumbnail_of
from keshikaran.candidates import Candidate
from keshikaran.types import ProgressTask, UInt8Array, chunks_of

_PAIRS_AT_ONCE, _PAIRS_AT_ONCE_CLOSELY = 64, 8
_THUMBNAILS_KEPT = 8_000
_WORTH_PROCESSES, _WORTH_PROCESSES_CLOSELY = 300, 50
_SUSPICIOUS = 20.0
_SPREADS_OF_AGREEMENT = 10.0
_NOTHING_TO_COMPARE = 0.5

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


@dataclass(frozen=True, slots=True)
class Finding:
    """A candidate that is a copy, or suspected to be one.

    Attributes:
        candidate: the pair.
        evidence: how well it fits; None where there is too little to compare.
        is_copy: whether the pixels say so.
    """

    candidate: Candidate
    evidence: Evidence | None
    is_copy: bool

    @property
    def weight(self) -> float:
        """What speaks for a copy, in spreads of the features of different photographs.

        That all blocks agree counts as much as ten spreads. Of 10,262 copies of clothing
        photographs pixels left 58 undecided, each of which weighed 20.4 or more; so do some 60
        pairs among 3,781 different photographs (docs/adr/0025-suspected-copies.md).
        """
        agreement = _NOTHING_TO_COMPARE if self.evidence is None else self.evidence.agreement
        return self.candidate.spreads + _SPREADS_OF_AGREEMENT * agreement


def verified(
    candidates: Sequence[Candidate],
    thumbnails: Thumbnails,
    task: ProgressTask,
    *,
    closely: bool = False,
) -> Iterator[Finding]:
    """Those of the candidates that are copies or suspected to be, and why; in order.

    Args:
        candidates: ascending.
        thumbnails: of the images that they name.
        task: told of each candidate.
        closely: see `alignment.compare`.
    """
    from joblib import Parallel, cpu_count, delayed  # loading it takes a moment

    works = _works(candidates, thumbnails, _PAIRS_AT_ONCE_CLOSELY if closely else _PAIRS_AT_ONCE)
    look = partial(_look, closely=closely)
    worth_processes = _WORTH_PROCESSES_CLOSELY if closely else _WORTH_PROCESSES
    if len(candidates) < worth_processes or cpu_count() == 1:
        # Many small products: the library's own threads would only wait for each other.
        with threadpool_limits(1, "blas"):
            for work in works:
                yield from look(work)
                task.advance(len(work.candidates))
        return
    processes = Parallel(cpu_count(), return_as="generator", pre_dispatch="2 * n_jobs")
    for found, count in processes(delayed(_counted)(look, work) for work in works):
        yield from found
        task.advance(count)


@dataclass(frozen=True, slots=True)
class _Work:
    """Candidates, ascending, and the thumbnails of all that they name."""

    candidates: Sequence[Candidate]
    thumbnails: dict[int, UInt8Array | None]


def _works(
    candidates: Sequence[Candidate], thumbnails: Thumbnails, at_once: int
) -> Iterator[_Work]:
    """The candidates in pieces; the next one is decoded while one is looked at."""

    def prepared(some: Sequence[Candidate]) -> _Work:
        return _Work(some, thumbnails.of(n for one in some for n in (one.first, one.second)))

    parts = [candidates[part] for part in chunks_of(len(candidates), at_once)]
    with ThreadPoolExecutor(1, thread_name_prefix="keshikaran") as ahead:
        coming: deque[Future[_Work]] = deque()
        for part in parts:
            coming.append(ahead.submit(prepared, part))
            if len(coming) > 1:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _counted(look: Callable[[_Work], list[Finding]], work: _Work) -> tuple[list[Finding], int]:
    with threadpool_limits(1, "blas"):
        return look(work), len(work.candidates)


def _look(work: _Work, *, closely: bool) -> list[Finding]:
    """Compare one image after the other with its candidates."""
    found = []
    for number, candidates in groupby(work.candidates, lambda one: one.first):
        thumbnail = work.thumbnails[number]
        first = None if thumbnail is None else Picture(thumbnail)
        for candidate in candidates:
            other = work.thumbnails[candidate.second]
            if first is None or other is None:
                continue
            evidence = compare(first, Picture(other), candidate.turns, closely=closely)
            finding = Finding(candidate, evidence, evidence is not None and is_copy(evidence))
            if finding.is_copy or finding.weight >= _SUSPICIOUS:
                found.append(finding)
    return found
