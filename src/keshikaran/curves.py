"""Curves with intervals: ROC on a log axis, precision at the policy's prevalence.

Scores need not be calibrated: everything here depends on their order only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keshikaran.bootstrap import Statistic, bootstrap_estimate, plan_resampling
from keshikaran.intervals import DEFAULT_CONFIDENCE, Estimate, precision_at, wilson
from keshikaran.policy import labels_needed
from keshikaran.types import Float64Array, GroupId, IntArray, LabelArray

FALSE_POSITIVE_RATES = (0.01, 0.001)

_MOST_POINTS = 256


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What one cut gives.

    Attributes:
        cut: scores of at least this count as objectionable.
        false_positives: acceptable images above it.
        found: objectionable images above it.
        false_positive_rate: share of acceptable images above it.
        recall: share of objectionable images above it.
        precision: share of objectionable images among those above it, at `Curve.prevalence`.
    """

    cut: float
    false_positives: int
    found: int
    false_positive_rate: Estimate
    recall: Estimate
    precision: Estimate


@dataclass(frozen=True, slots=True)
class Curve:
    """ROC and precision-recall curve on the same cuts, from the strictest to the loosest.

    Attributes:
        acceptable: number of acceptable images.
        objectionable: number of objectionable images.
        prevalence: share of objectionable images that `precision` assumes.
        points: at most 256; more are thinned evenly over the logarithm of the false positives.
    """

    acceptable: int
    objectionable: int
    prevalence: float
    points: tuple[CurvePoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RecallAtRate:
    """Recall at the lowest cut that keeps to a false-positive rate.

    Attributes:
        rate: share of acceptable images that may lie above the cut.
        cut: the lowest one with no more than that above it.
        recall: share of objectionable images above it; the interval also covers that another
            sample would have put the cut elsewhere, and begins at 0 where `supported` is false.
        supported: whether there are enough acceptable images to speak of such a rate at all.
        have: acceptable images there are.
        needed: how many it takes to tell such a rate from a higher one.
    """

    rate: float
    cut: float
    recall: Estimate
    supported: bool
    have: int
    needed: int

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


def compute_curve(labels: LabelArray, scores: Float64Array, prevalence: float) -> Curve:
    """Both curves; each class must be there.

    Args:
        labels: int8 [n].
        scores: in [0, 1], [n].
        prevalence: share of objectionable images among uploads, in (0, 1).
    """
    cuts, found, false = cut_counts(labels, scores)
    objectionable, acceptable = int(found[-1]), int(false[-1])
    points = []
    for index in _thinned(false, found):
        recall = wilson(int(found[index]), objectionable)
        rate = wilson(int(false[index]), acceptable)
        precision = precision_at(recall, rate, prevalence)
        counts = (int(false[index]), int(found[index]))
        points.append(CurvePoint(float(cuts[index]), *counts, rate, recall, precision))
    return Curve(acceptable, objectionable, prevalence, tuple(points))


def cut_counts(labels: LabelArray, scores: Float64Array) -> tuple[Float64Array, IntArray, IntArray]:
    """Every cut that makes a difference, in descending order, and what lies above it.

    A cut lies halfway between two neighbouring scores, so that it does not hang on one image's
    last digits; the first has nothing above it, unless a score is 1, the last everything.

    Returns:
        Cuts in [0, 1], objectionable images above each, acceptable ones above each: [k].
    """
    values = np.unique(scores)[::-1]
    above = np.append(1.0, values)
    below = np.append(values, 0.0)
    cuts: Float64Array = (above + below) / 2
    ordered = [np.sort(scores[labels == label]) for label in (1, 0)]
    found, false = (len(part) - np.searchsorted(part, cuts, side="left") for part in ordered)
    return cuts, found.astype(np.int64), false.astype(np.int64)


def recall_at(
    labels: LabelArray,
    scores: Float64Array,
    rate: float,
    groups: Sequence[GroupId] | None = None,
    seed: int = 0,
) -> RecallAtRate:
    """Recall at a false-positive rate, with a bootstrap interval over groups.

    Args:
        labels: int8 [n], both classes present.
        scores: in [0, 1], [n].
        rate: in (0, 1).
        groups: of near-duplicates, [n].
        seed: of the bootstrap.
    """
    cuts, _, false = cut_counts(labels, scores)
    acceptable = int(false[-1])
    within = np.flatnonzero(false <= rate * acceptable)
    cut = float(cuts[within[-1]]) if len(within) else float(cuts[0])
    plan = plan_resampling(labels, groups)
    statistic = weighted_recall_at(labels, scores, rate)
    recall = bootstrap_estimate(statistic, plan, scale="arc", seed=seed)
    needed = labels_needed(rate, DEFAULT_CONFIDENCE)
    if acceptable < needed:  # the true rate at the cut may be many times higher
        recall = Estimate(recall.value, 0.0, recall.high)
    return RecallAtRate(rate, cut, recall, acceptable >= needed, acceptable, needed)


def weighted_recall_at(labels: LabelArray, scores: Float64Array, rate: float) -> Statistic:
    """Recall at the lowest cut that keeps to `rate`, as a statistic to resample."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    ones, zeros = (labels[order] == 1).astype(np.float64), (labels[order] == 0).astype(np.float64)

    def recall(weights: Float64Array) -> Float64Array:
        drawn = weights[:, order]
        false = np.cumsum(drawn * zeros, axis=1)
        found = np.cumsum(drawn * ones, axis=1)
        within = false[:, ends] <= rate * false[:, -1:] + 1e-9
        kept = np.append(np.zeros((len(drawn), 1)), found[:, ends], axis=1)
        best = kept[np.arange(len(drawn)), within.sum(axis=1)]
        whole = found[:, -1]
        result: Float64Array = best / np.where(whole > 0, whole, np.nan)
        return result

    return recall


def _thinned(false: IntArray, found: IntArray) -> IntArray:
    """Numbers of the points to keep: corners first, then evenly over log false positives."""
    steps = np.diff(np.stack([false, found]), axis=1)
    turns = np.any(np.sign(steps[:, 1:]) != np.sign(steps[:, :-1]), axis=0)
    corners = np.flatnonzero(np.concatenate([[True], turns, [True]]))
    if len(corners) <= _MOST_POINTS:
        return corners.astype(np.int64)
    place = np.log1p(false[corners]) / np.log1p(false[-1]) + found[corners] / found[-1]
    wanted = np.linspace(place[0], place[-1], _MOST_POINTS)
    kept: IntArray = corners[np.unique(np.searchsorted(place, wanted).clip(0, len(corners) - 1))]
    return kept.astype(np.int64)
