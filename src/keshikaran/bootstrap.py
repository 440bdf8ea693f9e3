"""Intervals of figures that have no formula: draw the images again, many times.

Efron 1979, "Bootstrap Methods: Another Look at the Jackknife". Groups of near-duplicates are drawn
whole, since their images are not independent (Davison and Hinkley 1997, section 3.8). The mix of
labels varies as it does from sample to sample: figures that depend on it are as unsure as that. A
resample is a weight for each image: a figure that can count with weights is computed for many
resamples in one product.

Only the spread is taken from the resamples, and the interval is laid around the figure on a scale
on which its errors are about symmetric: for areas close to 1 and losses close to 0, the middle 95%
of the resamples covered 90-93% of simulated truths, and this 94-96% (benchmarks/coverage.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from keshikaran.intervals import DEFAULT_CONFIDENCE, Estimate, wilson
from keshikaran.types import Float64Array, GroupId, IntArray, LabelArray, UInt8Array

MOST_RESAMPLES, LEAST_RESAMPLES = 2_000, 400

_CELLS = 125_000  # weights held at once: a megabyte, which stays in the processor's cache
_ALL_CELLS = 8_000_000  # weights drawn for one figure: about a second
_KEPT_CELLS = 32_000_000  # weights kept for the next figure: 32 MB

Statistic = Callable[[Float64Array], Float64Array]
"""Weights float64 [r, n], a row a resample → the figure of each, float64 [r]; NaN: undefined."""

Scale = Literal["share", "arc", "positive", "any"]
"""Where a figure can lie: between 0 and 1 (`share` and `arc`), above 0, anywhere. Errors are taken
to be symmetric in its log-odds, the arcsine of its root, its logarithm, itself. Log-odds suit areas
close to 1, the arcsine (Bartlett 1947, "The Use of Transformations") shares of a few images."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drawn together, and from what.

    Attributes:
        cluster: int64 [n], the number of each image's cluster, from 0.
        clusters: how many there are.
        rarer: how many clusters hold the rarer label: what the figures hang on.
    """

    cluster: IntArray
    clusters: int
    rarer: int


def plan_resampling(labels: LabelArray, groups: Sequence[GroupId] | None = None) -> Plan:
    """Clusters are groups of near-duplicates.

    Args:
        labels: int8 [n].
        groups: [n]; None where each image stands for itself.
    """
    if groups is None:
        cluster = np.arange(len(labels), dtype=np.int64)
    else:
        _, found = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        cluster = found.astype(np.int64)
    held = [len(np.unique(cluster[labels == label])) for label in (0, 1)]
    return Plan(cluster, int(cluster.max(initial=-1)) + 1, min(held))


def resamples_for(images: int) -> int:
    """How many resamples: 2,000, or fewer of many images, whose spread is as well known."""
    return min(MOST_RESAMPLES, max(LEAST_RESAMPLES, _ALL_CELLS // max(1, images)))


def bootstrap(
    statistic: Statistic, plan: Plan, resamples: int | None = None, seed: int = 0
) -> Float64Array:
    """The figure in each resample, float64 [resamples].

    The difference of two models is a statistic like any other: both are counted with the same
    weights, which pairs them.

    Args:
        statistic: counts with weights.
        plan: from `plan_resampling`.
        resamples: how many; None: `resamples_for` as many images.
        seed: the same seed, the same resamples.
    """
    images = len(plan.cluster)
    wanted = resamples_for(images) if resamples is None else resamples
    found: list[Float64Array] = []
    for counts in _resamples(plan.clusters, wanted, max(1, _CELLS // max(1, images)), seed):
        counted = counts if plan.clusters == images else np.take(counts, plan.cluster, axis=1)
        found.append(statistic(counted.astype(np.float64)))
    return np.concatenate(found)


def _resamples(clusters: int, wanted: int, rows: int, seed: int) -> Iterable[UInt8Array]:
    """How often each cluster was drawn: uint8 [at most `rows`, clusters], `wanted` rows in all.

    All figures of a test set are counted on the same resamples: what was drawn last is kept.
    """
    if clusters * wanted <= _KEPT_CELLS:
        return _kept(clusters, wanted, rows, seed)
    return _drawn(clusters, wanted, rows, seed)


@lru_cache(maxsize=1)
def _kept(clusters: int, wanted: int, rows: int, seed: int) -> tuple[UInt8Array, ...]:
    return tuple(_drawn(clusters, wanted, rows, seed))


def _drawn(clusters: int, wanted: int, rows: int, seed: int) -> Iterator[UInt8Array]:
    rng = np.random.default_rng(seed)
    for start in range(0, wanted, rows):
        some = min(rows, wanted - start)
        drawn = rng.integers(0, clusters, (some, clusters))
        drawn += clusters * np.arange(some)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=some * clusters)
        yield counts.reshape(some, clusters).astype(np.uint8)  # 255 times is once in 10^500


def bootstrap_estimate(
    statistic: Statistic,
    plan: Plan,
    *,
    scale: Scale = "any",
    confidence: float = DEFAULT_CONFIDENCE,
    resamples: int | None = None,
    seed: int = 0,
) -> Estimate:
    """A figure with an interval as wide as its resamples are spread, on its scale.

    Resamples in which it is not defined are left out. Student's quantile, since the rarer label is
    often rare. A share that no resample moves, such as one of 1, has Wilson's interval for as many
    images as there are of the rarer label.

    Args:
        statistic: counts with weights.
        plan: from `plan_resampling`.
        scale: where the figure can lie.
        confidence: in (0, 1), two-sided.
        resamples: see `bootstrap`.
        seed: see `bootstrap`.
    """
    value = float(statistic(np.ones((1, len(plan.cluster))))[0])
    drawn = bootstrap(statistic, plan, resamples, seed)
    drawn = drawn[np.isfinite(drawn)]
    if not math.isfinite(value) or not len(drawn):
        bounded = scale in ("share", "arc")
        return Estimate(None, *((0.0, 1.0) if bounded else (-math.inf, math.inf)))
    spread = float(drawn.std())
    if scale in ("share", "arc") and spread == 0.0:
        flat = wilson(round(value * plan.rarer), plan.rarer, confidence)
        return Estimate(value, min(flat.low, value), max(flat.high, value))
    reach = student_quantile(plan.rarer - 1, confidence) * spread
    return Estimate(value, *_limits(value, reach, scale, 0.5 / max(1, plan.rarer)))


def _limits(value: float, reach: float, scale: Scale, margin: float) -> tuple[float, float]:
    if scale == "positive" and value > 0:
        return value * math.exp(-reach / value), value * math.exp(reach / value)
    inner = min(max(value, margin), 1 - margin)
    if scale == "arc":
        centre, step = math.asin(math.sqrt(inner)), reach / math.sqrt(4 * inner * (1 - inner))
        ends = max(0.0, centre - step), min(math.pi / 2, centre + step)
        low, high = (math.sin(end) ** 2 for end in ends)
        return min(low, value), max(high, value)
    if scale == "share":
        centre, step = math.log(inner / (1 - inner)), reach / (inner * (1 - inner))
        low, high = (1 / (1 + math.exp(-end)) for end in (centre - step, centre + step))
        return min(low, value), max(high, value)
    return value - reach, value + reach


def student_quantile(freedom: float, confidence: float = DEFAULT_CONFIDENCE) -> float:
    """Two-sided quantile of Student's distribution; of at least one degree of freedom."""
    from scipy.special import stdtrit  # loading it takes a moment

    return float(stdtrit(max(1.0, freedom), (1 + confidence) / 2))


def difference(one: Statistic, other: Statistic) -> Statistic:
    """How much larger `one` is than `other` in the same resample."""

    def gap(weights: Float64Array) -> Float64Array:
        return one(weights) - other(weights)

    return gap
