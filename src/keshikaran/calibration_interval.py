"""The calibration error without the chance that it counts, and an interval for the true one."""

from __future__ import annotations

import numpy as np

from keshikaran.bootstrap import Plan, bootstrap
from keshikaran.intervals import DEFAULT_CONFIDENCE, Estimate
from keshikaran.metrics import calibration_bins
from keshikaran.types import Float64Array, LabelArray

_STEPS = 80
_REACH = 4.0  # standard errors above the observed error within which the upper end is sought
_STRANGERS = 4.0
_LEAST = 1e-18  # of a variance: an image in a thousand million


def calibration_error_estimate(
    labels: LabelArray,
    probabilities: Float64Array,
    plan: Plan,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    seed: int = 0,
) -> Estimate:
    """What remains of the calibration error (ten bins of equal width) when chance is taken off.

    The plain error (`expected_calibration_error`) counts chance gaps between score and share as if
    they were true ones: exact probabilities show about 0.02 on 400 images, and resampling only adds
    to that. So the question is turned round: of which true errors is the observed one what is to be
    expected (that is the value), and of which is it nothing unusual (that is the interval)? For
    every true error that is tried, the gaps are the likeliest ones with that sum, and their chance
    is what the bootstrap gives: hybrid resampling (Chuang and Lai 2000, "Hybrid resampling methods
    for confidence intervals"). The chance of a bin counts four images more that are as its scores
    say, since a few images that all have one label would vary too little (as Agresti and Coull
    1998 add four). Value and lower end are 0 where exact probabilities would show as much.

    The estimators of the literature take a bias off that they measure at the observed gaps, which
    hold chance already (Kumar, Liang and Ma 2019, "Verified Uncertainty Calibration"), and so take
    too little off where scores are nearly exact (benchmarks/coverage.py prints both).

    Args:
        labels: int8 [n].
        probabilities: in [0, 1], [n].
        plan: from `plan_resampling` for the same images.
        confidence: in (0, 1), two-sided.
        seed: of the bootstrap.
    """
    gaps, noise = _gaps(labels, probabilities, plan, seed)
    noise *= _widening(noise.var(axis=0), probabilities, plan)
    variance = np.maximum(noise.var(axis=0), _LEAST)
    observed = float(np.abs(gaps).sum())
    top = observed + _REACH * float(np.sqrt(variance.sum()))
    tried = np.append(np.linspace(0, observed, _STEPS // 2), np.linspace(observed, top, _STEPS)[1:])
    side = (1 - confidence) / 2
    rows = [np.abs(true + noise).sum(axis=1) for true in _likeliest(gaps, variance, tried)]
    least, most = np.quantile(rows, [side, 1 - side], axis=1)
    most[0] = np.quantile(rows[0], confidence)  # no true error is smaller: one side only
    expected = np.maximum.accumulate(np.mean(rows, axis=1))
    value = float(np.interp(observed, expected, tried))
    at_least = max(observed, least[0] + 0.5 / len(labels))  # less than exact ones show is luck
    fits = tried[(least <= at_least) & (observed <= most)]
    low, high = (fits[0], fits[-1]) if len(fits) else (value, value)
    return Estimate(value, min(value, float(low)), max(value, float(high)))


def kumar_estimate(labels: LabelArray, probabilities: Float64Array, plan: Plan) -> float:
    """The plain error less its bias as the bootstrap sees it, after Kumar, Liang and Ma 2019."""
    gaps, noise = _gaps(labels, probabilities, plan, 0)
    observed = float(np.abs(gaps).sum())
    return max(0.0, 2 * observed - float(np.abs(gaps + noise).sum(axis=1).mean()))


def _gaps(
    labels: LabelArray, probabilities: Float64Array, plan: Plan, seed: int
) -> tuple[Float64Array, Float64Array]:
    """Of each bin: mean gap times its share of the images [k], and its chance [resamples, k]."""
    bins = calibration_bins(probabilities)
    columns = np.zeros((len(labels), int(bins.max()) + 1))
    columns[np.arange(len(labels)), bins] = probabilities - labels
    gaps: Float64Array = columns.mean(axis=0)

    def shifted(weights: Float64Array) -> Float64Array:
        drawn: Float64Array = weights @ columns / weights.sum(axis=1, keepdims=True)
        return drawn

    return gaps, bootstrap(shifted, plan, seed=seed) - gaps


def _widening(variance: Float64Array, probabilities: Float64Array, plan: Plan) -> Float64Array:
    """By how much each bin's chance is to be stretched for the four images more, [k]."""
    bins, kinds = calibration_bins(probabilities), len(variance)
    spread = np.sqrt(probabilities * (1 - probabilities)) / len(bins)
    cells = plan.cluster * kinds + bins  # of a group's images in a bin, all go the same way
    totals = np.bincount(cells, spread, plan.clusters * kinds).reshape(-1, kinds)
    held = np.bincount(np.unique(cells) % kinds, minlength=kinds)
    expected = (totals**2).sum(axis=0)
    mixed = (held * variance + _STRANGERS * expected) / (held + _STRANGERS)
    found: Float64Array = np.sqrt(mixed / np.where(variance > 0, variance, 1.0))
    return found


def _likeliest(gaps: Float64Array, variance: Float64Array, tried: Float64Array) -> Float64Array:
    """The normal gaps nearest to those observed whose sizes have a given sum: [t, k].

    Every size shrinks, or grows, by its variance times one number, and never below 0.
    """
    sizes, signs = np.abs(gaps), np.where(gaps < 0, -1.0, 1.0)
    corners = np.append(np.sort(sizes / variance)[::-1], (sizes.sum() - tried[-1]) / variance.sum())
    sums = np.maximum(sizes - corners[:, None] * variance, 0.0).sum(axis=1)
    shrunk = np.interp(tried, sums, corners)
    found: Float64Array = signs * np.maximum(sizes - shrunk[:, None] * variance, 0.0)
    return found
