"""Scores → the evaluation that reports, bundles and TensorBoard all show."""

from __future__ import annotations

from keshikaran.metrics import EvaluationReport, ScoredSet, compute_curves, compute_metrics
from keshikaran.types import Thresholds


def evaluate(validation: ScoredSet, test: ScoredSet, thresholds: Thresholds) -> EvaluationReport:
    """Compute all figures on all images of both sets; each needs both classes."""
    return EvaluationReport(
        thresholds=thresholds,
        validation=compute_metrics(validation.y_true, validation.y_score, thresholds.block),
        test=compute_metrics(test.y_true, test.y_score, thresholds.block),
        curves=compute_curves(test.y_true, test.y_score),
        test_set=test,
    )
