"""How far scores are from probabilities: figures and the reliability curve, before and after."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from keshikaran.intervals import Estimate, wilson
from keshikaran.metrics import expected_calibration_error, log_loss
from keshikaran.types import Float64Array, LabelArray

RELIABILITY_BINS = 10

_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class BrierParts:
    """The Brier score: miscalibration - discrimination + uncertainty.

    Dimitriadis, Gneiting and Jordan 2021, "Stable reliability diagrams for probabilistic
    classifiers" (CORP): the best increasing map of the scores tells the parts from each other, so
    that no choice of bins does.

    Attributes:
        score: mean squared error of the probability.
        miscalibration: what the best increasing map of the scores would gain; 0 is best.
        discrimination: what the scores know beyond the prevalence; more is better.
        uncertainty: of the labels alone: prevalence · (1 - prevalence).
    """

    score: float
    miscalibration: float
    discrimination: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images of similar scores.

    Attributes:
        low: least score in the bin.
        high: greatest score.
        images: how many.
        mean_score: what was predicted on average.
        observed: share of objectionable ones, with its Wilson interval.
    """

    low: float
    high: float
    images: int
    mean_score: float
    observed: Estimate


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """How well scores are probabilities on one set of images.

    Attributes:
        images: how many.
        ece: expected calibration error, 10 bins of equal width.
        ece_by_chance: what it would be on average if the scores were exact probabilities: few
            images differ from their expectation, and the error counts that too.
        log_loss: in nats.
        brier: score and parts.
        reliability: about equally many images a bin, in ascending order of the score.
    """

    images: int
    ece: float
    ece_by_chance: float
    log_loss: float
    brier: BrierParts
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """The same images before and after calibration."""

    before: CalibrationFigures
    after: CalibrationFigures

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


def compare_calibration(
    labels: LabelArray, before: Float64Array, after: Float64Array
) -> CalibrationReport:
    """All figures for two sets of scores of the same images.

    Args:
        labels: int8 [n], n >= 1.
        before: probabilities as the head gave them, [n].
        after: calibrated probabilities, [n].
    """
    return CalibrationReport(
        calibration_figures(labels, before), calibration_figures(labels, after)
    )


def calibration_figures(labels: LabelArray, scores: Float64Array) -> CalibrationFigures:
    """All figures for scores in [0, 1], [n], of images with labels int8 [n], n >= 1."""
    return CalibrationFigures(
        images=len(labels),
        ece=expected_calibration_error(labels, scores),
        ece_by_chance=ece_by_chance(scores),
        log_loss=log_loss(labels, scores),
        brier=brier_parts(labels, scores),
        reliability=reliability_curve(labels, scores),
    )


def ece_by_chance(scores: Float64Array, rounds: int = _ROUNDS) -> float:
    """Mean calibration error of exact probabilities: labels drawn from the scores themselves.

    Bröcker and Smith 2007, "Increasing the Reliability of Reliability Diagrams" (consistency
    resampling). Deterministic.
    """
    rng = np.random.default_rng(0)
    errors = [
        expected_calibration_error((rng.random(len(scores)) < scores).astype(np.int8), scores)
        for _ in range(rounds)
    ]
    return float(np.mean(errors))


def brier_parts(labels: LabelArray, scores: Float64Array) -> BrierParts:
    """The Brier score, taken apart; see `BrierParts`."""
    truth = labels.astype(np.float64)
    score = float(np.mean((scores - truth) ** 2))
    recalibrated = float(np.mean((_best_increasing(scores, truth) - truth) ** 2))
    uncertainty = float(truth.mean() * (1 - truth.mean()))
    return BrierParts(score, score - recalibrated, uncertainty - recalibrated, uncertainty)


def reliability_curve(
    labels: LabelArray, scores: Float64Array, bins: int = RELIABILITY_BINS
) -> tuple[ReliabilityBin, ...]:
    """Predicted against observed shares, in bins of about equally many images.

    Images with equal scores share a bin, so there may be fewer bins than asked for.
    """
    order = np.argsort(scores, kind="stable")
    ordered, truth = scores[order], labels[order]
    wanted = (np.arange(1, bins) * len(ordered)) // bins
    edges = np.unique(np.searchsorted(ordered, ordered[wanted], side="left"))
    parts = [part for part in np.split(np.arange(len(ordered)), edges) if len(part)]
    return tuple(
        ReliabilityBin(
            low=float(ordered[part[0]]),
            high=float(ordered[part[-1]]),
            images=len(part),
            mean_score=float(ordered[part].mean()),
            observed=wilson(int(truth[part].sum()), len(part)),
        )
        for part in parts
    )


def _best_increasing(scores: Float64Array, truth: Float64Array) -> Float64Array:
    """Isotonic regression of the labels on the scores; equal scores get equal values."""
    from scipy.optimize import isotonic_regression  # loading it takes a moment

    _, place, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    shares = np.bincount(place, weights=truth) / sizes
    fitted = isotonic_regression(shares, weights=sizes).x
    return cast("Float64Array", fitted[place])
