"""Calibration: on logits whose truth is known, and what must hold for any logits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.calibration import (
    UNCHANGED,
    CalibrationMap,
    choose_calibration,
    fit_beta,
    fit_platt,
    fold_into,
    logits_of,
    prior_shift,
)
from keshikaran.calibration_figures import (
    brier_parts,
    calibration_figures,
    compare_calibration,
    ece_by_chance,
    reliability_curve,
)
from keshikaran.head import Head, decision_function, sigmoid
from keshikaran.metrics import expected_calibration_error, log_loss
from keshikaran.types import Float64Array, IntArray, LabelArray

_quick = settings(deadline=None, max_examples=50)
_shares = st.floats(0.001, 0.999)
_few = st.lists(st.tuples(st.integers(0, 1), st.floats(-30, 30)), min_size=2, max_size=30).filter(
    lambda pairs: {label for label, _ in pairs} == {0, 1}
)


def _known(images: int, seed: int) -> tuple[LabelArray, Float64Array]:
    """Labels drawn from known logits, about three in ten objectionable."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2.0, 3.0, images)
    return (rng.random(images) < sigmoid(logits)).astype(np.int8), logits


def _folds(images: int) -> IntArray:
    return np.arange(images, dtype=np.int64) % 5


def _bent(logits: Float64Array) -> Float64Array:
    return np.where(logits > 0, 3.0 * logits, 0.6 * logits)


# Where the truth is known


@pytest.mark.parametrize("kind", ["platt", "beta"])
@pytest.mark.parametrize(("slope", "shift"), [(2.5, 1.0), (0.4, -1.0), (1.0, 2.0)])
def test_calibrated_scores_are_probabilities_again(kind: str, slope: float, shift: float) -> None:
    labels, logits = _known(4_000, 1)
    fit = {"platt": fit_platt, "beta": fit_beta}[kind]
    fitted = fit(slope * logits + shift, labels)
    fresh, known = _known(20_000, 2)
    before = sigmoid(slope * known + shift)
    after = fitted.probabilities(slope * known + shift)
    assert expected_calibration_error(fresh, before) > 0.04
    assert expected_calibration_error(fresh, after) <= 0.015
    assert log_loss(fresh, after) == pytest.approx(log_loss(fresh, sigmoid(known)), abs=0.002)


def test_platt_finds_the_map_itself() -> None:
    labels, logits = _known(20_000, 3)
    found = fit_platt((logits - 1.0) / 2.0, labels)
    assert found.affine
    assert found.above == pytest.approx(2.0, abs=0.1)
    assert found.shift == pytest.approx(1.0, abs=0.1)


def test_calibrated_scores_stay_as_they_are_within_noise() -> None:
    labels, logits = _known(20_000, 4)
    for found in (fit_platt(logits, labels), fit_beta(logits, labels)):
        assert found.probabilities(logits) == pytest.approx(sigmoid(logits), abs=0.02)


def test_beta_straightens_what_platt_cannot() -> None:
    labels, logits = _known(4_000, 5)
    chosen = choose_calibration(_bent(logits), labels, _folds(4_000))
    assert chosen.chosen.kind == "beta"
    assert not chosen.chosen.affine
    assert chosen.log_loss["beta"] < chosen.log_loss["platt"] < chosen.log_loss["none"]
    fresh, known = _known(20_000, 6)
    beta = chosen.chosen.probabilities(_bent(known))
    platt = fit_platt(_bent(logits), labels).probabilities(_bent(known))
    assert log_loss(fresh, beta) < log_loss(fresh, platt) - 0.002


@pytest.mark.parametrize("seed", range(5))
def test_without_a_clear_gain_the_map_fits_into_the_head(seed: int) -> None:
    labels, logits = _known(2_000, 10 + seed)
    chosen = choose_calibration(1.7 * logits + 0.5, labels, _folds(2_000))
    assert chosen.chosen.kind == "platt"
    assert chosen.chosen.affine
    read = json.loads(json.dumps(chosen.to_dict()))
    assert read["chosen"]["kind"] == "platt"
    assert set(read["log_loss"]) == {"none", "platt", "beta"}


def test_map_that_only_hurts_is_left_out() -> None:
    labels, logits = _known(400, 15)
    folds = labels.astype(np.int64)  # a map learns one class only, and fails on the other
    chosen = choose_calibration(logits, labels, folds)
    assert chosen.chosen == UNCHANGED
    assert chosen.log_loss["none"] < chosen.log_loss["platt"]
    assert chosen.chosen.logits(logits) is not logits
    assert chosen.chosen.probabilities(logits) == pytest.approx(sigmoid(logits))


def test_few_images_and_rare_classes_give_no_wild_map() -> None:
    labels = np.array([1, 0, 0, 0], dtype=np.int8)
    logits = np.array([3.0, -2.0, -3.0, -4.0])
    for found in (fit_platt(logits, labels), fit_beta(logits, labels)):
        scores = found.probabilities(logits)
        assert ((scores > 0.01) & (scores < 0.99)).all()


def test_scores_that_are_the_wrong_way_round_are_not_turned() -> None:
    labels, logits = _known(2_000, 7)
    for found in (fit_platt(-logits, labels), fit_beta(-logits, labels)):
        assert (found.below, found.above) == (0.0, 0.0)
        assert found.probabilities(logits) == pytest.approx(labels.mean(), abs=0.01)


def test_beta_gives_up_a_side_that_would_fall() -> None:
    labels, logits = _known(4_000, 8)
    folded = np.where(logits > 0, -logits, logits)  # what is surely objectionable looks harmless
    found = fit_beta(np.where(logits > 1, logits, -np.abs(folded)), labels)
    assert min(found.below, found.above) >= 0.0
    mirrored = fit_beta(np.where(logits < -1, logits, np.abs(folded)), labels)
    assert min(mirrored.below, mirrored.above) >= 0.0


# What must hold for any scores


@_quick
@given(_few)
def test_no_image_overtakes_another(pairs: list[tuple[int, float]]) -> None:
    labels = np.array([label for label, _ in pairs], dtype=np.int8)
    logits = np.array([logit for _, logit in pairs])
    order = np.sort(logits)
    for found in (fit_platt(logits, labels), fit_beta(logits, labels)):
        mapped = found.probabilities(order)
        assert np.isfinite(mapped).all()
        assert (np.diff(mapped) >= -1e-12).all()


@_quick
@given(_shares, _shares, st.floats(-10, 10))
def test_prevalence_there_and_back_is_where_it_was(one: float, two: float, logit: float) -> None:
    there = CalibrationMap("platt", 1.5, 1.5, 0.2).at_prevalence(one, two)
    back = there.at_prevalence(two, one)
    assert back.shift == pytest.approx(0.2, abs=1e-9)
    assert prior_shift(one, two) == pytest.approx(-prior_shift(two, one))
    logits = np.array([logit])
    assert back.logits(logits)[0] == pytest.approx(1.5 * logit + 0.2, abs=1e-9)


@_quick
@given(st.floats(0.0, 1.0))
def test_logits_and_scores_are_two_words_for_one_thing(score: float) -> None:
    logit = logits_of(np.array([score]))
    assert abs(logit[0]) < 36.1
    assert sigmoid(logit)[0] == pytest.approx(score, abs=1e-12)


# Prevalence


def test_scores_are_probabilities_under_the_declared_prevalence() -> None:
    labels, logits = _known(40_000, 9)
    known = float(labels.mean())
    rng = np.random.default_rng(0)
    ones, zeros = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    rare = np.r_[rng.choice(ones, 600), rng.choice(zeros, 19_400)]  # 3 in 100
    moved = UNCHANGED.at_prevalence(known, 0.03).probabilities(logits[rare])
    assert moved.mean() == pytest.approx(0.03, abs=0.003)
    assert expected_calibration_error(labels[rare], moved) <= 0.005
    assert expected_calibration_error(labels[rare], sigmoid(logits[rare])) > 0.05


# Folding into the head


def test_head_with_the_map_folded_in_gives_calibrated_logits() -> None:
    head = Head(np.array([0.5, -2.0]), 0.3)
    features = np.random.default_rng(0).normal(size=(20, 2))
    calibration = CalibrationMap("platt", 1.4, 1.4, -0.2).at_prevalence(0.3, 0.01)
    folded = decision_function(fold_into(head, calibration), features)
    assert folded == pytest.approx(calibration.logits(decision_function(head, features)))


def test_head_with_a_map_of_two_slopes_is_bent() -> None:
    head = Head(np.array([0.5, -2.0]), 0.3)
    features = np.random.default_rng(0).normal(size=(20, 2))
    calibration = CalibrationMap("beta", 0.5, 2.0, -0.2).at_prevalence(0.3, 0.01)
    folded = decision_function(fold_into(head, calibration), features)
    assert folded == pytest.approx(calibration.logits(decision_function(head, features)))


# Figures


def test_parts_of_the_brier_score_add_up() -> None:
    labels, logits = _known(3_000, 11)
    for scores in (sigmoid(logits), sigmoid(2 * logits + 1), np.round(sigmoid(logits), 1)):
        parts = brier_parts(labels, scores)
        assert parts.score == pytest.approx(np.mean((scores - labels) ** 2))
        total = parts.miscalibration - parts.discrimination + parts.uncertainty
        assert parts.score == pytest.approx(total)
        assert parts.miscalibration >= -1e-12
        assert -1e-12 <= parts.discrimination <= parts.uncertainty


def test_parts_of_the_brier_score_by_hand() -> None:
    labels = np.array([0, 0, 0, 1], dtype=np.int8)
    flat = brier_parts(labels, np.full(4, 0.5))
    assert (flat.score, flat.uncertainty) == (0.25, 0.1875)
    assert flat.miscalibration == pytest.approx(0.0625)
    assert flat.discrimination == pytest.approx(0.0)
    sure = brier_parts(labels, labels.astype(np.float64))
    assert (sure.score, sure.miscalibration, sure.discrimination) == (0.0, 0.0, 0.1875)


def test_error_by_chance_is_what_exact_probabilities_show() -> None:
    errors = []
    for seed in range(40):
        labels, logits = _known(400, seed)
        errors.append(expected_calibration_error(labels, sigmoid(logits)))
    chance = ece_by_chance(sigmoid(_known(400, 99)[1]))
    assert chance == pytest.approx(np.mean(errors), rel=0.15)
    assert chance > 0.02
    assert ece_by_chance(sigmoid(_known(40_000, 99)[1]), rounds=20) < 0.006


def test_reliability_curve_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1], dtype=np.int8)
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    low, high = reliability_curve(labels, scores, bins=2)
    assert (low.low, low.high, low.images) == (0.1, 0.3, 3)
    assert low.mean_score == pytest.approx(0.2)
    assert low.observed.value == 0.0
    assert high.mean_score == pytest.approx(0.8)
    assert high.observed.value == 1.0


def test_equal_scores_share_a_bin() -> None:
    labels, _ = _known(100, 12)
    only = reliability_curve(labels, np.full(100, 0.3))
    assert [part.images for part in only] == [100]
    assert only[0].observed.value == pytest.approx(labels.mean())


def test_reliability_of_exact_probabilities_lies_within_its_intervals() -> None:
    labels, logits = _known(20_000, 13)
    parts = reliability_curve(labels, sigmoid(logits))
    assert sum(part.images for part in parts) == 20_000
    assert [part.low for part in parts] == sorted(part.low for part in parts)
    inside = [part.observed.low <= part.mean_score <= part.observed.high for part in parts]
    assert sum(inside) >= 9


def test_report_holds_both_sides_and_is_ready_for_json() -> None:
    labels, logits = _known(2_000, 14)
    before, after = sigmoid(3 * logits), sigmoid(logits)
    report = compare_calibration(labels, before, after)
    assert report.after == calibration_figures(labels, after)
    assert report.after.ece < report.before.ece
    assert report.after.brier.miscalibration < report.before.brier.miscalibration
    assert report.after.brier.discrimination == pytest.approx(report.before.brier.discrimination)
    read = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert read["before"]["images"] == 2_000
    assert len(read["after"]["reliability"]) == 10
