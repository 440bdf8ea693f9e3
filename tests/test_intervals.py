"""Intervals: by hand, against SciPy, and how often they cover the truth in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from keshikaran.intervals import (
    Estimate,
    clopper_pearson,
    lower_bound,
    precision_at,
    upper_bound,
    weighted_sum,
    wilson,
)
from keshikaran.policy import labels_needed

_quick = settings(deadline=None, max_examples=50)
_counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
_some = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def _covered(found: list[Estimate], truth: float) -> float:
    return float(np.mean([one.low <= truth <= one.high for one in found]))


# One share


@_quick
@given(_some)
def test_intervals_of_a_share_equal_those_of_scipy(counts: tuple[int, int]) -> None:
    expected = binomtest(*counts)
    score, exact = expected.proportion_ci(method="wilson"), expected.proportion_ci()
    assert (wilson(*counts).low, wilson(*counts).high) == pytest.approx(tuple(score), abs=1e-9)
    found = clopper_pearson(*counts)
    assert (found.low, found.high) == pytest.approx(tuple(exact), abs=1e-9)


@_quick
@given(_counts)
def test_interval_of_a_share_holds_it_and_stays_within_0_and_1(counts: tuple[int, int]) -> None:
    for found in (wilson(*counts), clopper_pearson(*counts)):
        assert 0.0 <= found.low <= found.high <= 1.0
        assert found.value is None or found.low <= found.value <= found.high
    assert lower_bound(*counts) <= upper_bound(*counts)


def test_share_of_nothing_is_unknown() -> None:
    unknown = Estimate(None, 0.0, 1.0)
    assert wilson(0, 0) == clopper_pearson(0, 0) == unknown
    assert (lower_bound(0, 0), upper_bound(0, 0)) == (0.0, 1.0)
    assert unknown.times(3.0) == Estimate(None, 0.0, 3.0)
    assert unknown.complement() == unknown


def test_promise_of_three_in_the_number_of_images() -> None:
    # The rule of three: none among n leaves up to about 3/n.
    assert upper_bound(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert lower_bound(300, 300) == pytest.approx(0.05 ** (1 / 300))


@_quick
@given(st.floats(0.001, 0.5), st.sampled_from([0.8, 0.95, 0.99]))
def test_exact_bound_and_labels_needed_agree(rate: float, confidence: float) -> None:
    needed = labels_needed(rate, confidence)
    assert upper_bound(0, needed, confidence) <= rate + 1e-9
    assert upper_bound(0, needed - 1, confidence) >= rate - 1e-9


@pytest.mark.parametrize(("n", "share"), [(100, 0.2), (300, 0.02), (80, 0.95), (400, 0.5)])
def test_wilson_covers_95_of_100(n: int, share: float) -> None:
    drawn = np.random.default_rng(1).binomial(n, share, 2_000)
    assert 0.93 <= _covered([wilson(int(part), n) for part in drawn], share) <= 0.97


@pytest.mark.parametrize(("n", "share"), [(100, 0.2), (300, 0.005), (80, 0.95)])
def test_exact_bound_never_promises_too_much(n: int, share: float) -> None:
    drawn = np.random.default_rng(2).binomial(n, share, 2_000)
    values, counts = np.unique(drawn, return_counts=True)
    broken = [upper_bound(int(part), n) < share for part in values]
    assert np.sum(counts[np.array(broken)]) / 2_000 <= 0.06


# Two shares


def test_precision_by_hand() -> None:
    # Of 1,000 uploads 10 are objectionable: 9 found; of 990 others 99 are called so too.
    found = precision_at(wilson(90, 100), wilson(10, 100), 0.01)
    assert found.value == pytest.approx(9 / (9 + 99))
    assert found.low < 9 / 108 < found.high


def test_precision_without_false_positives_may_be_1_and_need_not() -> None:
    found = precision_at(wilson(90, 100), wilson(0, 300), 0.01)
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.3 < found.low < 0.5


def test_precision_of_a_cut_that_nothing_reaches_is_unknown() -> None:
    found = precision_at(wilson(0, 100), wilson(0, 300), 0.01)
    assert (found.value, found.low, found.high) == (None, 0.0, 1.0)
    nothing_known = precision_at(wilson(0, 0), wilson(0, 0), 0.5)
    assert (nothing_known.value, nothing_known.low, nothing_known.high) == (None, 0.0, 1.0)


@_quick
@given(_counts, _counts, st.floats(0.001, 0.999))
def test_interval_of_a_precision_holds_it(
    found: tuple[int, int], false: tuple[int, int], prevalence: float
) -> None:
    one = precision_at(wilson(*found), wilson(*false), prevalence)
    assert 0.0 <= one.low <= one.high <= 1.0
    assert one.value is None or one.low - 1e-9 <= one.value <= one.high + 1e-9


@pytest.mark.parametrize(
    ("ones", "zeros", "recall", "rate", "prevalence"),
    [(83, 295, 0.95, 0.03, 0.01), (200, 200, 0.9, 0.1, 0.3), (400, 4000, 0.97, 0.02, 0.01)],
)
def test_precision_and_blocked_share_cover_95_of_100(
    ones: int, zeros: int, recall: float, rate: float, prevalence: float
) -> None:
    rng = np.random.default_rng(3)
    drawn = zip(rng.binomial(ones, recall, 1_000), rng.binomial(zeros, rate, 1_000), strict=True)
    shares = [(wilson(int(tp), ones), wilson(int(fp), zeros)) for tp, fp in drawn]
    blocked = prevalence * recall + (1 - prevalence) * rate
    sums = [weighted_sum([(prevalence, tp), (1 - prevalence, fp)]) for tp, fp in shares]
    assert 0.93 <= _covered(sums, blocked) <= 0.97
    precisions = [precision_at(tp, fp, prevalence) for tp, fp in shares]
    assert 0.93 <= _covered(precisions, prevalence * recall / blocked) <= 0.97


def test_sum_in_other_units_and_its_complement() -> None:
    half = wilson(50, 100)
    assert weighted_sum([(1.0, half)]) == half
    assert weighted_sum([(1.0, half), (1.0, Estimate(None, 0.0, 1.0))]).value is None
    assert half.times(10.0).value == pytest.approx(5.0)
    missed = wilson(90, 100).complement()
    assert missed.value == pytest.approx(0.1)
    assert missed.low == pytest.approx(1 - wilson(90, 100).high)
    assert list(half.to_dict()) == ["value", "low", "high"]
