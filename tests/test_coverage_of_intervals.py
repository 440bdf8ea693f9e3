"""95% intervals hold the truth about 95 times in 100; benchmarks/coverage.py asks 1,000 times."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from keshikaran.bootstrap import Scale, Statistic, bootstrap_estimate, plan_resampling
from keshikaran.calibration_interval import calibration_error_estimate, kumar_estimate
from keshikaran.curves import weighted_recall_at
from keshikaran.intervals import Estimate, wilson
from keshikaran.metrics import expected_calibration_error, log_losses
from keshikaran.paired import paired_shares
from keshikaran.types import Float64Array, GroupId, LabelArray
from keshikaran.weighted_figures import (
    weighted_average_precision,
    weighted_balanced_accuracy,
    weighted_f1,
    weighted_mean,
)

_SHARE, _APART, _SETS = 0.18, math.sqrt(2) * norm.ppf(0.98), 200


def _drawn(images: int, seed: int, sharpness: float = 1.0) -> tuple[LabelArray, Float64Array]:
    """Labels and scores of a model with an area of .98."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(images) < _SHARE).astype(np.int8)
    evidence = _APART * rng.normal(_APART * labels) - _APART**2 / 2
    prior = math.log(_SHARE / (1 - _SHARE))
    return labels, np.asarray(expit(sharpness * (prior + evidence)), dtype=np.float64)


def _figures(labels: LabelArray, scores: Float64Array) -> dict[str, tuple[Statistic, Scale]]:
    called = scores >= 0.5
    return {
        "average precision": (weighted_average_precision(labels, scores), "share"),
        "log-loss": (weighted_mean(log_losses(labels, scores)), "positive"),
        "Brier score": (weighted_mean((scores - labels) ** 2), "positive"),
        "balanced accuracy": (weighted_balanced_accuracy(labels, called), "share"),
        "F1": (weighted_f1(labels, called), "share"),
    }


@pytest.mark.parametrize("name", [*_figures(*_drawn(10, 0))])
def test_resampled_intervals_cover_the_truth(name: str) -> None:
    statistic, _ = _figures(*_drawn(300_000, 1))[name]
    truth, covered = float(statistic(np.ones((1, 300_000)))[0]), 0
    for seed in range(_SETS):
        labels, scores = _drawn(400, 100 + seed)
        statistic, scale = _figures(labels, scores)[name]
        plan = plan_resampling(labels)
        found = bootstrap_estimate(statistic, plan, scale=scale, resamples=200)
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / _SETS <= 0.99


def test_interval_of_recall_at_a_rate_covers_the_truth() -> None:
    truth, covered = 1 - norm.cdf(norm.ppf(0.95) - _APART), 0
    for seed in range(_SETS):
        labels, scores = _drawn(400, 100 + seed)
        statistic = weighted_recall_at(labels, scores, 0.05)
        plan = plan_resampling(labels)
        found = bootstrap_estimate(statistic, plan, scale="arc", resamples=200)
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / _SETS <= 0.99


@pytest.mark.parametrize("truth", [0.01, 0.05, 0.1, 0.3])
def test_interval_of_a_share_covers_the_truth_of_test_sets_of_changing_size(truth: float) -> None:
    rng = np.random.default_rng(2)
    sets, covered = 4_000, 0
    for whole in rng.binomial(400, _SHARE, sets):
        found = wilson(int(rng.binomial(whole, truth)), int(whole))
        covered += found.low <= truth <= found.high
    assert 0.935 <= covered / sets <= 0.97


@pytest.mark.parametrize(("images", "up", "down"), [(72, 0.025, 0.025), (328, 0.012, 0.012),
                                                    (328, 0.03, 0.01)])  # fmt: skip
def test_interval_of_a_difference_covers_the_truth_where_few_images_move(
    images: int, up: float, down: float
) -> None:
    rng = np.random.default_rng(3)
    sets, covered = 500, 0
    for _ in range(sets):
        draw = rng.random(images)
        old = (draw >= up).astype(np.float64)
        new = ((draw < up) | (draw >= up + down)).astype(np.float64)
        found = paired_shares(old, new).difference
        covered += found.low <= up - down <= found.high
    assert 0.93 <= covered / sets <= 0.98


@pytest.mark.parametrize("sharpness", [0.7, 1.0, 2.0])
def test_interval_of_the_calibration_error_covers_the_truth(sharpness: float) -> None:
    exact = sharpness == 1.0
    truth = 0.0 if exact else expected_calibration_error(*_drawn(300_000, 1, sharpness))
    found, sets = [], 60
    for seed in range(sets):
        labels, scores = _drawn(400, 100 + seed, sharpness)
        found.append(calibration_error_estimate(labels, scores, plan_resampling(labels)))
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.90


def test_chance_is_taken_off_the_calibration_error() -> None:
    plain, kumar, debiased = [], [], []
    for seed in range(25):
        labels, scores = _drawn(400, 300 + seed)
        plan = plan_resampling(labels)
        plain.append(expected_calibration_error(labels, scores))
        kumar.append(kumar_estimate(labels, scores, plan))
        debiased.append(calibration_error_estimate(labels, scores, plan).value or 0.0)
    assert np.mean(plain) > 0.017  # of exact probabilities
    assert np.mean(debiased) < np.mean(kumar) < np.mean(plain)
    assert np.mean(debiased) < 0.01


def test_calibration_error_of_exact_probabilities_may_be_0_and_is_never_shown_as_sure() -> None:
    labels, scores = _drawn(400, 5)
    found = calibration_error_estimate(labels, scores, plan_resampling(labels))
    assert (found.value or 0.0) < expected_calibration_error(labels, scores)
    assert found.low < 0.002
    assert 0.01 < found.high < 0.06


def test_calibration_error_that_is_large_is_seen_as_such() -> None:
    labels, _ = _drawn(400, 6)
    wrong = np.full(400, 0.65)
    found = calibration_error_estimate(labels, wrong, plan_resampling(labels))
    assert found.low > 0.3
    assert found.value == pytest.approx(expected_calibration_error(labels, wrong), rel=0.02)


def test_calibration_error_of_0_has_room_above_only() -> None:
    labels = np.array([0, 1] * 20, dtype=np.int8)
    found = calibration_error_estimate(labels, np.full(40, 0.5), plan_resampling(labels))
    assert isinstance(found, Estimate)
    assert (found.value, found.low) == (0.0, 0.0)
    assert 0.05 < found.high < 0.3


def test_copies_do_not_make_the_calibration_error_surer() -> None:
    labels, scores = _drawn(300, 8)
    once = calibration_error_estimate(labels, scores, plan_resampling(labels))
    groups = [GroupId(str(number // 4)) for number in range(1_200)]
    copied = np.repeat(labels, 4), np.repeat(scores, 4)
    grouped = calibration_error_estimate(*copied, plan_resampling(copied[0], groups))
    assert grouped.high == pytest.approx(once.high, rel=0.15)
    assert grouped.value == pytest.approx(once.value, abs=0.004)
