"""Figures by hand, against scikit-learn, and what must hold for any scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from keshikaran.curves import compute_curve
from keshikaran.evaluate import Terms, evaluate
from keshikaran.metrics import (
    Metrics,
    ScoredSet,
    compute_curves,
    compute_metrics,
    expected_calibration_error,
    log_loss,
)
from keshikaran.types import Float64Array, ImageId, LabelArray, Thresholds

Pairs = list[tuple[int, float]]

_pair = st.tuples(st.integers(0, 1), st.floats(0.0, 1.0))
_rough_pair = st.tuples(st.integers(0, 1), st.integers(0, 20).map(lambda n: n / 20))
_pairs = st.lists(_pair, min_size=1, max_size=40) | st.lists(_rough_pair, min_size=1, max_size=40)
_pairs_of_both = _pairs.filter(lambda pairs: {label for label, _ in pairs} == {0, 1})
_quick = settings(deadline=None, max_examples=50)


def _arrays(pairs: Pairs) -> tuple[LabelArray, Float64Array]:
    labels, scores = zip(*pairs, strict=True)
    return np.array(labels, dtype=np.int8), np.array(scores, dtype=np.float64)


def _overlapping(rows: int = 500) -> tuple[LabelArray, Float64Array]:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, rows).astype(np.int8)
    scores = np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0.001, 0.999)
    return labels, scores


# By hand


def test_figures_by_hand() -> None:
    y, p = _arrays([(1, 0.9), (1, 0.4), (0, 0.6), (0, 0.2), (0, 0.1)])
    found = compute_metrics(y, p, 0.5)
    assert found.confusion_matrix == [[2, 1], [1, 1]]
    assert (found.images, found.positives, found.threshold) == (5, 2, 0.5)
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.precision == pytest.approx(1 / 2)
    assert found.recall == pytest.approx(1 / 2)
    assert found.f1 == pytest.approx(1 / 2)
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)
    # Of the 6 pairs of one from each class, the model orders 5 rightly.
    assert found.roc_auc == pytest.approx(5 / 6)
    # Precision where each positive is found: 1/1 and 2/3.
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert found.brier_score == pytest.approx((0.01 + 0.36 + 0.36 + 0.04 + 0.01) / 5)
    logs = np.log([0.9, 0.4, 0.4, 0.8, 0.9])
    assert found.log_loss == pytest.approx(-logs.mean())


def test_score_at_the_threshold_counts_as_a_yes() -> None:
    y, p = _arrays([(1, 0.5), (0, 0.5)])
    assert compute_metrics(y, p, 0.5).confusion_matrix == [[0, 1], [0, 1]]


def test_calibration_error_by_hand() -> None:
    # Bins [0, .1): |0.05-0|; [.1, .2): |0.15-1|; [.9, 1]: |0.95+1.0-1|, each by its size of 4.
    y, p = _arrays([(0, 0.05), (1, 0.15), (1, 0.95), (0, 1.0)])
    assert expected_calibration_error(y, p) == pytest.approx((0.05 + 0.85 + 0.95) / 4)


def test_calibration_error_is_zero_when_scores_are_the_observed_shares() -> None:
    y, p = _arrays([(0, 0.25), (0, 0.25), (0, 0.25), (1, 0.25), (1, 0.75), (1, 0.75)])
    p[4:] = 1.0
    assert expected_calibration_error(y, p) == pytest.approx(0.0)


def test_number_of_calibration_bins_can_be_chosen() -> None:
    y, p = _arrays([(0, 0.4), (1, 0.6)])
    assert expected_calibration_error(y, p, bins=1) == pytest.approx(0.0)
    assert expected_calibration_error(y, p, bins=2) == pytest.approx(0.4)


def test_certain_and_wrong_scores_have_a_large_but_finite_loss() -> None:
    y, p = _arrays([(1, 0.0), (0, 1.0)])
    assert log_loss(y, p) == pytest.approx(-np.log(1e-15), rel=1e-3)


# Against scikit-learn


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.77, 1.0])
def test_figures_equal_those_of_scikit_learn(threshold: float) -> None:
    y, p = _overlapping()
    called = (p >= threshold).astype(int)
    found = compute_metrics(y, p, threshold)
    expected = {
        "roc_auc": sk.roc_auc_score(y, p),
        "average_precision": sk.average_precision_score(y, p),
        "log_loss": sk.log_loss(y, p),
        "brier_score": sk.brier_score_loss(y, p),
        "accuracy": sk.accuracy_score(y, called),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "precision": sk.precision_score(y, called, zero_division=0),
        "recall": sk.recall_score(y, called),
        "f1": sk.f1_score(y, called),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-12), name
    assert found.confusion_matrix == sk.confusion_matrix(y, called, labels=[0, 1]).tolist()


def test_curves_span_the_whole_range_and_hold_the_areas() -> None:
    y, p = _overlapping()
    curves = compute_curves(y, p)
    found = compute_metrics(y, p, 0.5)
    assert (curves.false_positive_rate[0], curves.true_positive_rate[0]) == (0.0, 0.0)
    assert (curves.false_positive_rate[-1], curves.true_positive_rate[-1]) == (1.0, 1.0)
    area = np.trapezoid(curves.true_positive_rate, curves.false_positive_rate)
    assert area == pytest.approx(found.roc_auc)
    steps = -np.diff(curves.recall) @ curves.precision[:-1]
    assert steps == pytest.approx(found.average_precision)


# One class only


def test_without_objectionable_images_there_is_no_curve_but_everything_else() -> None:
    y, p = _arrays([(0, 0.2), (0, 0.7)])
    found = compute_metrics(y, p, 0.5)
    assert (found.roc_auc, found.average_precision) == (None, None)
    assert (found.recall, found.precision, found.f1) == (0.0, 0.0, 0.0)
    assert found.accuracy == found.balanced_accuracy == 0.5
    assert found.confusion_matrix == [[1, 1], [0, 0]]


def test_without_acceptable_images_there_is_no_roc() -> None:
    y, p = _arrays([(1, 0.2), (1, 0.7)])
    found = compute_metrics(y, p, 0.5)
    assert found.roc_auc is None
    assert found.average_precision == 1.0
    assert (found.precision, found.recall, found.balanced_accuracy) == (1.0, 0.5, 0.5)
    assert found.confusion_matrix == [[0, 0], [1, 1]]


def test_figures_are_ready_for_json() -> None:
    found = compute_metrics(*_arrays([(0, 0.2), (0, 0.7)]), 0.5)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert Metrics(**read) == found
    assert list(read)[:3] == ["images", "positives", "roc_auc"]


# What must hold for any scores


@_quick
@given(_pairs, st.floats(0.0, 1.0))
def test_confusion_holds_each_image_once_and_figures_are_shares(
    pairs: Pairs, threshold: float
) -> None:
    y, p = _arrays(pairs)
    found = compute_metrics(y, p, threshold)
    (tn, fp), (fn, tp) = found.confusion_matrix
    assert tn + fp + fn + tp == len(pairs)
    assert tp + fn == found.positives
    assert found.accuracy == (tn + tp) / len(pairs)
    shares = [found.balanced_accuracy, found.precision, found.recall, found.f1, found.brier_score]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert 0.0 <= found.ece <= 1.0 + 1e-12
    assert found.log_loss >= 0.0


@_quick
@given(_pairs, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_higher_threshold_never_calls_more_images(pairs: Pairs, one: float, two: float) -> None:
    y, p = _arrays(pairs)
    low = compute_metrics(y, p, min(one, two))
    high = compute_metrics(y, p, max(one, two))
    assert high.confusion_matrix[0][1] <= low.confusion_matrix[0][1]
    assert high.confusion_matrix[1][1] <= low.confusion_matrix[1][1]
    assert high.recall <= low.recall


@_quick
@given(_pairs.flatmap(lambda pairs: st.tuples(st.just(pairs), st.permutations(pairs))))
def test_order_of_images_does_not_matter(orders: tuple[Pairs, Pairs]) -> None:
    one, two = (compute_metrics(*_arrays(pairs), 0.5).to_dict() for pairs in orders)
    assert one.pop("confusion_matrix") == two.pop("confusion_matrix")
    assert two == pytest.approx(one, abs=1e-9)


# The evaluation


def test_evaluation_measures_both_sides_at_the_block_threshold() -> None:
    y, p = _overlapping()
    ids = [ImageId(f"{number:064x}") for number in range(len(y))]
    validation = ScoredSet(ids[:200], y[:200], p[:200])
    test = ScoredSet(ids[200:], y[200:], p[200:])
    report = evaluate(validation, test, Terms(Thresholds(review=0.2, block=0.6), 0.3, 0.3))
    assert report.validation == compute_metrics(y[:200], p[:200], 0.6)
    assert report.test == compute_metrics(y[200:], p[200:], 0.6)
    assert report.test.images == 300
    assert report.test_set is test
    assert report.curve == compute_curve(y[200:], p[200:], 0.3)
