"""Curves and areas: by hand, against scikit-learn, and how sure they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from keshikaran.bootstrap import bootstrap, plan_resampling
from keshikaran.curves import compute_curve, cut_counts, recall_at, weighted_recall_at
from keshikaran.roc_area import roc_auc_estimate
from keshikaran.types import Float64Array, GroupId, LabelArray


def _arrays(pairs: list[tuple[int, float]]) -> tuple[LabelArray, Float64Array]:
    labels, scores = zip(*pairs, strict=True)
    return np.array(labels, dtype=np.int8), np.array(scores, dtype=np.float64)


def _normal(ones: int, zeros: int, apart: float, seed: int = 0) -> tuple[LabelArray, Float64Array]:
    labels = np.r_[np.ones(ones), np.zeros(zeros)].astype(np.int8)
    return labels, norm.cdf(np.random.default_rng(seed).normal(apart * labels, 1.0) - apart / 2)


# Cuts and curves


def test_cuts_lie_halfway_and_tell_all_there_is_to_tell() -> None:
    cuts, found, false = cut_counts(*_arrays([(1, 0.8), (0, 0.6), (1, 0.6), (0, 0.2)]))
    assert cuts.tolist() == pytest.approx([0.9, 0.7, 0.4, 0.1])
    assert found.tolist() == [0, 1, 2, 2]
    assert false.tolist() == [0, 0, 1, 2]


def test_no_cut_excludes_a_score_of_1_or_admits_more_than_all() -> None:
    cuts, found, false = cut_counts(*_arrays([(1, 1.0), (0, 0.0)]))
    assert cuts.tolist() == pytest.approx([1.0, 0.5, 0.0])
    assert (found.tolist(), false.tolist()) == ([1, 1, 1], [0, 0, 1])


def test_curve_by_hand() -> None:
    curve = compute_curve(*_arrays([(1, 0.9), (0, 0.7), (1, 0.5), (0, 0.1)]), 0.5)
    assert (curve.acceptable, curve.objectionable) == (2, 2)
    assert [(p.false_positives, p.found) for p in curve.points] == [
        (0, 0), (0, 1), (1, 1), (1, 2), (2, 2),
    ]  # fmt: skip
    assert [p.precision.value for p in curve.points] == pytest.approx([None, 1, 0.5, 2 / 3, 0.5])
    rare = compute_curve(*_arrays([(1, 0.9), (0, 0.7), (1, 0.5), (0, 0.1)]), 0.01)
    assert rare.points[-1].precision.value == pytest.approx(0.01)
    assert rare.points[2].recall == curve.points[2].recall


def test_long_curve_is_thinned_but_keeps_its_ends_and_its_strict_part() -> None:
    labels, scores = _normal(3_000, 9_000, 1.5)
    curve = compute_curve(labels, scores, 0.1)
    assert 100 < len(curve.points) <= 256
    assert (curve.points[0].false_positives, curve.points[0].found) == (0, 0)
    assert (curve.points[-1].false_positives, curve.points[-1].found) == (9_000, 3_000)
    assert sum(point.false_positives <= 9 for point in curve.points) >= 10
    cuts = [point.cut for point in curve.points]
    assert cuts == sorted(cuts, reverse=True)
    assert len(json.dumps(curve.to_dict(), allow_nan=False)) < 150_000


# Recall at a rate


def test_recall_at_a_rate_by_hand() -> None:
    pairs = [(0, number / 1000) for number in range(300)]
    labels, scores = _arrays([*pairs, (1, 0.9), (1, 0.2975), (1, 0.2945), (1, 0.1)])
    found = recall_at(labels, scores, 0.01)  # three of 300 may lie above
    assert found.recall.value == 0.5
    assert np.count_nonzero(scores[labels == 0] >= found.cut) == 3
    assert (found.supported, found.have, found.needed) == (True, 300, 299)
    assert found.recall.low <= 0.5 <= found.recall.high
    assert list(found.to_dict()) == ["rate", "cut", "recall", "supported", "have", "needed"]


def test_rate_that_the_images_cannot_show_is_not_supported() -> None:
    labels, scores = _normal(100, 300, 2.5)
    found = recall_at(labels, scores, 0.001)
    assert (found.supported, found.have, found.needed) == (False, 300, 2995)
    assert np.count_nonzero(scores[labels == 0] >= found.cut) == 0


def test_rate_that_no_cut_keeps_to_finds_nothing() -> None:
    found = recall_at(*_arrays([(0, 1.0), (1, 1.0), (1, 0.4)]), 0.1)
    assert (found.cut, found.recall.value) == (1.0, 0.0)


def test_groups_widen_the_interval_of_a_recall() -> None:
    once = _normal(50, 250, 2.0)
    labels, scores = np.repeat(once[0], 4), np.repeat(once[1], 4)
    groups = [GroupId(str(number // 4)) for number in range(len(labels))]
    alone, grouped = recall_at(labels, scores, 0.05), recall_at(labels, scores, 0.05, groups)
    assert grouped.recall.value == alone.recall.value
    wide, narrow = (one.recall.high - one.recall.low for one in (grouped, alone))
    assert wide > 1.3 * narrow


def test_recall_at_a_rate_covers_the_truth() -> None:
    truth, covered = norm.sf(norm.isf(0.05) - 2.0), 0
    for seed in range(300):
        labels, scores = _normal(200, 600, 2.0, seed)
        drawn = bootstrap(weighted_recall_at(labels, scores, 0.05), plan_resampling(labels), 300)
        low, high = np.quantile(drawn, [0.025, 0.975])
        covered += low <= truth <= high
    assert 0.92 <= covered / 300 <= 0.985


# Area


def test_area_equals_that_of_scikit_learn_with_ties() -> None:
    labels, scores = _normal(80, 220, 1.0)
    rough = np.round(scores, 1)
    assert roc_auc_estimate(labels, rough).value == pytest.approx(roc_auc_score(labels, rough))


def test_classes_that_lie_apart_do_not_make_the_area_certain() -> None:
    labels, scores = _arrays([(1, 0.9), (1, 0.8), (1, 0.7), (0, 0.3), (0, 0.2), (0, 0.1)])
    found = roc_auc_estimate(labels, scores)
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.4 < found.low < 0.8
    turned = roc_auc_estimate(labels, 1 - scores)
    assert (turned.value, turned.low) == (0.0, 0.0)
    assert turned.high == pytest.approx(1 - found.low)


def test_area_of_one_image_each_is_as_good_as_unknown() -> None:
    found = roc_auc_estimate(*_arrays([(1, 0.4), (0, 0.4)]))
    assert found.value == 0.5
    assert found.low < 0.1
    assert found.high > 0.9


@pytest.mark.parametrize(("ones", "zeros", "apart"), [(83, 295, 2.5), (100, 300, 1.5)])
def test_interval_of_the_area_covers_95_of_100(ones: int, zeros: int, apart: float) -> None:
    truth = norm.cdf(apart / np.sqrt(2))
    found = [roc_auc_estimate(*_normal(ones, zeros, apart, seed)) for seed in range(1_000)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.93 <= covered <= 0.97
