"""Thresholds from a policy: what is promised holds, and what cannot be promised is said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from keshikaran.head import sigmoid
from keshikaran.intervals import Estimate
from keshikaran.metrics import compute_metrics
from keshikaran.operating_figures import (
    band_shares,
    costs_thresholds,
    expected_cost,
    operating_figures,
)
from keshikaran.operating_points import OperatingPoints, choose_operating_points
from keshikaran.policy import Costs, Policy
from keshikaran.promises import Unreachable, Unsupported, judge_recall
from keshikaran.types import Float64Array, GroupId, LabelArray, Thresholds

_quick = settings(deadline=None, max_examples=50)
_pairs = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20).map(lambda n: n / 20)), min_size=2, max_size=60
).filter(lambda pairs: {label for label, _ in pairs} == {0, 1})


def _normal(ones: int, zeros: int, seed: int = 0) -> tuple[LabelArray, Float64Array]:
    """Scores 3 standard deviations apart."""
    labels = np.r_[np.ones(ones), np.zeros(zeros)].astype(np.int8)
    return labels, sigmoid(np.random.default_rng(seed).normal(3.0 * labels, 1.0) - 1.5)


def _chosen(
    labels: LabelArray, scores: Float64Array, policy: Policy, prevalence: float | None = None
) -> OperatingPoints:
    share = float(labels.mean()) if prevalence is None else prevalence
    return choose_operating_points(labels, scores, policy, share)


# Promises


def test_promises_are_kept_in_19_of_20_worlds() -> None:
    policy = Policy(min_recall=0.9, max_false_positive_rate=0.02)
    broken = {"rate": 0, "recall": 0}
    for seed in range(400):
        found = _chosen(*_normal(200, 400, seed), policy)
        block, review = (np.log(cut / (1 - cut)) + 1.5 for cut in
                         (found.thresholds.block, found.thresholds.review))  # fmt: skip
        assert [outcome.status for outcome in found.outcomes] == ["supported", "supported"]
        broken["rate"] += norm.sf(block) > 0.02
        broken["recall"] += norm.sf(review - 3.0) < 0.9
    assert 0 < broken["rate"] <= 30
    assert 0 < broken["recall"] <= 30


def test_promise_that_labels_cannot_carry_names_how_many_are_missing() -> None:
    policy = Policy(min_recall=None, max_false_positive_rate=0.001)
    (outcome,) = _chosen(*_normal(100, 300), policy).outcomes
    assert isinstance(outcome, Unsupported)
    assert (outcome.label, outcome.have, outcome.needed) == (0, 300, 2995)
    assert outcome.observed.value == 0.0
    assert outcome.promised == pytest.approx(0.0099, abs=0.0001)
    assert "300 labelled acceptable images are too few to promise 0.1%" in outcome.words
    assert "at least 2,695 more are needed" in outcome.words


def test_with_one_label_more_the_promise_is_made() -> None:
    policy = Policy(min_recall=0.95, max_false_positive_rate=0.05)
    for number, status in ((58, "unsupported"), (59, "supported")):
        scores = np.r_[np.linspace(0.8, 0.9, number), np.linspace(0.1, 0.2, number)]
        labels = np.r_[np.ones(number), np.zeros(number)].astype(np.int8)
        found = _chosen(labels, scores, policy)
        assert [outcome.status for outcome in found.outcomes] == [status, status]
        assert 0.1 < found.thresholds.review <= found.thresholds.block < 0.8


def test_recall_that_labels_cannot_carry_is_aimed_at_all_the_same() -> None:
    labels, scores = _normal(20, 300)
    found = _chosen(labels, scores, Policy(min_recall=0.9))
    (outcome,) = found.outcomes
    assert isinstance(outcome, Unsupported)
    assert (outcome.label, outcome.have, outcome.needed) == (1, 20, 29)
    assert outcome.observed.value is not None
    assert outcome.observed.value >= 0.9
    assert "at least 9 more are needed" in outcome.words


def test_copies_of_an_image_carry_no_promise() -> None:
    labels, scores = (np.repeat(part, 10) for part in _normal(40, 40))
    groups = [GroupId(str(number // 10)) for number in range(800)]
    policy = Policy(min_recall=0.9, max_false_positive_rate=0.05)
    y, s = labels.astype(np.int8), scores.astype(np.float64)
    naive = choose_operating_points(y, s, policy, 0.5)
    honest = choose_operating_points(y, s, policy, 0.5, groups)
    assert naive.outcomes[0].status == "supported"
    assert honest.outcomes[0].status == "unsupported"
    assert honest == choose_operating_points(*_normal(40, 40), policy, 0.5)


def test_rate_that_no_threshold_keeps_to_points_at_the_labels() -> None:
    labels = np.r_[np.ones(50), np.zeros(200)].astype(np.int8)
    scores = np.r_[np.full(50, 1.0), np.full(20, 1.0), np.full(180, 0.1)]
    policy = Policy(min_recall=None, max_false_positive_rate=0.05)
    (outcome,) = _chosen(labels, scores, policy).outcomes
    assert isinstance(outcome, Unreachable)
    assert "20 of 200 acceptable images" in outcome.words
    assert "their labels may be wrong" in outcome.words


@pytest.mark.parametrize("surely_wrong", [1, 20])
def test_rate_out_of_reach_gets_the_strictest_threshold(surely_wrong: int) -> None:
    labels = np.r_[np.ones(50), np.zeros(80)].astype(np.int8)
    wrong = np.full(surely_wrong, 1.0)
    scores = np.r_[np.full(50, 0.9), wrong, np.linspace(0.1, 0.6, 80 - surely_wrong)]
    policy = Policy(min_recall=None, max_false_positive_rate=0.05)
    found = _chosen(labels, scores, policy)
    assert found.outcomes[0].status == "unreachable"
    assert np.count_nonzero(scores[labels == 0] >= found.thresholds.block) == surely_wrong


# What the thresholds are without promises


def test_default_blocks_at_the_best_f1() -> None:
    labels, scores = _normal(150, 500)
    found = _chosen(labels, scores, Policy())
    best = max(compute_metrics(labels, scores, float(cut)).f1 for cut in scores)
    assert compute_metrics(labels, scores, found.thresholds.block).f1 == pytest.approx(best)
    assert found.thresholds.review < found.thresholds.block
    assert found.chosen_for == (
        "block: the best F1; review: at least 95% of objectionable images found"
    )


def test_best_f1_is_that_of_the_declared_prevalence() -> None:
    labels, scores = _normal(500, 500)
    common, rare = (_chosen(labels, scores, Policy(), share) for share in (0.5, 0.01))
    assert rare.thresholds.block > common.thresholds.block


def test_review_is_never_above_block() -> None:
    labels, scores = _normal(500, 2_000)
    found = _chosen(labels, scores, Policy(min_recall=0.3, max_false_positive_rate=0.1))
    assert found.thresholds.review == found.thresholds.block
    assert all(outcome.status == "supported" for outcome in found.outcomes)


def test_demands_without_recall_or_budget_send_nothing_to_review() -> None:
    policy = Policy(min_recall=None, max_false_positive_rate=0.02)
    found = _chosen(*_normal(100, 400), policy)
    assert found.thresholds.review == found.thresholds.block
    assert found.chosen_for.endswith("review: no images")


@_quick
@given(_pairs, st.sampled_from([0.5, 0.9]), st.sampled_from([0.05, 0.4]))
def test_any_scores_give_thresholds_and_an_outcome_for_each_demand(
    pairs: list[tuple[int, float]], recall: float, rate: float
) -> None:
    labels = np.array([label for label, _ in pairs], dtype=np.int8)
    scores = np.array([score for _, score in pairs])
    policy = Policy(
        min_recall=recall,
        max_false_positive_rate=rate,
        review_budget_per_day=10,
        uploads_per_day=100,
    )
    found = _chosen(labels, scores, policy, 0.1)
    assert 0.0 <= found.thresholds.review <= found.thresholds.block <= 1.0
    assert [outcome.demand for outcome in found.outcomes] == [
        "max_false_positive_rate", "min_recall", "review_budget_per_day",
    ]  # fmt: skip
    reviewed = band_shares(labels, scores, found.thresholds, 0.1).reviewed
    assert reviewed.value is not None
    assert reviewed.value <= 0.1 + 1e-9
    json.dumps(found.to_dict(), allow_nan=False)


# The review budget


def test_budget_is_kept_and_used() -> None:
    labels, scores = _normal(1_000, 9_000)
    policy = Policy(min_recall=None, review_budget_per_day=500, uploads_per_day=10_000)
    found = _chosen(labels, scores, policy)
    reviewed = operating_figures(labels, scores, found.thresholds, 0.1, 10_000).reviewed
    assert 480 <= (reviewed.value or 0) <= 500
    (outcome,) = found.outcomes
    assert outcome.words.startswith(f"People look at {outcome.promised:,.0f} images a day, of 500")


def test_recall_gives_way_to_a_budget_and_says_what_it_would_take() -> None:
    labels, scores = _normal(1_000, 9_000)
    asked = Policy(min_recall=0.99, max_false_positive_rate=0.005)
    free = _chosen(labels, scores, asked)
    limited = replace(asked, review_budget_per_day=100, uploads_per_day=10_000)
    tight = _chosen(labels, scores, limited)
    assert tight.thresholds.block == free.thresholds.block
    assert tight.thresholds.review > free.thresholds.review
    rate, recall, budget = tight.outcomes
    assert (rate.status, recall.status, budget.status) == ("supported", "unreachable", "supported")
    needed = operating_figures(labels, scores, free.thresholds, 0.1, 10_000).reviewed.value
    assert f"It would take {needed:,.0f} reviews a day." in recall.words
    assert recall.promised < 0.99


def test_ample_budget_is_not_used_up() -> None:
    labels, scores = _normal(1_000, 9_000)
    free = _chosen(labels, scores, Policy(min_recall=0.95))
    ample = Policy(min_recall=0.95, review_budget_per_day=9_000, uploads_per_day=10_000)
    assert _chosen(labels, scores, ample).thresholds == free.thresholds


def test_no_reviewers_make_recall_and_rate_contradict_each_other() -> None:
    policy = Policy(
        min_recall=0.99,
        max_false_positive_rate=0.005,
        review_budget_per_day=0,
        uploads_per_day=1_000,
    )
    found = _chosen(*_normal(1_000, 9_000), policy)
    assert found.thresholds.review == found.thresholds.block
    assert [outcome.status for outcome in found.outcomes] == [
        "supported", "unreachable", "supported",
    ]  # fmt: skip


def test_words_of_a_recall_that_is_out_of_reach() -> None:
    outcome = judge_recall(80, 100, 0.9, 0.95, 1234.4)
    assert outcome.words == (
        "The review budget does not reach 90%: 80 of 100 objectionable images are above `review`,"
        " at 95% confidence no less than 72.3% are. It would take 1,234 reviews a day."
    )


# Costs


def test_thresholds_from_costs_by_hand() -> None:
    # A person costs 1: worth it from 1 in 50 misses on, and up to 1 in 5 false alarms.
    found = costs_thresholds(Costs(miss=50, false_alarm=5, review=1))
    assert found.review == pytest.approx(0.02)
    assert found.block == pytest.approx(0.8)
    dear = costs_thresholds(Costs(miss=50, false_alarm=5, review=40))
    assert dear.review == dear.block == pytest.approx(5 / 55)
    assert costs_thresholds(Costs(50, 5, 0)) == Thresholds(0.0, 1.0)


@pytest.mark.parametrize("costs", [Costs(50, 5, 1), Costs(3, 3, 2), Costs(1, 20, 0.5)])
def test_no_other_thresholds_are_cheaper(costs: Costs) -> None:
    rng = np.random.default_rng(0)
    scores = sigmoid(rng.normal(-1.0, 2.5, 40_000))
    labels = (rng.random(40_000) < scores).astype(np.int8)
    share = float(labels.mean())
    found = _chosen(labels, scores, Policy(min_recall=None, costs=costs))
    assert found.outcomes == ()
    assert f"miss {costs.miss:g}" in found.chosen_for
    ours = expected_cost(labels, scores, found.thresholds, share, costs)
    grid = np.linspace(0.0, 1.0, 26)
    best = min(
        expected_cost(labels, scores, Thresholds(float(low), float(high)), share, costs)
        for low in grid
        for high in grid[grid >= low]
    )
    assert ours <= best * 1.01


# A day's uploads


def test_counts_a_day_by_hand() -> None:
    labels = np.array([1] * 10 + [0] * 100, dtype=np.int8)
    scores = np.r_[np.full(7, 0.9), np.full(2, 0.5), 0.1, np.full(1, 0.9), np.full(9, 0.5),
                   np.full(90, 0.1)]  # fmt: skip
    found = operating_figures(labels, scores, Thresholds(0.3, 0.7), 0.01, 10_000)
    # 100 objectionable uploads: 70 blocked, 20 reviewed, 10 missed; 9,900 others: 99, 891.
    assert found.blocked.value == pytest.approx(70 + 99)
    assert found.reviewed.value == pytest.approx(20 + 891)
    assert found.missed.value == pytest.approx(10)
    assert found.wrongly_blocked.value == pytest.approx(99)
    assert found.block.confusion_matrix == [[99, 1], [3, 7]]
    assert found.review.confusion_matrix == [[90, 10], [1, 9]]
    assert found.block.precision.value == pytest.approx(70 / 169)
    assert (found.uploads, found.a_day) == (10_000, True)
    for one in (found.blocked, found.reviewed, found.missed, found.wrongly_blocked):
        assert one.value is not None
        assert one.low < one.value < one.high


def test_without_a_number_of_uploads_counts_are_of_a_thousand() -> None:
    found = operating_figures(*_normal(50, 50), Thresholds(0.3, 0.7), 0.5)
    assert (found.uploads, found.a_day) == (1_000, False)
    assert found.blocked.high <= 1_000
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert Estimate(**read["blocked"]) == found.blocked


def test_class_without_images_leaves_counts_unknown() -> None:
    labels = np.zeros(20, dtype=np.int8)
    found = operating_figures(labels, np.linspace(0, 0.9, 20), Thresholds(0.3, 0.7), 0.1)
    assert found.missed.value is None
    assert found.missed.low == 0.0
    assert found.missed.high == pytest.approx(100.0)
    assert found.blocked.value is None
    assert found.wrongly_blocked.value is not None


@_quick
@given(_pairs, st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.01, 0.99))
def test_every_upload_is_passed_reviewed_or_blocked(
    pairs: list[tuple[int, float]], one: float, two: float, prevalence: float
) -> None:
    labels = np.array([label for label, _ in pairs], dtype=np.int8)
    scores = np.array([score for _, score in pairs])
    thresholds = Thresholds(min(one, two), max(one, two))
    shares = band_shares(labels, scores, thresholds, prevalence)
    assert shares.blocked.value is not None
    assert shares.reviewed.value is not None
    assert 0 <= shares.blocked.value + shares.reviewed.value <= 1 + 1e-9
    assert (shares.wrongly_blocked.value or 0) <= shares.blocked.value + 1e-9
    assert (shares.missed.value or 0) <= prevalence + 1e-9


def test_every_printed_interval_covers_95_of_100_test_sets() -> None:
    ones, zeros, apart, prevalence = 200, 600, 2.5, 0.05
    labels = np.r_[np.ones(ones), np.zeros(zeros)].astype(np.int8)
    low, high = 0.9, 1.8
    review, block = (1 / (1 + np.exp(-cut)) for cut in (low, high))
    found_low, found_high = norm.sf(low - apart), norm.sf(high - apart)
    false_low, false_high = norm.sf(low), norm.sf(high)
    blocked = prevalence * found_high + (1 - prevalence) * false_high
    above = prevalence * found_low + (1 - prevalence) * false_low
    truth = {
        "recall": found_low,
        "rate": false_high,
        "precision": prevalence * found_high / blocked,
        "blocked": 1_000 * blocked,
        "reviewed": 1_000 * (above - blocked),
        "missed": 1_000 * prevalence * (1 - found_low),
        "wrongly blocked": 1_000 * (1 - prevalence) * false_high,
    }
    covered = dict.fromkeys(truth, 0)
    for seed in range(1_000):
        scores = sigmoid(np.random.default_rng(seed).normal(apart * labels, 1.0))
        found = operating_figures(labels, scores, Thresholds(review, block), prevalence)
        printed = {
            "recall": found.review.recall,
            "rate": found.block.false_positive_rate,
            "precision": found.block.precision,
            "blocked": found.blocked,
            "reviewed": found.reviewed,
            "missed": found.missed,
            "wrongly blocked": found.wrongly_blocked,
        }
        for name, one in printed.items():
            covered[name] += one.low <= truth[name] <= one.high
    assert {name: 930 <= times <= 970 for name, times in covered.items()} == dict.fromkeys(
        truth, True
    )
