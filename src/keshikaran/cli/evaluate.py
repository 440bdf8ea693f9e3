"""The command `evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.data import PARTLY
from keshikaran.cli.engine_options import EngineOptions
from keshikaran.cli.grouped import grouped
from keshikaran.cli.model_options import model_in_use
from keshikaran.cli.options import (
    JsonOption,
    MediaDirOption,
    ModelOption,
    PositiveOption,
    WorkspaceOption,
    existing_workspace,
    need_training,
    workspace_words,
)
from keshikaran.errors import UsageError

if TYPE_CHECKING:
    from keshikaran.evaluating import FolderEvaluation
    from keshikaran.evaluation import EvaluationReport
    from keshikaran.intervals import Estimate
    from keshikaran.judging import Judgement


@grouped
def evaluate_command(
    *,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Labelled images: folders of class folders, archives, or a label.csv."
            " Default: the workspace's test images.",
            show_default=False,
        ),
    ] = None,
    positive: PositiveOption = None,
    media_dir: MediaDirOption = None,
    model: ModelOption = None,
    running: EngineOptions,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a model's figures on the workspace's test images, or on any labelled images."""
    need_training("Evaluation")
    if not sources and (positive or media_dir is not None):
        msg = "--positive and --media-dir change nothing without images."
        raise UsageError(msg, "Name a folder, or leave them out for the workspace's test images.")
    if sources:
        path = model or model_in_use(workspace)
        found = _on_sources(path, sources, positive or [], media_dir, running)
        _tell(found.evaluation, _folder_facts(found), as_json=as_json)
        undecided = found.undecided
    else:
        existing_workspace(workspace)
        path = model or model_in_use(workspace)
        judged = _on_workspace(path, workspace, running)
        _tell(judged.evaluation, {"foreign": judged.foreign}, as_json=as_json)
        undecided = len(judged.features.refused)
        if judged.foreign:
            say("The model was trained under another split: it may have learned from these images.")
    if not as_json:
        say(f"Next: for a page to look at, keshikaran report{workspace_words(workspace)}")
    if undecided:
        say(f"{undecided:,} files stayed undecided and count nowhere.")
        raise typer.Exit(PARTLY)


def _on_sources(
    path: Path,
    sources: list[str],
    positives: list[str],
    media_dir: Path | None,
    running: EngineOptions,
) -> FolderEvaluation:
    from keshikaran.evaluating import evaluate_sources
    from keshikaran.ingest import resolve_sources
    from keshikaran.predictor import Predictor

    found = resolve_sources(sources, positives=positives, media_dir=media_dir)
    with Predictor.load(
        path, engine=running.engine, device=running.device, isolation=running.isolation
    ) as predictor:
        return evaluate_sources(predictor, found, TerminalProgress())


def _on_workspace(path: Path, workspace: Path | None, running: EngineOptions) -> Judgement:
    from keshikaran.bundle import read_bundle
    from keshikaran.judging import judge
    from keshikaran.preparation import open_bundle_tools

    bundle = read_bundle(path)
    with open_bundle_tools(existing_workspace(workspace), bundle, running.settings) as tools:
        return judge(tools, bundle, path.name, TerminalProgress())


def _folder_facts(found: FolderEvaluation) -> dict[str, int]:
    names = ("undecided", "repeated", "contradictory", "unlabelled")
    return {name: getattr(found, name) for name in names}


def _tell(evaluation: EvaluationReport, facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        result(json.dumps(evaluation.to_dict() | facts, allow_nan=False))
        return
    for line in evaluation_lines(evaluation):
        result(line)
    for name, value in facts.items():
        if value and name not in ("foreign", "undecided"):
            say(f"{value:,} files {name}.")


def evaluation_lines(evaluation: EvaluationReport) -> Iterator[str]:
    """The figures as a table for people."""
    test, operating = evaluation.test, evaluation.operating
    yield f"{'images':<22} {test.images:>9,}  of which {test.positives:,} objectionable"
    yield f"{'prevalence':<22} {evaluation.prevalence:>9.4f}"
    debiased = evaluation.intervals.get("ece_debiased")
    yield _row("calibration error", debiased, None if debiased is None else debiased.value)
    yield f"{'  plain':<22}    {evaluation.calibration_words()}"
    for name in ("roc_auc", "average_precision", "log_loss", "brier_score"):
        yield _row(name.replace("_", " "), evaluation.intervals.get(name), getattr(test, name))
    for item in evaluation.recall_at:
        few = "" if item.supported else f"  (needs {item.needed:,} acceptable images)"
        yield _row(f"recall at {100 * item.rate:g}% FPR", item.recall, item.recall.value) + few
    for name, cut in (("review", operating.review), ("block", operating.block)):
        yield f"{name} from {cut.cut:.4f}"
        yield _row("  recall", cut.recall, cut.recall.value)
        yield _row("  false positives", cut.false_positive_rate, cut.false_positive_rate.value)
        yield _row("  precision", cut.precision, cut.precision.value)
    a_day = " a day" if operating.a_day else ""
    yield f"of {operating.uploads:,} uploads{a_day}"
    for name in ("blocked", "wrongly_blocked", "reviewed", "missed"):
        estimate = getattr(operating, name)
        value = "–" if estimate.value is None else f"{estimate.value:.1f}"
        yield (
            f"{'  ' + name.replace('_', ' '):<22} {value:>9}"
            f"  ({estimate.low:.1f} to {estimate.high:.1f})"
        )
    for outcome in evaluation.promises:
        yield f"{outcome.status:<22} {printable(outcome.words)}"


def _row(name: str, found: Estimate | None, value: float | None) -> str:
    words = "–" if value is None else f"{value:.4f}"
    interval = "" if found is None else f"  ({found.low:.4f} to {found.high:.4f})"
    return f"{name:<22} {words:>9}{interval}"
