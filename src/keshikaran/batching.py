"""Work in two steps: single images on the processors, batches on a card.

All processors decode while the card infers what was decoded before. Between them lies a queue of a
few batches: enough that neither waits for a hiccup of the other, and no more in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Middle = TypeVar("Middle")
Result = TypeVar("Result")

_BATCHES_AHEAD = 3


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does the work.

    Attributes:
        singles: threads for the first step.
        batches: threads for the second.
        size: items in a batch.
    """

    singles: int
    batches: int
    size: int


def in_batches(
    items: Iterable[Item],
    single: Callable[[Item], Middle],
    batch: Callable[[Sequence[Middle]], Sequence[Result]],
    crew: Crew,
) -> Iterator[Result]:
    """Pass each item through both steps; results come in the order of the items.

    Args:
        items: read as they are needed, at most some batches ahead.
        single: the first step.
        batch: the second, for up to `crew.size` items at once; a result for each.
        crew: who does the work.

    Raises:
        BaseException: what a step raised; the rest is dropped.
    """
    waiting = iter(items)
    first: deque[Future[Middle]] = deque()
    second: deque[Future[Sequence[Result]]] = deque()
    name = "keshikaran"
    with (
        ThreadPoolExecutor(crew.singles, thread_name_prefix=name) as singles,
        ThreadPoolExecutor(crew.batches, thread_name_prefix=f"{name}-card") as batches,
    ):
        try:
            while True:
                room = _BATCHES_AHEAD * crew.size - len(first)
                first.extend(singles.submit(single, item) for item in islice(waiting, room))
                if not first:
                    break
                count = min(crew.size, len(first))
                ready = [first.popleft().result() for _ in range(count)]
                second.append(batches.submit(batch, ready))
                if len(second) > crew.batches:
                    yield from second.popleft().result()
            while second:
                yield from second.popleft().result()
        finally:
            for future in first:
                future.cancel()
            for batched in second:
                batched.cancel()
