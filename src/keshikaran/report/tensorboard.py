"""The same figures for TensorBoard, written without TensorFlow or torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from keshikaran.hashing import write_error
from keshikaran.report.content import ReportContent
from keshikaran.report.figures import confusion_figure, roc_figure, score_figure, to_pixels

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


def write_tensorboard_run(folder: Path, content: ReportContent) -> None:
    """Write one run: scalars per step, test figures, ROC, PR, confusion, settings.

    Args:
        folder: the run's folder, `runs/<model_id>`.
        content: what to show.

    Raises:
        StoreError: the folder cannot be written.
    """
    from tensorboardX import SummaryWriter

    try:
        with SummaryWriter(str(folder)) as writer:
            _write_steps(writer, content)
            _write_figures(writer, content)
            rows = "\n".join(f"| {name} | {value} |" for name, value in content.settings.items())
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
        for name, value in metrics.to_dict().items():
            if isinstance(value, int | float):
                writer.add_scalar(f"{side}/{name}", value, 0)
    writer.add_pr_curve("pr/test", evaluation.test_set.y_true, evaluation.test_set.y_score, 0)
    for name, draw in (
        ("roc", roc_figure),
        ("confusion", confusion_figure),
        ("scores", score_figure),
    ):
        writer.add_image(f"test/{name}", to_pixels(draw(evaluation)), 0, dataformats="HWC")
