"""Resampling: what is drawn together, that it is repeatable, fast, and covers the truth."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from keshikaran.bootstrap import (
    bootstrap,
    bootstrap_estimate,
    difference,
    plan_resampling,
    resamples_for,
)
from keshikaran.intervals import wilson
from keshikaran.types import Float64Array, GroupId, LabelArray
from keshikaran.weighted_figures import (
    weighted_average_precision,
    weighted_mean,
    weighted_roc_auc,
    weighted_share,
)


def _sample(seed: int = 0, ones: int = 100, zeros: int = 300) -> tuple[LabelArray, Float64Array]:
    labels = np.r_[np.ones(ones), np.zeros(zeros)].astype(np.int8)
    return labels, np.random.default_rng(seed).normal(1.5 * labels, 1.0)


def test_weights_count_as_if_images_were_repeated() -> None:
    labels, scores = _sample(ones=20, zeros=30)
    scores = np.round(scores, 1)  # with ties
    weights = np.random.default_rng(1).integers(0, 4, len(labels))
    row = weights[None, :].astype(np.float64)
    repeated = np.repeat(labels, weights), np.repeat(scores, weights)
    area = weighted_roc_auc(labels, scores)(row)
    assert area[0] == pytest.approx(roc_auc_score(*repeated))
    average = weighted_average_precision(labels, scores)(row)
    assert average[0] == pytest.approx(average_precision_score(*repeated))
    assert weighted_mean(scores)(row)[0] == pytest.approx(repeated[1].mean())
    share = weighted_share((scores > 1.0).astype(np.float64), labels.astype(np.float64))(row)
    assert share[0] == pytest.approx((repeated[1] > 1.0)[repeated[0] == 1].mean())


def test_large_test_sets_are_resampled_as_small_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores = _sample()
    plan, mean = plan_resampling(labels), weighted_mean(scores)
    kept = bootstrap(mean, plan, 50)
    monkeypatch.setattr("keshikaran.bootstrap._KEPT_CELLS", 0)  # drawn anew, not kept
    monkeypatch.setattr("keshikaran.bootstrap._CELLS", 1)  # one resample at a time
    np.testing.assert_allclose(bootstrap(mean, plan, 50), kept, rtol=1e-12)


def test_figure_of_a_class_that_was_not_drawn_is_not_defined() -> None:
    labels, scores = _sample(ones=2, zeros=2)
    only_zeros = np.array([[0.0, 0.0, 1.0, 3.0]])
    for figure in (weighted_roc_auc, weighted_average_precision):
        assert np.isnan(figure(labels, scores)(only_zeros)).all()


def test_resamples_are_as_many_images_with_another_mix_each_time() -> None:
    labels, _ = _sample()
    mixes: list[float] = []

    def ones_and_all(weights: Float64Array) -> Float64Array:
        mixes.extend((weights @ labels).tolist())
        drawn: Float64Array = weights.sum(axis=1)
        return drawn

    assert set(bootstrap(ones_and_all, plan_resampling(labels), 2_000)) == {400.0}
    assert np.mean(mixes) == pytest.approx(100, abs=1)
    assert np.std(mixes) == pytest.approx(np.sqrt(400 * 0.25 * 0.75), rel=0.1)


def test_groups_are_drawn_whole() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 1], dtype=np.int8)
    groups = [GroupId(name) for name in "aabccdee"]

    def same_within(weights: Float64Array) -> Float64Array:
        assert (weights[:, 0] == weights[:, 1]).all()
        assert (weights[:, 3] == weights[:, 4]).all()
        assert (weights[:, 6] == weights[:, 7]).all()
        drawn: Float64Array = weights.sum(axis=1)
        return drawn

    plan = plan_resampling(labels, groups)
    assert (plan.clusters, plan.rarer) == (5, 3)  # a, b and e; c, d and e
    assert len(bootstrap(same_within, plan, 50)) == 50


def test_many_images_take_fewer_resamples_and_one_takes_some() -> None:
    assert [resamples_for(images) for images in (1, 400, 8_000, 20_000, 10**6)] == [
        2_000, 2_000, 1_000, 400, 400,
    ]  # fmt: skip


def test_interval_of_a_share_stays_within_0_and_1_and_that_of_a_loss_above_0() -> None:
    labels, scores = _sample(ones=8, zeros=20, seed=3)
    plan = plan_resampling(labels)
    area = bootstrap_estimate(weighted_roc_auc(labels, scores), plan, scale="share")
    assert area.value is not None
    assert 0.0 < area.low < area.value < area.high < 1.0
    assert area.value - area.low > area.high - area.value  # there is more room below
    loss = bootstrap_estimate(
        weighted_mean(0.9 * labels.astype(np.float64)), plan, scale="positive"
    )
    assert loss.value is not None
    assert 0.0 < loss.low < loss.value < loss.high


def test_perfect_figure_is_not_taken_for_certain() -> None:
    labels = np.r_[np.ones(20), np.zeros(80)].astype(np.int8)
    plan = plan_resampling(labels)
    statistic = weighted_average_precision(labels, labels.astype(np.float64))
    found = bootstrap_estimate(statistic, plan, scale="share")
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(wilson(20, 20).low)


def test_copies_do_not_make_a_figure_surer() -> None:
    labels, scores = _sample(ones=25, zeros=75)
    four = np.repeat(labels, 4), np.repeat(scores, 4)
    groups = [GroupId(str(number // 4)) for number in range(400)]
    once = bootstrap_estimate(weighted_roc_auc(labels, scores), plan_resampling(labels))
    grouped = bootstrap_estimate(weighted_roc_auc(*four), plan_resampling(four[0], groups))
    naive = bootstrap_estimate(weighted_roc_auc(*four), plan_resampling(four[0]))
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low, rel=0.15)
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


def test_same_seed_same_interval_and_order_of_work_does_not_matter() -> None:
    labels, scores = _sample()
    plan = plan_resampling(labels)
    one, two = (bootstrap(weighted_roc_auc(labels, scores), plan, 200, seed=4) for _ in range(2))
    assert one.tolist() == two.tolist()
    other = bootstrap(weighted_roc_auc(labels, scores), plan, 200, seed=5)
    assert one.tolist() != other.tolist()


def test_paired_difference_of_like_models_is_surer_than_each() -> None:
    labels, scores = _sample()
    like = scores + np.random.default_rng(9).normal(0, 0.05, len(scores))
    plan = plan_resampling(labels)
    area, twin = weighted_roc_auc(labels, scores), weighted_roc_auc(labels, like)
    gap, alone = bootstrap_estimate(difference(area, twin), plan), bootstrap_estimate(area, plan)
    assert gap.low < 0 < gap.high
    assert gap.high - gap.low < 0.2 * (alone.high - alone.low)
    nothing = bootstrap_estimate(difference(area, area), plan)
    assert (nothing.value, nothing.low, nothing.high) == (0.0, 0.0, 0.0)


def test_share_that_no_resample_defines_has_no_interval() -> None:
    labels, _ = _sample()
    nothing = np.zeros(len(labels))
    found = bootstrap_estimate(weighted_share(nothing, nothing), plan_resampling(labels))
    assert (found.value, found.low, found.high) == (None, float("-inf"), float("inf"))
    share = weighted_share(nothing, nothing)
    bounded = bootstrap_estimate(share, plan_resampling(labels), scale="share")
    assert (bounded.value, bounded.low, bounded.high) == (None, 0.0, 1.0)


def test_two_thousand_resamples_of_400_images_take_well_under_a_second() -> None:
    labels, scores = _sample()
    started = time.process_time()
    bootstrap_estimate(weighted_roc_auc(labels, scores), plan_resampling(labels))
    assert time.process_time() - started < 1.0


def test_bootstrap_of_a_share_covers_95_of_100() -> None:
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(400):
        labels = np.r_[np.ones(200), np.zeros(100)].astype(np.int8)
        hit = (rng.random(300) < 0.8).astype(np.float64)
        share = weighted_share(hit, labels.astype(np.float64))
        plan = plan_resampling(labels)
        found = bootstrap_estimate(share, plan, scale="share", resamples=400)
        covered += found.low <= 0.8 <= found.high
    assert 0.92 <= covered / 400 <= 0.98
