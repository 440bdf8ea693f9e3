"""The pictures of a report, drawn with matplotlib and without its global state."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from keshikaran.metrics import EvaluationReport
from keshikaran.types import UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK = "#7a7a7a"
_LINE = "#2f7ed8"
_OTHER = "#d8572f"


def roc_figure(evaluation: EvaluationReport) -> Figure:
    """True against false positive rate on the test images."""
    figure, axes = _figure("ROC on test images", "false positive rate", "true positive rate")
    curves = evaluation.curves
    axes.plot(curves.false_positive_rate, curves.true_positive_rate, color=_LINE)
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":")
    tn, fp = evaluation.test.confusion_matrix[0]
    axes.plot(fp / max(1, tn + fp), evaluation.test.recall, "o", color=_OTHER)
    return figure


def precision_recall_figure(evaluation: EvaluationReport) -> Figure:
    """Precision against recall on the test images."""
    figure, axes = _figure("Precision and recall on test images", "recall", "precision")
    axes.plot(evaluation.curves.recall, evaluation.curves.precision, color=_LINE)
    axes.plot(evaluation.test.recall, evaluation.test.precision, "o", color=_OTHER)
    return figure


def score_figure(evaluation: EvaluationReport) -> Figure:
    """How the scores of both classes are spread, and where the cuts lie."""
    figure, axes = _figure("Scores of test images", "score", "images")
    scores, labels = evaluation.test_set.y_score, evaluation.test_set.y_true
    bins = np.linspace(0.0, 1.0, 21)
    axes.hist(
        [scores[labels == 0], scores[labels == 1]],
        bins=bins.tolist(),
        color=[_LINE, _OTHER],
        label=["acceptable", "objectionable"],
    )
    axes.axvline(evaluation.thresholds.review, color=_INK, linestyle=":", label="review")
    axes.axvline(evaluation.thresholds.block, color=_INK, linestyle="-", label="block")
    axes.set_yscale("symlog")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, labelcolor=_INK, framealpha=0)
    return figure


def confusion_figure(evaluation: EvaluationReport) -> Figure:
    """The confusion matrix at the `block` threshold."""
    figure, axes = _figure("Confusion at the block threshold", "model", "people")
    matrix = np.array(evaluation.test.confusion_matrix)
    axes.imshow(matrix, cmap="Blues", norm="symlog" if matrix.max() > 10 else None)
    names = ["acceptable", "objectionable"]
    axes.set_xticks([0, 1], names)
    axes.set_yticks([0, 1], names, rotation=90, va="center")
    for row in range(2):
        for column in range(2):
            axes.text(
                column,
                row,
                str(matrix[row, column]),
                ha="center",
                va="center",
                fontsize=16,
                color="#000000",
                bbox={"facecolor": "#ffffffbb", "edgecolor": "none"},
            )
    return figure


def to_svg(figure: Figure) -> str:
    """The figure as an SVG element that can stand inside a page."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # no addresses in the page
    figure.savefig(text, format="svg", metadata=nothing)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def to_pixels(figure: Figure) -> UInt8Array:
    """The figure as uint8 [H, W, 3], on white."""
    figure.set_facecolor("white")
    data = io.BytesIO()
    figure.savefig(data, format="raw", dpi=figure.dpi)
    width, height = (int(side) for side in figure.canvas.get_width_height())
    rgba = np.frombuffer(data.getvalue(), dtype=np.uint8).reshape(height, width, 4)
    return rgba[:, :, :3].copy()


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.7))
    figure.subplots_adjust(left=0.15, right=0.96, bottom=0.14, top=0.91)
    figure.set_facecolor("none")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    axes.set_title(title, fontsize=10, color=_INK)
    axes.set_xlabel(x, color=_INK)
    axes.set_ylabel(y, color=_INK)
    axes.tick_params(colors=_INK)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    return figure, axes
