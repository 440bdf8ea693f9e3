"""How much two answers about the same images differ, where each is a yes or a no, or a cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from keshikaran.intervals import DEFAULT_CONFIDENCE, Estimate, edge
from keshikaran.types import Float64Array, GroupId, IntArray


@dataclass(frozen=True, slots=True)
class Pair:
    """One mean under two models, and by how much the second exceeds the first.

    Attributes:
        old: of the first; None where there are no images.
        new: of the second.
        difference: new - old.
    """

    old: float | None
    new: float | None
    difference: Estimate


def paired_shares(
    old: Float64Array,
    new: Float64Array,
    groups: Sequence[GroupId] | None = None,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Pair:
    """Difference of two shares of the same images, with Tango's score interval.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design": close to its nominal coverage where few images move (Fagerland, Lydersen
    and Laake 2014), and wide where none does. Counts are divided by the design effect of the groups
    (Rao and Scott 1992, "A Simple Method for the Analysis of Clustered Binary Data").

    Args:
        old: what the first says of each image, 0 or 1, [n].
        new: what the second says, [n].
        groups: of near-duplicates, [n]; None: each image stands for itself.
        confidence: in (0, 1), two-sided.
    """
    if not len(old):
        return Pair(None, None, Estimate(None, -1.0, 1.0))
    moved = new - old
    effect = _design_effect(moved, _numbers(len(old), groups))
    up, down = (float(np.count_nonzero(moved == sign)) / effect for sign in (1.0, -1.0))
    limits = _tango_limits(up, down, len(old) / effect, confidence)
    return Pair(float(old.mean()), float(new.mean()), Estimate(float(moved.mean()), *limits))


def _design_effect(moved: Float64Array, cluster: IntArray) -> float:
    """How many images of these are worth one that stands for itself; at least 1."""
    sizes = np.bincount(cluster).astype(np.float64)
    centre = moved.mean()
    alone = float(np.sum((moved - centre) ** 2))
    if alone == 0.0:
        return float(np.sum(sizes**2) / len(moved))
    totals = np.bincount(cluster, weights=moved)
    return max(1.0, float(np.sum((totals - sizes * centre) ** 2)) / alone)


def _tango_limits(up: float, down: float, images: float, confidence: float) -> tuple[float, float]:
    """Limits of (up - down) / images."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def excluded(true: float) -> bool:
        linear = (2 * images - up + down) * true - up - down
        constant = -down * true * (1 - true)
        root = math.sqrt(max(0.0, linear**2 - 8 * images * constant))
        back = (root - linear) / (4 * images)  # likeliest share that moved down
        variance = images * (2 * back + true * (1 - true))
        return (up - down - images * true) ** 2 > z * z * max(0.0, variance)

    value = (up - down) / images
    return edge(excluded, -1.0, value), edge(excluded, 1.0, value)


def paired_means(
    old: Float64Array,
    new: Float64Array,
    groups: Sequence[GroupId] | None = None,
    *,
    step: float = 1.0,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Pair:
    """Difference of two mean costs of the same images.

    One image more that went either way is added before the spread is taken (Bonett and Price 2012,
    "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on Paired
    Data"): a bootstrap of 4 images that all went the same way would call that a difference, and of
    none at all would be sure that there is none. Images of a group count as one draw, by the
    variance of a ratio of group totals.

    Args:
        old: what the first says of each image, [n], between 0 and `step`.
        new: what the second says, [n].
        groups: of near-duplicates, [n]; None: each image stands for itself.
        step: how far one image can go.
        confidence: in (0, 1), two-sided.
    """
    if not len(old):
        return Pair(None, None, Estimate(None, -step, step))
    moved = new - old
    cluster = _numbers(len(old), groups)
    totals = np.append(np.bincount(cluster, weights=moved), [step, -step])
    sizes = np.append(np.bincount(cluster).astype(np.float64), [1.0, 1.0])
    centre = float(totals.sum() / sizes.sum())
    spread = float(np.sqrt(np.sum((totals - sizes * centre) ** 2)) / sizes.sum())
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * spread
    value = float(moved.mean())
    low, high = max(-step, min(value, centre - reach)), min(step, max(value, centre + reach))
    return Pair(float(old.mean()), float(new.mean()), Estimate(value, low, high))


def joined(terms: Sequence[tuple[float, Pair]]) -> Pair:
    """Σ weight · mean over independent images, with the MOVER interval; weights not negative."""
    gaps = [(weight, pair.difference) for weight, pair in terms]
    value = sum(weight * (gap.value or 0.0) for weight, gap in gaps)
    below = sum((weight * ((gap.value or 0.0) - gap.low)) ** 2 for weight, gap in gaps)
    above = sum((weight * (gap.high - (gap.value or 0.0))) ** 2 for weight, gap in gaps)
    old = sum(weight * (pair.old or 0.0) for weight, pair in terms)
    new = sum(weight * (pair.new or 0.0) for weight, pair in terms)
    limits = value - math.sqrt(below), value + math.sqrt(above)
    return Pair(old, new, Estimate(value, *limits))


def _numbers(images: int, groups: Sequence[GroupId] | None) -> IntArray:
    if groups is None:
        return np.arange(images, dtype=np.int64)
    return np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].astype(np.int64)
