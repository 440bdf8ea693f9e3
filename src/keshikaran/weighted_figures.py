"""Figures that count each image as often as its weight says: what the bootstrap resamples.

Each takes weights float64 [r, n], a row a resample, and gives float64 [r]; NaN where a figure is
not defined.
"""

from __future__ import annotations

import numpy as np

from keshikaran.bootstrap import Statistic
from keshikaran.types import BoolArray, Float64Array, IntArray, LabelArray


def weighted_share(of: Float64Array, among: Float64Array) -> Statistic:
    """Share of the images `of` (0 or 1, [n]) among the images `among` (0 or 1, [n])."""

    def share(weights: Float64Array) -> Float64Array:
        whole = weights @ among
        with np.errstate(invalid="ignore"):
            found: Float64Array = (weights @ (of * among)) / np.where(whole > 0, whole, np.nan)
        return found

    return share


def weighted_roc_auc(labels: LabelArray, scores: Float64Array) -> Statistic:
    """Area under the ROC curve; a tie is half right (Hanley and McNeil 1982)."""
    order = np.argsort(scores, kind="stable")
    ones, zeros = (labels[order] == 1).astype(np.float64), (labels[order] == 0).astype(np.float64)
    starts = _starts(scores[order])

    def area(weights: Float64Array) -> Float64Array:
        drawn = weights[:, order]
        positive = np.add.reduceat(drawn * ones, starts, axis=1)
        negative = np.add.reduceat(drawn * zeros, starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        right = (positive * below).sum(axis=1)
        found: Float64Array = right / np.where(pairs > 0, pairs, np.nan)
        return found

    return area


def weighted_mean(values: Float64Array) -> Statistic:
    """Mean of a value an image, [n]: of squared errors the Brier score, of losses the log-loss."""

    def mean(weights: Float64Array) -> Float64Array:
        found: Float64Array = (weights @ values) / weights.sum(axis=1)
        return found

    return mean


def weighted_average_precision(labels: LabelArray, scores: Float64Array) -> Statistic:
    """Precision at each cut, weighted by the recall it adds."""
    order = np.argsort(-scores, kind="stable")
    starts = _starts(scores[order])
    ones = (labels[order] == 1).astype(np.float64)

    def average(weights: Float64Array) -> Float64Array:
        drawn = weights[:, order]
        gained = np.add.reduceat(drawn * ones, starts, axis=1)
        called = np.cumsum(np.add.reduceat(drawn, starts, axis=1), axis=1)
        found = np.cumsum(gained, axis=1)
        precision = found / np.where(called > 0, called, 1.0)
        whole = found[:, -1]
        result: Float64Array = (gained * precision).sum(axis=1) / np.where(whole > 0, whole, np.nan)
        return result

    return average


def weighted_f1(labels: LabelArray, called: BoolArray) -> Statistic:
    """Harmonic mean of precision and recall of those called objectionable, bool [n]."""
    right, wrong = (labels == 1) & called, (labels == 1) != called
    right, wrong = right.astype(np.float64), wrong.astype(np.float64)

    def figure(weights: Float64Array) -> Float64Array:
        found = 2 * (weights @ right)
        whole = found + weights @ wrong
        result: Float64Array = found / np.where(whole > 0, whole, np.nan)
        return result

    return figure


def weighted_balanced_accuracy(labels: LabelArray, called: BoolArray) -> Statistic:
    """Mean of the recalls of both classes."""
    right = (called == (labels == 1)).astype(np.float64)
    zeros, ones = (weighted_share(right, (labels == label).astype(np.float64)) for label in (0, 1))

    def figure(weights: Float64Array) -> Float64Array:
        found: Float64Array = (zeros(weights) + ones(weights)) / 2
        return found

    return figure


def _starts(ordered: Float64Array) -> IntArray:
    """Where each run of equal scores begins."""
    begins: IntArray = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])).astype(np.int64)
    return begins
