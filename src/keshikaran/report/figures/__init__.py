"""Figures as numbers to draw: `drawing` has the parts, the other modules place them."""

from keshikaran.evaluation import EvaluationReport
from keshikaran.learning_curve import LearningCurve
from keshikaran.report.figures.curves import precision_recall_figure, roc_figure
from keshikaran.report.figures.drawing import Figure
from keshikaran.report.figures.learning import learning_figure
from keshikaran.report.figures.scores import reliability_figure, score_figure


def report_figures(evaluation: EvaluationReport, curve: LearningCurve | None) -> list[Figure]:
    """What a report draws, in order."""
    return [
        roc_figure(evaluation),
        precision_recall_figure(evaluation),
        reliability_figure(evaluation),
        score_figure(evaluation),
        *(() if curve is None else (learning_figure(curve),)),
    ]


__all__ = [
    "Figure",
    "learning_figure",
    "precision_recall_figure",
    "reliability_figure",
    "report_figures",
    "roc_figure",
    "score_figure",
]
