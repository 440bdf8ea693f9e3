"""The calibration error with an interval that does not take chance for error."""

from __future__ import annotations

import numpy as np

from keshikaran.bootstrap import Plan, bootstrap
from keshikaran.intervals import DEFAULT_CONFIDENCE, Estimate
from keshikaran.metrics import calibration_bins
from keshikaran.types import Float64Array, LabelArray

_FACTORS = np.linspace(0.0, 3.0, 101)
"""True gaps that are tried, in multiples of those observed."""


def calibration_error_estimate(
    labels: LabelArray,
    probabilities: Float64Array,
    plan: Plan,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    seed: int = 0,
) -> Estimate:
    """Expected calibration error in ten bins of equal width, with an interval.

    The error counts chance gaps between score and share as if they were true ones: exact
    probabilities show about 0.02 on 400 images, and resampling only adds to that. So the interval
    holds the errors that true gaps would have under which the observed error is nothing unusual:
    gaps in proportion to those observed, from none at all to three times as large, each with the
    spread that the bootstrap gives to the gaps. It begins at 0 where exact probabilities would
    show as much.

    Args:
        labels: int8 [n].
        probabilities: in [0, 1], [n].
        plan: from `plan_resampling` for the same images.
        confidence: in (0, 1), two-sided.
        seed: of the bootstrap.
    """
    bins = calibration_bins(probabilities)
    columns = np.zeros((len(labels), int(bins.max()) + 1))
    columns[np.arange(len(labels)), bins] = probabilities - labels
    gaps = columns.mean(axis=0)

    def shifted(weights: Float64Array) -> Float64Array:
        drawn: Float64Array = weights @ columns / weights.sum(axis=1, keepdims=True)
        return drawn

    noise = bootstrap(shifted, plan, seed=seed) - gaps
    value = float(np.abs(gaps).sum())
    side = (1 - confidence) / 2
    errors = np.stack([np.abs(factor * gaps + noise).sum(axis=1) for factor in _FACTORS])
    least, most = np.quantile(errors, [side, 1 - side], axis=1)
    if value == 0.0:
        return Estimate(value, 0.0, float(most[0]))
    fits = _FACTORS[(least <= value) & (value <= most)]
    low, high = (fits[0], fits[-1]) if len(fits) else (0.0, 0.0)
    return Estimate(value, min(value, float(low) * value), max(value, float(high) * value))
