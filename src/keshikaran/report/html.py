"""One offline page that says how good a model is."""

from __future__ import annotations

from pathlib import Path

import jinja2

from keshikaran.hashing import write_durably
from keshikaran.report.content import ReportContent
from keshikaran.report.figures import report_figures

_FIGURES = ("images", "positives", "roc_auc", "average_precision", "log_loss", "brier_score", "ece")
_AT_THRESHOLD = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
_MOST_ROWS = 200


def write_html_report(path: Path, content: ReportContent) -> None:
    """Draw the page and write it durably.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    write_durably(path, render_html(content).encode())


def render_html(content: ReportContent) -> str:
    """The page as text. Needs nothing beside itself; names of files are inert in it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keshikaran.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    evaluation = content.evaluation
    return environment.get_template("report.html.j2").render(
        content=content,
        evaluation=evaluation,
        sentence=verdict_sentence(content),
        rows=[
            (name, getattr(evaluation.validation, name, None), getattr(evaluation.test, name))
            for name in (*_FIGURES, *_AT_THRESHOLD)
        ],
        figures=report_figures(evaluation),
        refusals=content.refusals[:_MOST_ROWS],
        contradictions=content.contradictions[:_MOST_ROWS],
    )


def verdict_sentence(content: ReportContent) -> str:
    """What the test images say about the model, in a sentence."""
    test = content.evaluation.test
    (_, false_alarms), (missed, found) = test.confusion_matrix
    return (
        f"On {test.images} test images that took no part in training, it finds {found} of"
        f" {found + missed} objectionable ones at the block threshold and blocks"
        f" {false_alarms} of {test.images - test.positives} acceptable ones by mistake."
    )
