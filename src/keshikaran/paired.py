"""How much two answers about the same images differ, where each is a yes or a no, or a cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from keshikaran.intervals import DEFAULT_CONFIDENCE, Estimate
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


def paired_means(
    old: Float64Array,
    new: Float64Array,
    groups: Sequence[GroupId] | None = None,
    *,
    step: float = 1.0,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Pair:
    """Difference of two shares, or of two mean costs, of the same images.

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
