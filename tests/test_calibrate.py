"""A fitted head and a policy → scores that mean what they say, and thresholds that keep to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keshikaran.calibrate import CalibratedHead, LabelledRows, calibrate
from keshikaran.calibration import logits_of, prior_shift
from keshikaran.head import FitResult, fit_head, predict_proba
from keshikaran.metrics import expected_calibration_error
from keshikaran.out_of_fold import assign_folds, out_of_fold_scores
from keshikaran.policy import Policy
from keshikaran.types import GroupId

_WIDTH = 40
_TRUE = np.r_[np.full(5, 1.5), np.zeros(_WIDTH - 5)]


def _rows(count: int, seed: int, name: str = "i") -> LabelledRows:
    """Features with a known logit each: five columns speak, the rest is noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, _WIDTH)).astype(np.float32)
    chances = 1 / (1 + np.exp(-(features @ _TRUE - 1.5)))
    labels = (rng.random(count) < chances).astype(np.int8)
    return LabelledRows(features, labels, [GroupId(f"{name}{number}") for number in range(count)])


def _fitted(train: LabelledRows, validation: LabelledRows, c: float) -> FitResult:
    """A head that is hardly held back, so that it is too sure of itself."""
    return fit_head(train.features, train.labels, validation.features, validation.labels, grid=(c,))


@pytest.fixture(scope="module")
def sides() -> tuple[LabelledRows, LabelledRows]:
    """Few images for so many columns: an overfitted head."""
    return _rows(240, 1), _rows(80, 2, "v")


def _calibrated(
    sides: tuple[LabelledRows, LabelledRows], policy: Policy | None = None
) -> CalibratedHead:
    return calibrate(_fitted(*sides, 10.0), *sides, policy or Policy())


def test_an_overconfident_head_becomes_honest_on_new_images(
    sides: tuple[LabelledRows, LabelledRows],
) -> None:
    found = _calibrated(sides)
    new = _rows(20_000, 3)
    before = expected_calibration_error(new.labels, predict_proba(found.raw, new.features))
    after = expected_calibration_error(new.labels, predict_proba(found.head, new.features))
    assert found.choice.chosen.above < 1.0
    assert after < 0.7 * before


def test_calibration_reorders_no_images(sides: tuple[LabelledRows, LabelledRows]) -> None:
    found = _calibrated(sides)
    new = _rows(500, 4)
    raw, told = (predict_proba(head, new.features) for head in (found.raw, found.head))
    assert np.argsort(raw, kind="stable").tolist() == np.argsort(told, kind="stable").tolist()


def test_scores_assume_the_prevalence_of_the_policy(
    sides: tuple[LabelledRows, LabelledRows],
) -> None:
    usual, rare = _calibrated(sides), _calibrated(sides, Policy(prevalence=0.01))
    new = _rows(100, 5)
    gap = logits_of(predict_proba(usual.head, new.features)) - logits_of(
        predict_proba(rare.head, new.features)
    )
    assert gap == pytest.approx(prior_shift(0.01, usual.label_prevalence), abs=1e-6)
    assert (usual.prevalence, rare.prevalence) == (usual.label_prevalence, 0.01)
    assert rare.points.thresholds.review < usual.points.thresholds.review


def test_thresholds_are_chosen_on_images_that_the_head_did_not_learn_from(
    sides: tuple[LabelledRows, LabelledRows],
) -> None:
    found = _calibrated(sides)
    assert found.judges == 240 + 80
    assert found.note is None


def test_copies_vouch_for_nobody(sides: tuple[LabelledRows, LabelledRows]) -> None:
    train, validation = sides
    twice = LabelledRows(
        np.repeat(train.features, 2, axis=0),
        np.repeat(train.labels, 2),
        [group for group in train.groups for _ in range(2)],
    )
    fit = _fitted(train, validation, 10.0)
    told = calibrate(fit, twice, validation, Policy()).points.outcomes[0]
    alone = replace(twice, groups=[GroupId(f"x{number}") for number in range(480)])
    untold = calibrate(fit, alone, validation, Policy()).points.outcomes[0]
    assert told.observed.high - told.observed.low > untold.observed.high - untold.observed.low


def test_the_seeds_recipe_is_left_as_it_is(sides: tuple[LabelledRows, LabelledRows]) -> None:
    fit = replace(_fitted(*sides, 10.0), c=None)
    found = calibrate(fit, *sides, Policy())
    assert found.choice.chosen.kind == "none"
    assert found.head.weights.tolist() == fit.head.weights.tolist()
    assert found.judges == 80
    assert found.note == "The seed's recipe is left as it is."


def test_too_few_groups_to_leave_one_out_are_said(
    sides: tuple[LabelledRows, LabelledRows],
) -> None:
    train, validation = sides
    one = [GroupId("same") if label else GroupId(f"i{n}") for n, label in enumerate(train.labels)]
    found = calibrate(
        _fitted(train, validation, 10.0), replace(train, groups=one), validation, Policy()
    )
    assert found.choice.chosen.kind == "none"
    assert found.note == (
        "Scores are not calibrated: too few images of one label to leave a fold out."
    )
    assert found.judges == 80


def test_starting_near_the_answer_does_not_change_it() -> None:
    rows = _rows(600, 7)
    other = _rows(80, 8)
    sides = (rows.features, rows.labels, other.features, other.labels)
    fit = fit_head(*sides, grid=(0.1,), keep_ground=True)
    assert fit_head(*sides, grid=(0.1,)).ground is None
    assert fit.ground is not None
    folds = assign_folds(rows.groups, rows.labels)
    far = out_of_fold_scores(rows.features, rows.labels, folds, 0.1)
    near = out_of_fold_scores(rows.features, rows.labels, folds, 0.1, near=fit.head)
    known = out_of_fold_scores(
        rows.features, rows.labels, folds, 0.1, near=fit.head, ground=fit.ground
    )
    within = predict_proba(fit.head, rows.features)
    assert np.abs(near - far).max() < 2e-3
    assert np.abs(known - far).max() < 2e-3
    assert np.abs(near - within).max() > 0.05
