"""The same figures for TensorBoard, written without TensorFlow or torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keshikaran.hashing import write_error
from keshikaran.inert import printable
from keshikaran.metrics import compute_curves
from keshikaran.report.content import ReportContent
from keshikaran.report.gallery import places
from keshikaran.report.projection import write_projection
from keshikaran.types import Float32Array

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

_CLASSES = ("acceptable", "objectionable")
_EDGES = np.linspace(0.0, 1.0, 21)
_ROC_STEPS = 200


def write_tensorboard_run(
    folder: Path, content: ReportContent, features: Float32Array | None = None
) -> None:
    """Write one run: figures, curves, reliability, worst errors, settings, test images in space.

    Args:
        folder: the run's folder, `runs/<model_id>`.
        content: what to show.
        features: of the test images in the order of `evaluation.test_set`, float32 [n, D], for the
            embedding projector; None leaves it out.

    Raises:
        StoreError: the folder cannot be written.
    """
    from tensorboardX import SummaryWriter

    try:
        with SummaryWriter(str(folder)) as writer:
            _write_steps(writer, content)
            _write_figures(writer, content)
            _write_reliability(writer, content)
            _write_errors(writer, content)
            if features is not None:
                write_projection(folder, content, features)
            settings = {name: printable(value) for name, value in content.settings.items()}
            rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in settings.items())
            writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")
    except OSError as error:
        raise write_error(folder, error) from error


def _write_steps(writer: SummaryWriter, content: ReportContent) -> None:
    for step in content.steps:
        writer.add_scalar("loss/train", step.train_loss, step.step)
        writer.add_scalar("loss/validation", step.validation_loss, step.step)
        writer.add_scalar("accuracy/train", step.train_accuracy, step.step)
        writer.add_scalar("accuracy/validation", step.validation_accuracy, step.step)
        if step.c is not None:
            writer.add_scalar("regularisation/c", step.c, step.step)


def _write_figures(writer: SummaryWriter, content: ReportContent) -> None:
    evaluation = content.evaluation
    for side, metrics in (("validation", evaluation.validation), ("test", evaluation.test)):
        if metrics is None:
            continue
        for name, value in metrics.to_dict().items():
            if isinstance(value, int | float):
                writer.add_scalar(f"{side}/{name}", value, 0)
    test = evaluation.test_set
    writer.add_pr_curve("pr/test", test.y_true, test.y_score, 0)
    for label, name in enumerate(_CLASSES):
        writer.add_histogram(f"scores/{name}", test.y_score[test.y_true == label], 0, bins=_EDGES)
    _write_roc(writer, content)
    writer.add_text("confusion/test", _confusion_table(evaluation.test.confusion_matrix))


def _write_roc(writer: SummaryWriter, content: ReportContent) -> None:
    """As a curve over steps, so that TensorBoard can lay those of several runs together."""
    test = content.evaluation.test_set
    curves = compute_curves(test.y_true, test.y_score)
    for step in range(_ROC_STEPS + 1):
        at_most = curves.false_positive_rate <= step / _ROC_STEPS
        height = float(curves.true_positive_rate[at_most].max())
        writer.add_scalar("roc/recall_by_false_positives_per_200", height, step)


def _write_reliability(writer: SummaryWriter, content: ReportContent) -> None:
    """As curves over the predicted share in thousandths, before and after calibration."""
    evaluation = content.evaluation
    for name, found in (("now", evaluation.calibration), ("before", evaluation.uncalibrated)):
        if found is None:
            continue
        writer.add_scalar(f"calibration/{name}/ece", found.ece, 0)
        writer.add_scalar(f"calibration/{name}/ece_by_chance", found.ece_by_chance, 0)
        for item in found.reliability:
            step = round(1000 * item.mean_score)
            if item.observed.value is not None:
                writer.add_scalar(f"reliability/{name}/observed", item.observed.value, step)
            writer.add_scalar(f"reliability/{name}/low", item.observed.low, step)
            writer.add_scalar(f"reliability/{name}/high", item.observed.high, step)


def _write_errors(writer: SummaryWriter, content: ReportContent) -> None:
    """The worst errors as they are in the page: JPEG files, not decoded here."""
    from tensorboardX.proto.summary_pb2 import Summary

    for number, place in enumerate(item for item in places(content.evaluation) if item.worst):
        picture = content.pictures.get(place.image_id)
        if picture is None or picture.thumbnail is None:
            continue
        width, height = picture.size
        image = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=picture.thumbnail
        )
        said = _CLASSES[place.label]
        tag = f"errors/{number:02d} {place.score:.4f} labelled {said} {place.image_id[:16]}"
        writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), 0)


def _cell(text: str) -> str:
    """Text within a table of Markdown, as text."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _confusion_table(matrix: list[list[int]]) -> str:
    """Rows: what people said; columns: what the model says at the block threshold."""
    rows = [
        f"| **{name}** | {' | '.join(map(str, counts))} |"
        for name, counts in zip(_CLASSES, matrix, strict=True)
    ]
    return "\n".join([f"| people ↓ model → | {' | '.join(_CLASSES)} |", "|---|---|---|", *rows])
