"""How sure a figure is: intervals of shares, and of what is computed from two of them.

Counts in, `Estimate` out. Wilson intervals for showing (Wilson 1927; Brown, Cai and DasGupta 2001,
"Interval Estimation for a Binomial Proportion": close to their nominal coverage on average), exact
bounds for promising (Clopper and Pearson 1934: never below it). Sums and ratios of two independent
shares are put together from their Wilson limits: MOVER, Zou and Donner 2008, "Construction of
confidence limits about effect measures", and Donner and Zou 2012, "Closed-form confidence intervals
for functions of the normal mean and standard deviation".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

DEFAULT_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and where the true one may lie, at 95% unless another confidence was asked.

    Attributes:
        value: what was observed; None where it is not defined, as the share of nothing.
        low: lower end of the interval.
        high: upper end.
    """

    value: float | None
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """The fields in order, ready for JSON."""
        return asdict(self)

    def times(self, factor: float) -> Estimate:
        """The same in another unit; `factor` is not negative and known exactly."""
        value = None if self.value is None else self.value * factor
        return Estimate(value, self.low * factor, self.high * factor)

    def complement(self) -> Estimate:
        """One minus the figure: of a recall, the share that is missed."""
        value = None if self.value is None else 1.0 - self.value
        return Estimate(value, 1.0 - self.high, 1.0 - self.low)


def wilson(part: int, whole: int, confidence: float = DEFAULT_CONFIDENCE) -> Estimate:
    """A share with Wilson's score interval.

    Args:
        part: how many did.
        whole: of how many; with 0 the interval is all of [0, 1].
        confidence: in (0, 1), two-sided.
    """
    if whole == 0:
        return Estimate(None, 0.0, 1.0)
    z = _quantile(confidence)
    share = part / whole
    centre = share + z * z / (2 * whole)
    reach = z * math.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole))
    scale = 1 + z * z / whole
    low = 0.0 if part == 0 else max(0.0, (centre - reach) / scale)
    high = 1.0 if part == whole else min(1.0, (centre + reach) / scale)
    return Estimate(share, min(low, share), max(high, share))


def upper_bound(part: int, whole: int, confidence: float = DEFAULT_CONFIDENCE) -> float:
    """The true share is at most this, with at least `confidence` (exact, one-sided).

    1 where there is nothing to judge by.
    """
    if part >= whole:
        return 1.0
    from scipy.special import betaincinv  # loading it takes a moment; only training promises

    return float(betaincinv(part + 1, whole - part, confidence))


def lower_bound(part: int, whole: int, confidence: float = DEFAULT_CONFIDENCE) -> float:
    """The true share is at least this, with at least `confidence` (exact, one-sided)."""
    return 1.0 - upper_bound(whole - part, whole, confidence)


def clopper_pearson(part: int, whole: int, confidence: float = DEFAULT_CONFIDENCE) -> Estimate:
    """A share with the exact two-sided interval: never too narrow, often too wide."""
    if whole == 0:
        return Estimate(None, 0.0, 1.0)
    side = (1 + confidence) / 2
    low, high = lower_bound(part, whole, side), upper_bound(part, whole, side)
    return Estimate(part / whole, low, high)


def weighted_sum(terms: Sequence[tuple[float, Estimate]]) -> Estimate:
    """Σ weight · share of independent shares, with the MOVER interval; weights not negative."""
    value = sum(weight * (share.value or 0.0) for weight, share in terms)
    below = sum((weight * ((share.value or 0.0) - share.low)) ** 2 for weight, share in terms)
    above = sum((weight * (share.high - (share.value or 0.0))) ** 2 for weight, share in terms)
    known = all(share.value is not None for weight, share in terms if weight)
    low, high = max(0.0, value - math.sqrt(below)), value + math.sqrt(above)
    return Estimate(value if known else None, low, high)


def precision_at(recall: Estimate, false_positive_rate: Estimate, prevalence: float) -> Estimate:
    """Share of objectionable images among those called so, at any prevalence.

    Recall and false-positive rate do not depend on how common objectionable images are, so
    they carry over: precision = 1 / (1 + (1 - π) / π · rate / recall).

    Args:
        recall: with its interval.
        false_positive_rate: with its interval.
        prevalence: π, in (0, 1).
    """
    low, high = _ratio_limits(false_positive_rate, recall)
    odds = (1 - prevalence) / prevalence
    value = None
    if recall.value is not None and false_positive_rate.value is not None:
        called = recall.value + odds * false_positive_rate.value
        value = recall.value / called if called else None
    return Estimate(value, 1 / (1 + odds * high), 1 / (1 + odds * low))


def _ratio_limits(top: Estimate, bottom: Estimate) -> tuple[float, float]:
    """Limits of a ratio of two independent shares (MOVER-R)."""
    a, b = top.value or 0.0, bottom.value or 0.0
    low = _ratio_root(a, b, top.low, bottom.high, -1.0)
    high = _ratio_root(a, b, top.high, bottom.low, +1.0)
    return low, high


def _ratio_root(a: float, b: float, top: float, bottom: float, sign: float) -> float:
    """Where the line through the limits of top and bottom leaves their ellipse."""
    scale = bottom * (2 * b - bottom)
    under = max(0.0, (a * b) ** 2 - top * (2 * a - top) * scale)
    if abs(scale) > 1e-15:
        return max(0.0, (a * b + sign * math.sqrt(under)) / scale)
    if sign > 0:
        return math.inf
    return top * (2 * a - top) / (2 * a * b) if a * b else 0.0


def edge(excluded: Callable[[float], bool], outer: float, inner: float) -> float:
    """Where exclusion ends on the way from `outer` to `inner`, by bisection."""
    if outer == inner:
        return outer
    for _ in range(60):
        middle = (outer + inner) / 2
        outer, inner = (middle, inner) if excluded(middle) else (outer, middle)
    return inner


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
