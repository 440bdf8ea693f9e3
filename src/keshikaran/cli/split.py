"""The commands `split` and `link`."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from keshikaran.backbones import DEFAULT_BACKBONE
from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.grouped import grouped
from keshikaran.cli.options import (
    BackboneOption,
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    need_training,
    workspace_words,
)
from keshikaran.cli.split_options import SplitOptions
from keshikaran.linktree import write_link_tree
from keshikaran.split import SplitReport, SplitScheme
from keshikaran.types import SPLITS


@grouped
def split_command(
    split: SplitOptions,
    backbone: BackboneOption = DEFAULT_BACKBONE,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide which images train, which choose settings, which judge."""
    chosen = split.chosen  # first: a file that cannot be used is told before anything else
    place = existing_workspace(workspace)
    need_training("Splitting")
    from keshikaran.preparation import open_cached_tools, prepare
    from keshikaran.training_run import TrainingOptions

    options = TrainingOptions(backbone=backbone, split=chosen)
    with open_cached_tools(place, options) as tools:
        report = prepare(tools, options, TerminalProgress()).split
    if as_json:
        result(json.dumps(asdict(report)))
        return
    for side in SPLITS:
        counts = report.counts[side]
        result(f"{side:<10}  {counts['0']:>8,} acceptable  {counts['1']:>8,} objectionable")
    say_split(report, workspace)
    where = workspace_words(workspace)
    following = "audit" if report.set_aside or report.leaks else "train"
    say(
        f"Next: keshikaran {following}{where}, or keshikaran link FOLDER{where} for another trainer"
    )


def say_split(report: SplitReport, workspace: Path | None) -> None:
    """Tell what a split file left open, and what near-duplicates mean for the split."""
    if report.unassigned:
        say(f"{report.unassigned:,} labelled images are not in the file; they take no part.")
    if report.unknown:
        say(f"{report.unknown:,} lines of the file name no labelled image here.")
    if report.disagreeing:
        say(f"{report.disagreeing:,} lines of the file state another value than the label here.")
    if report.near_duplicates:
        say(
            f"{report.near_duplicates:,} images are near-duplicates of one another,"
            f" in {report.groups:,} groups."
        )
    if report.moved:
        say(f"{report.moved:,} images changed sides: figures of earlier models are not comparable.")
    if report.set_aside:
        say(
            f"{report.set_aside:,} images are set aside and take no part: copies of validation or"
            " test images, known or suspected."
        )
    if report.suspected:
        say(
            f"{report.suspected:,} images may be copies of one another; pixels could not tell."
            " They are kept on one side, if the scheme allows it: keshikaran audit lists them."
        )
    _say_leaks(report, workspace)


def _say_leaks(report: SplitReport, workspace: Path | None) -> None:
    if report.suspected_leaks:
        say(
            f"Warning: {report.suspected_leaks:,} images on train may be copies of validation or"
            " test images."
        )
    if report.leaks:
        say(
            f"Warning: {report.leaks:,} images on train are near-duplicates of validation or test"
            " images. Figures come out better than the model is."
        )
    if report.leaks or report.suspected_leaks:
        say(
            "  To deal near-duplicates together:"
            f" {guarded_split(report.scheme)}{workspace_words(workspace)}"
        )


def guarded_split(scheme: SplitScheme) -> str:
    """The command that keeps `scheme` as far as it deals near-duplicates together."""
    if scheme.name == "hash" and scheme.guard:
        return "keshikaran split"
    salt = f" --salt {printable(shlex.quote(scheme.salt))}" if scheme.salt else ""
    return f"keshikaran split --scheme hash{salt}{' --balance' if scheme.balance else ''}"


def link_command(
    out: Annotated[Path, typer.Argument(help="A new or empty folder, or an older link tree.")],
    backbone: BackboneOption = DEFAULT_BACKBONE,
    workspace: WorkspaceOption = None,
) -> None:
    """Write <type>/<value>/<objectId> links for trainers that read folders."""
    place = existing_workspace(workspace)
    need_training("Splitting")
    from keshikaran.preparation import open_cached_tools, prepare
    from keshikaran.training_run import TrainingOptions

    options = TrainingOptions(backbone=backbone)
    with open_cached_tools(place, options) as tools:
        split = prepare(tools, options, TerminalProgress()).split
        report = write_link_tree(tools.store, out)
    result(str(report.folder))
    say(f"{report.made:,} links made, {report.kept:,} were there already.")
    say_split(split, workspace)
    say(f"Next: point another trainer at {report.folder}/train and {report.folder}/validation")
