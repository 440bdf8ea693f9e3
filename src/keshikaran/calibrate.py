"""A fitted head and the policy → a head whose scores are probabilities, and its two thresholds.

Calibration is fitted on scores of training images by heads that never saw them. Thresholds are
chosen on the same images and the validation images, none of which the deciding head was fitted on.
Where the training images taught the network too, no head has not seen them: both are done on the
validation images alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keshikaran.calibration import (
    UNCHANGED,
    CalibrationChoice,
    choose_calibration,
    fold_into,
    logits_of,
)
from keshikaran.head import FitResult, Head, decision_function, predict_proba
from keshikaran.operating_points import OperatingPoints, choose_operating_points
from keshikaran.out_of_fold import DEFAULT_FOLDS, assign_folds, out_of_fold_scores
from keshikaran.policy import Policy
from keshikaran.rows import Features
from keshikaran.types import Float64Array, GroupId, LabelArray


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Images of one side.

    Attributes:
        features: float32 [n, D], the first view of each.
        labels: int8 [n].
        groups: of near-duplicates, [n].
    """

    features: Features
    labels: LabelArray
    groups: Sequence[GroupId]


@dataclass(frozen=True, slots=True)
class CalibratedHead:
    """A head whose scores mean what they say.

    Attributes:
        head: gives probabilities under `prevalence`.
        raw: the same as it was fitted.
        choice: the map between them, before the move to another prevalence.
        label_prevalence: share of objectionable images among those it was fitted on.
        prevalence: share of objectionable images among uploads that scores assume.
        points: the two thresholds, and what became of the policy's demands.
        judges: images that the thresholds were chosen on.
        note: why nothing was calibrated, in words; None where it was.
    """

    head: Head
    raw: Head
    choice: CalibrationChoice
    label_prevalence: float
    prevalence: float
    points: OperatingPoints
    judges: int
    note: str | None = None


def calibrate(
    fit: FitResult,
    train: LabelledRows,
    validation: LabelledRows,
    policy: Policy,
    *,
    taught: bool = False,
) -> CalibratedHead:
    """Calibrate a head, move it to the policy's prevalence, and choose the thresholds.

    Args:
        fit: fitted on `train`. Without a regularisation strength (the seed's recipe) it is left
            as it is, and thresholds are chosen on `validation` alone.
        train: the images that taught, both labels present.
        validation: the images that chose the settings, both labels present.
        policy: what is asked.
        taught: whether `train` taught the network itself.
    """
    usual = float(train.labels.mean())
    prevalence = usual if policy.prevalence is None else policy.prevalence
    known = usual
    if taught and fit.c is not None:
        choice, unseen, note = _choose_unseen(fit, validation)
        known = usual if note else float(validation.labels.mean())
    else:
        choice, unseen, note = _choose(fit, train)
    head = fold_into(fit.head, choice.chosen.at_prevalence(known, prevalence))
    labels, groups = [validation.labels], [*validation.groups]
    scores = [predict_proba(head, validation.features)]
    if unseen is not None:
        moved = choice.chosen.at_prevalence(known, prevalence)
        scores.append(moved.probabilities(unseen))
        labels.append(train.labels)
        groups += train.groups
    all_labels, all_scores = np.concatenate(labels), np.concatenate(scores)
    points = choose_operating_points(all_labels, all_scores, policy, prevalence, groups)
    return CalibratedHead(head, fit.head, choice, known, prevalence, points, len(all_labels), note)


def _choose_unseen(
    fit: FitResult, validation: LabelledRows
) -> tuple[CalibrationChoice, None, str | None]:
    """The map from validation images, of which the network knows no labels."""
    if min(np.bincount(validation.labels, minlength=2)) < DEFAULT_FOLDS:
        few = f"fewer than {DEFAULT_FOLDS} validation images of one label"
        return CalibrationChoice(UNCHANGED, {}), None, f"Scores are not calibrated: {few}."
    logits = decision_function(fit.head, validation.features)
    folds = assign_folds(validation.groups, validation.labels)
    return choose_calibration(logits, validation.labels, folds), None, None


def _choose(
    fit: FitResult, train: LabelledRows
) -> tuple[CalibrationChoice, Float64Array | None, str | None]:
    """The map, the logits it was fitted on, and why there are none."""
    nothing = CalibrationChoice(UNCHANGED, {})
    if fit.c is None:
        return nothing, None, "The seed's recipe is left as it is."
    folds = assign_folds(train.groups, train.labels)
    try:
        scores = out_of_fold_scores(
            train.features, train.labels, folds, fit.c, near=fit.head, ground=fit.ground
        )
    except ValueError as error:
        return nothing, None, f"Scores are not calibrated: {error}."
    logits = logits_of(scores)
    return choose_calibration(logits, train.labels, folds), logits, None
