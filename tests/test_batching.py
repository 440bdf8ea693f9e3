"""Two steps beside each other: in order, a few batches ahead, and nothing left running."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.batching import Crew, in_batches


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 50),
    singles=st.integers(1, 4),
    batches=st.integers(1, 3),
    size=st.integers(1, 9),
)
def test_each_item_passes_both_steps_in_order(
    count: int, singles: int, batches: int, size: int
) -> None:
    seen: list[int] = []

    def batch(items: Sequence[int]) -> list[str]:
        seen.append(len(items))
        return [f"<{item}>" for item in items]

    crew = Crew(singles, batches, size)
    found = list(in_batches(range(count), lambda item: item * 2, batch, crew))
    assert found == [f"<{2 * item}>" for item in range(count)]
    assert sum(seen) == count
    assert max(seen, default=0) <= size


def test_the_first_step_goes_on_while_the_second_works() -> None:
    """The second step waits, in its first batch, for the first step to be two batches ahead."""
    done = itertools.count()
    ahead = threading.Event()

    def single(item: int) -> int:
        if next(done) >= 11:
            ahead.set()
        return item

    def batch(items: Sequence[int]) -> Sequence[int]:
        assert ahead.wait(timeout=10)
        return items

    assert list(in_batches(range(40), single, batch, Crew(2, 1, 4))) == list(range(40))


def test_an_endless_list_is_read_a_few_batches_ahead() -> None:
    endless = itertools.count()
    found = in_batches(endless, lambda item: item, lambda items: items, Crew(2, 2, 4))
    assert [next(found) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert next(endless) < 8 * 4


@pytest.mark.parametrize("step", ["single", "batch"])
def test_what_a_step_raises_arrives_and_no_thread_stays(step: str) -> None:
    def fail(item: int) -> int:
        if step == "single" and item == 7:
            raise ValueError(item)
        time.sleep(0.001)
        return item

    def fail_together(items: Sequence[int]) -> Sequence[int]:
        if step == "batch" and 7 in items:
            raise ValueError(7)
        return items

    before = threading.active_count()
    with pytest.raises(ValueError, match="7"):
        list(in_batches(range(100), fail, fail_together, Crew(2, 2, 4)))
    assert threading.active_count() == before
