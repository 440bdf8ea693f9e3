"""A look ahead along the learning curve holds what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keshikaran.head import fit_roughly, predict_proba
from keshikaran.learning_curve import LearningCurve, Sample, learning_curve, recall_at
from keshikaran.metrics import compute_metrics
from keshikaran.rows import take
from keshikaran.types import Float32Array, GroupId, LabelArray

_DIM = 60


def _images(count: int, seed: int) -> tuple[Float32Array, LabelArray]:
    """A third are objectionable; the classes overlap a little."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, _DIM))
    weights = np.linspace(1.0, 0.0, _DIM)
    logits = x @ weights + rng.logistic(size=count) - 2.0
    return x.astype(np.float32), (logits > 0).astype(np.int8)


def _sample(count: int, seed: int) -> Sample:
    x, y = _images(count, seed)
    teaches = np.arange(count) % 10 != 0
    groups = [GroupId(str(number)) for number in range(count)]
    return Sample(x, y, groups, teaches, np.ones(count, dtype=bool))


@pytest.fixture(scope="module")
def curve() -> LearningCurve:
    found = learning_curve(_sample(300, 0), 0.1, (100, 300))
    assert found is not None
    return found


def test_recall_by_hand() -> None:
    labels = np.array([1, 0, 1, 0, 0], dtype=np.int8)
    scores = np.array([0.9, 0.8, 0.7, 0.2, 0.1])
    # The first false alarm costs a third of the acceptable images.
    assert recall_at(0.34, labels, scores) == pytest.approx(1.0)
    assert recall_at(0.0001, labels, scores) == pytest.approx(0.5, abs=1e-3)


def test_points_rise_and_forecasts_go_on(curve: LearningCurve) -> None:
    for figure in (curve.recall, curve.roc_auc):
        labels = [point.labels for point in figure.points]
        assert labels == sorted(labels)
        assert figure.points[-1].value > figure.points[0].value
        near, far = figure.forecasts
        assert (near.more, far.more) == (100, 300)
        assert near.now <= near.then <= far.then <= 1.0
        for forecast in figure.forecasts:
            assert 0.0 <= forecast.low <= forecast.then <= forecast.high <= 1.0


def test_hint_is_no_shrug(curve: LearningCurve) -> None:
    far = curve.roc_auc.forecasts[-1]
    assert far.high - far.low < 0.15


def test_what_then_happens_lies_within_nine_times_in_ten() -> None:
    test_x, test_y = _images(4_000, 999)
    kept = []
    for seed in range(12):
        sample = _sample(600, seed)
        rows = np.arange(300)
        part = Sample(
            sample.features[rows],
            sample.labels[rows],
            list(sample.groups[:300]),
            sample.teaches[rows],
            sample.judges[rows],
        )
        found = learning_curve(part, 0.1, (300,))
        assert found is not None
        teaches = sample.teaches
        head = fit_roughly(sample.features[teaches], sample.labels[teaches], 0.1)
        then = compute_metrics(test_y, predict_proba(head, test_x), 0.5).roc_auc
        assert then is not None
        (forecast,) = found.roc_auc.forecasts
        kept.append(forecast.low <= then <= forecast.high)
    assert np.mean(kept) >= 0.9


def test_rate_is_one_that_the_images_can_speak_about(curve: LearningCurve) -> None:
    acceptable = curve.judged_on - curve.positives
    assert curve.false_positive_rate * acceptable >= 10


def test_few_images_get_no_curve() -> None:
    assert learning_curve(_sample(60, 0), 0.1, (100,)) is None
    sample = _sample(300, 0)
    nobody = np.zeros(300, dtype=bool)
    mute = Sample(sample.features, sample.labels, sample.groups, sample.teaches, nobody)
    assert learning_curve(mute, 0.1, (100,)) is None
    idle = Sample(sample.features, sample.labels, sample.groups, nobody, sample.judges)
    assert learning_curve(idle, 0.1, (100,)) is None


def test_copies_in_one_group_do_not_narrow_the_interval() -> None:
    sample = _sample(200, 3)
    twice = Sample(
        np.concatenate([sample.features] * 2),
        np.concatenate([sample.labels] * 2),
        [*sample.groups, *sample.groups],
        np.concatenate([sample.teaches] * 2),
        np.concatenate([sample.judges] * 2),
    )
    one, two = (learning_curve(s, 0.1, (100,)) for s in (sample, twice))
    assert one is not None
    assert two is not None
    widths = [p.high - p.low for p in (one.roc_auc.points[-1], two.roc_auc.points[-1])]
    assert widths[1] > 0.6 * widths[0]


def test_many_images_are_judged_with_fewer_heads() -> None:
    found = learning_curve(_sample(2_400, 4), 0.1, (300,))
    assert found is not None
    assert found.judged_on == 2_400
    assert found.to_dict()["roc_auc"]["forecasts"][0]["more"] == 300


def test_very_many_images_are_judged_by_a_third_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = learning_curve(_sample(2_400, 4), 0.1, (300,))
    monkeypatch.setattr("keshikaran.learning_curve._VERY_MANY", 2_000)
    found = learning_curve(_sample(2_400, 4), 0.1, (300,))
    assert usual is not None
    assert found is not None
    assert found.judged_on == 800
    assert found.labels == 2_400
    here, there = (curve.roc_auc.points for curve in (found, usual))
    assert [p.labels for p in here] == pytest.approx([p.labels for p in there], rel=0.01)
    assert all(one.low < other.value < one.high for one, other in zip(here, there, strict=True))


def test_a_table_too_large_to_copy_gives_the_same_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = _sample(300, 0)
    usual = learning_curve(sample, 0.1, (100,))
    monkeypatch.setattr("keshikaran.rows.COPIED_CELLS", 9)
    monkeypatch.setattr("keshikaran.rows.LARGE_CELLS", 9)
    monkeypatch.setattr("keshikaran.learning_curve._CELLS", 9)
    turned = np.ascontiguousarray(np.asarray(sample.features)[::-1])
    far = replace(sample, features=take(turned, np.arange(300)[::-1]))
    found = learning_curve(far, 0.1, (100,))
    assert usual is not None
    assert found is not None
    for one, other in zip(found.roc_auc.points, usual.roc_auc.points, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-4)
        assert one.low == pytest.approx(other.low, abs=1e-3)
