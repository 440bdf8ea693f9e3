"""Scores → the evaluation that reports, bundles and TensorBoard all show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keshikaran.bootstrap import Scale, Statistic, bootstrap_estimate, plan_resampling
from keshikaran.calibration import logits_of, prior_shift
from keshikaran.calibration_figures import calibration_figures
from keshikaran.calibration_interval import calibration_error_estimate
from keshikaran.curves import FALSE_POSITIVE_RATES, compute_curve, recall_at
from keshikaran.evaluation import EvaluationReport
from keshikaran.head import sigmoid
from keshikaran.intervals import Estimate, wilson
from keshikaran.metrics import Metrics, ScoredSet, compute_metrics, log_losses
from keshikaran.operating_figures import operating_figures
from keshikaran.promises import Outcome
from keshikaran.roc_area import roc_auc_estimate
from keshikaran.types import Float64Array, GroupId, LabelArray, Thresholds
from keshikaran.weighted_figures import (
    weighted_average_precision,
    weighted_balanced_accuracy,
    weighted_f1,
    weighted_mean,
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What figures are taken at.

    Attributes:
        thresholds: the two cuts.
        prevalence: share of objectionable images among uploads that the scores assume, in (0, 1).
        label_prevalence: the same among the images that taught: the mix that probabilities are
            judged under.
        uploads_per_day: None where nobody said.
        promises: what became of each demand of the policy.
    """

    thresholds: Thresholds
    prevalence: float
    label_prevalence: float
    uploads_per_day: int | None = None
    promises: tuple[Outcome, ...] = ()


def evaluate(
    validation: ScoredSet | None,
    test: ScoredSet,
    terms: Terms,
    *,
    groups: Sequence[GroupId] | None = None,
    uncalibrated: Float64Array | None = None,
) -> EvaluationReport:
    """Compute all figures on all images of both sets; each needs both classes.

    Args:
        validation: the images that chose the settings, if any.
        test: images that chose nothing.
        terms: thresholds, prevalence, promises.
        groups: of near-duplicates among the test images, [n]; None: each stands for itself.
        uncalibrated: probabilities of the test images before calibration, [n], if known.
    """
    labels, scores = test.y_true, test.y_score
    own = _at_labels(scores, terms)
    figures = _metrics(test, terms)
    return EvaluationReport(
        thresholds=terms.thresholds,
        prevalence=terms.prevalence,
        label_prevalence=terms.label_prevalence,
        validation=None if validation is None else _metrics(validation, terms),
        test=figures,
        intervals=_intervals(figures, labels, scores, own, groups),
        curve=compute_curve(labels, scores, terms.prevalence),
        recall_at=tuple(recall_at(labels, scores, rate, groups) for rate in FALSE_POSITIVE_RATES),
        operating=operating_figures(
            labels, scores, terms.thresholds, terms.prevalence, terms.uploads_per_day
        ),
        calibration=calibration_figures(labels, own),
        uncalibrated=None if uncalibrated is None else calibration_figures(labels, uncalibrated),
        promises=terms.promises,
        test_set=test,
    )


def _at_labels(scores: Float64Array, terms: Terms) -> Float64Array:
    """Probabilities under the mix of the labels."""
    if terms.prevalence == terms.label_prevalence:
        return scores
    shift = prior_shift(terms.prevalence, terms.label_prevalence)
    return sigmoid(logits_of(scores) + shift)


def _metrics(scored: ScoredSet, terms: Terms) -> Metrics:
    probabilities = _at_labels(scored.y_score, terms)
    return compute_metrics(scored.y_true, scored.y_score, terms.thresholds.block, probabilities)


def _intervals(
    figures: Metrics,
    labels: LabelArray,
    scores: Float64Array,
    probabilities: Float64Array,
    groups: Sequence[GroupId] | None,
) -> dict[str, Estimate]:
    """Shares have Wilson's intervals, the area DeLong's, the rest a bootstrap over groups."""
    (tn, fp), (fn, tp) = figures.confusion_matrix
    called = scores >= figures.threshold
    plan = plan_resampling(labels, groups)
    resampled: dict[str, tuple[Statistic, Scale]] = {
        "average_precision": (weighted_average_precision(labels, scores), "share"),
        "log_loss": (weighted_mean(log_losses(labels, probabilities)), "positive"),
        "brier_score": (weighted_mean((probabilities - labels) ** 2), "positive"),
        "balanced_accuracy": (weighted_balanced_accuracy(labels, called), "share"),
        "f1": (weighted_f1(labels, called), "share"),
    }
    return {
        "roc_auc": roc_auc_estimate(labels, scores),
        "ece_debiased": calibration_error_estimate(labels, probabilities, plan),
        "accuracy": wilson(tn + tp, len(labels)),
        "precision": wilson(tp, tp + fp),
        "recall": wilson(tp, tp + fn),
    } | {
        name: bootstrap_estimate(statistic, plan, scale=scale)
        for name, (statistic, scale) in resampled.items()
    }
