"""Intervals of figures that have no formula: draw the images again, many times.

Efron 1979, "Bootstrap Methods: Another Look at the Jackknife". Groups of near-duplicates are drawn
whole, since their images are not independent (Davison and Hinkley 1997, section 3.8), and each
label by itself, so that a resample is as mixed as the sample. A resample is a weight for each
image: a figure that can count with weights is computed for many resamples in one product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keshikaran.intervals import DEFAULT_CONFIDENCE, Estimate
from keshikaran.types import Float64Array, GroupId, IntArray, LabelArray

DEFAULT_RESAMPLES = 2_000

_CELLS = 2_000_000  # weights held at once: 16 MB

Statistic = Callable[[Float64Array], Float64Array]
"""Weights float64 [r, n], a row a resample → the figure of each, float64 [r]; NaN: undefined."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drawn together, and from what.

    Attributes:
        cluster: int64 [n], the number of each image's cluster, from 0.
        strata: numbers of the clusters in each stratum.
    """

    cluster: IntArray
    strata: tuple[IntArray, ...]


def plan_resampling(labels: LabelArray, groups: Sequence[GroupId] | None = None) -> Plan:
    """Clusters are groups; strata are clusters of acceptable, objectionable and mixed images.

    Args:
        labels: int8 [n].
        groups: of near-duplicates, [n]; None where each image stands for itself.
    """
    if groups is None:
        cluster = np.arange(len(labels), dtype=np.int64)
    else:
        _, cluster = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    sizes = np.bincount(cluster)
    ones = np.bincount(cluster, weights=labels)
    kind = np.where(ones == 0, 0, np.where(ones == sizes, 1, 2))
    strata = (np.flatnonzero(kind == number) for number in range(3))
    return Plan(cluster.astype(np.int64), tuple(stratum for stratum in strata if len(stratum)))


def bootstrap(
    statistic: Statistic, plan: Plan, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> Float64Array:
    """The figure in each resample, float64 [resamples].

    The difference of two models is a statistic like any other: both are counted with the same
    weights, which pairs them.

    Args:
        statistic: counts with weights.
        plan: from `plan_resampling`.
        resamples: how many.
        seed: the same seed, the same resamples.
    """
    rng = np.random.default_rng(seed)
    rows = max(1, _CELLS // max(1, len(plan.cluster)))
    found: list[Float64Array] = []
    for start in range(0, resamples, rows):
        weights = _draw(rng, plan, min(rows, resamples - start))
        found.append(statistic(weights[:, plan.cluster]))
    return np.concatenate(found)


def _draw(rng: np.random.Generator, plan: Plan, rows: int) -> Float64Array:
    """How often each cluster was drawn: float64 [rows, clusters]."""
    clusters = sum(len(stratum) for stratum in plan.strata)
    weights = np.empty((rows, clusters), dtype=np.float64)
    for stratum in plan.strata:
        size = len(stratum)
        drawn = rng.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * size)
        weights[:, stratum] = counts.reshape(rows, size)
    return weights


def bootstrap_estimate(
    statistic: Statistic,
    plan: Plan,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A figure with the interval of the middle `confidence` of its resamples.

    Resamples in which it is not defined are left out.
    """
    whole = statistic(np.ones((1, len(plan.cluster))))[0]
    drawn = bootstrap(statistic, plan, resamples, seed)
    drawn = drawn[np.isfinite(drawn)]
    value = float(whole) if np.isfinite(whole) else None
    if not len(drawn):
        return Estimate(value, float("-inf"), float("inf"))
    side = (1 - confidence) / 2
    low, high = np.quantile(drawn, [side, 1 - side])
    return Estimate(value, float(low), float(high))


def difference(one: Statistic, other: Statistic) -> Statistic:
    """How much larger `one` is than `other` in the same resample."""

    def gap(weights: Float64Array) -> Float64Array:
        return one(weights) - other(weights)

    return gap
