"""ROC on a logarithmic axis, and precision at the policy's prevalence, with their intervals."""

from __future__ import annotations

import math

from keshikaran.evaluation import EvaluationReport
from keshikaran.intervals import Estimate
from keshikaran.operating_figures import CutFigures
from keshikaran.report.figures.drawing import (
    Dot,
    Figure,
    Line,
    Tick,
    band,
    path,
    stairs,
    unit_ticks,
    x_of,
    y_of,
)


def roc_figure(evaluation: EvaluationReport) -> Figure:
    """Recall against the false-positive rate, from less than one acceptable test image on."""
    curve = evaluation.curve
    least = 0.5 / curve.acceptable
    decades = range(math.ceil(math.log10(least)), 1)

    def across(rate: float) -> float:
        return x_of(1 - math.log10(max(rate, least)) / math.log10(least))

    points = [(across(p.false_positive_rate.value or 0.0), p.recall) for p in curve.points]
    line = stairs([(x, y_of(recall.value or 0.0)) for x, recall in points])
    cuts = evaluation.operating
    return Figure(
        "ROC on test images",
        f"Area under the curve {_words(evaluation.intervals['roc_auc'])}. At the block threshold"
        f" recall is {_words(cuts.block.recall)} at a false-positive rate of"
        f" {_words(cuts.block.false_positive_rate)}.",
        "false-positive rate (logarithmic)",
        "recall",
        tuple(Tick(across(10.0**e), f"{100 * 10.0**e:g}%") for e in decades),
        unit_ticks()[1],
        areas=(
            band(
                "first",
                stairs([(x, y_of(recall.high)) for x, recall in points]),
                stairs([(x, y_of(recall.low)) for x, recall in points]),
            ),
        ),
        lines=(Line("first", path(line)),),
        dots=tuple(
            _dot(name, across(cut.false_positive_rate.value or 0.0), cut.recall, "recall")
            for name, cut in _cuts(evaluation)
        ),
        legend=(("first", "recall, 95% interval"), ("second", "● block ○ review")),
    )


def precision_recall_figure(evaluation: EvaluationReport) -> Figure:
    """Precision among uploads, as common as the policy says, against recall."""
    points = [
        (x_of(p.recall.value or 0.0), p.precision)
        for p in evaluation.curve.points
        if p.precision.value is not None
    ]
    block = evaluation.operating.block
    return Figure(
        "Precision among uploads",
        f"With {100 * evaluation.prevalence:.3g}% objectionable uploads, precision at the block"
        f" threshold is {_words(block.precision)} at a recall of {_words(block.recall)}.",
        "recall",
        f"precision at {100 * evaluation.prevalence:.3g}% prevalence",
        *unit_ticks(),
        areas=(
            band(
                "first",
                [(x, y_of(precision.high)) for x, precision in points],
                [(x, y_of(precision.low)) for x, precision in points],
            ),
        ),
        lines=(Line("first", path((x, y_of(found.value or 0.0)) for x, found in points)),),
        dots=tuple(
            _dot(name, x_of(cut.recall.value or 0.0), cut.precision, "precision")
            for name, cut in _cuts(evaluation)
            if cut.precision.value is not None
        ),
        legend=(("first", "precision, 95% interval"), ("second", "● block ○ review")),
    )


def _cuts(evaluation: EvaluationReport) -> tuple[tuple[str, CutFigures], ...]:
    return ("block", evaluation.operating.block), ("review", evaluation.operating.review)


def _dot(name: str, x: float, height: Estimate, what: str) -> Dot:
    y = y_of(height.value or 0.0)
    return Dot("second", x, y, y, y, f"{name}: {what} {_words(height)}", hollow=name == "review")


def _words(found: Estimate) -> str:
    value = "unknown" if found.value is None else f"{found.value:.3f}"
    return f"{value} ({found.low:.3f} to {found.high:.3f})"
