"""The commands `promote` and `rollback`: which model answers."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.engine_options import EngineOptions
from keshikaran.cli.grouped import grouped
from keshikaran.cli.options import (
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    need_training,
    workspace_words,
)
from keshikaran.errors import UsageError

if TYPE_CHECKING:
    from keshikaran.promoting import Weighed
    from keshikaran.promotion import Comparison, FigureDifference

_SHOWN = 10
_FAILED = 1

WhoOption = Annotated[
    str | None, typer.Option(help="Who says so. Default: your user name.", show_default=False)
]


@grouped
def promote_command(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="A model's id, the start of one, or a file. Default: the newest.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Compare with this one. Default: the one in use, else the newest.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only compare.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Put it into use though it is worse; needs --reason.")
    ] = False,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why; kept with the change.", show_default=False)
    ] = "",
    who: WhoOption = None,
    running: EngineOptions,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a model with the one in use on the test images; put it into use if it is no worse."""
    _check_options(reason, force=force, dry_run=dry_run)
    need_training("Comparing models")
    from keshikaran.labels import current_user
    from keshikaran.model_list import find_model
    from keshikaran.promoting import put_new_model_into_use, weigh

    place = existing_workspace(workspace)
    new = find_model(place, model)
    old = None if against is None else find_model(place, against)
    weighed = weigh(place, new, old, running.settings, TerminalProgress())
    refused = bool(weighed.reasons) and not force
    wanted = not (refused or dry_run or weighed.already)
    if as_json:
        if wanted:
            put_new_model_into_use(
                place, weighed, who=who or current_user(), why=reason, force=force
            )
        result(json.dumps(weighed.to_dict() | {"promoted": wanted}))
        if refused:
            raise typer.Exit(_FAILED)
        return
    show_weighed(weighed)
    if refused or wanted:
        put_new_model_into_use(place, weighed, who=who or current_user(), why=reason, force=force)
    _say_next(weighed, workspace_words(workspace), promoted=wanted)


def _check_options(reason: str, *, force: bool, dry_run: bool) -> None:
    if force and not reason.strip():
        msg = "--force needs --reason TEXT."
        raise UsageError(msg, "Say why in a sentence: it is kept.")
    if force and dry_run:
        msg = "--force and --dry-run exclude each other."
        raise UsageError(msg, "Choose one.")


def show_weighed(weighed: Weighed) -> None:
    """Print the comparison and what speaks against the new model."""
    if weighed.comparison is not None:
        show_comparison(weighed.comparison, weighed)
    for words in weighed.notes:
        say(f"Note: {printable(words)}")


def show_comparison(found: Comparison, weighed: Weighed) -> None:
    """Print figures and the images whose verdict would change."""
    result(f"{'in use':<28} {printable(found.old)}")
    result(f"{'new':<28} {printable(found.new)}")
    result(f"{'test images':<28} {found.images:,}, {found.positives:,} of them objectionable")
    result("")
    result(f"{'':<28} {'in use':>8} {'new':>8} {'change, 95% interval':>28}")
    for figure in found.figures:
        result(_figure_line(figure, found.rate))
    result("")
    for name, counts in found.moves().items():
        zeros, ones = counts["0"], counts["1"]
        result(f"{name:<28} {zeros:>7,} acceptable {ones:>7,} objectionable")
    for one in found.transitions[:_SHOWN]:
        path = next(iter(weighed.places.get(one.image_id, [])), "-")
        label = "objectionable" if one.label else "acceptable"
        words = f"{one.old} → {one.new}  {label}  {one.old_score:.4f} → {one.new_score:.4f}"
        result(f"  {one.image_id[:12]}  {words}  {printable(path)}")
    if len(found.transitions) > _SHOWN:
        say(f"  … and {len(found.transitions) - _SHOWN:,} more: see --json.")
    result(f"{'verdict':<28} {found.verdict}")


def _figure_line(figure: FigureDifference, rate: float) -> str:
    name = figure.name.replace("_", " ")
    if figure.name == "recall_at_rate":
        name = f"recall at {100 * rate:.4g}% false"
    values = ["–" if v is None else f"{v:.4f}" for v in (figure.old, figure.new)]
    gap = figure.difference
    change = f"{gap.value or 0.0:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
    mark = "" if figure.verdict == "no clear difference" else f"  {figure.verdict}"
    return f"{name:<28} {values[0]:>8} {values[1]:>8} {change:>28}{mark}"


def _say_next(weighed: Weighed, where: str, *, promoted: bool) -> None:
    model = printable(weighed.model_id)
    if weighed.already:
        say(f"{model} is in use already.")
        say(f"Next: keshikaran models list{where}")
    elif not promoted:
        said = "; ".join(weighed.reasons) or "Nothing speaks against it."
        say(f"Only compared. {printable(said)}")
        say(f"Next: keshikaran promote {model}{where}")
    else:
        if weighed.comparison is None and not weighed.reasons:
            say("Nobody had chosen a model before, so nothing was compared (see --against).")
        say(f"{model} is in use. A running server takes it at SIGHUP.")
        say(f"Next: keshikaran predict IMAGE{where}")


def rollback_command(
    to: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="An id, or the start of one. Default: the model that was replaced.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why; kept with the change.", show_default=False)
    ] = "",
    who: WhoOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go back to the model that was in use before; nothing is compared."""
    need_training("Choosing a model")
    from keshikaran.labels import current_user
    from keshikaran.promoting import roll_back
    from keshikaran.store import read_in_use

    place = existing_workspace(workspace)
    before = read_in_use(place.model_folder).model_id
    found = roll_back(place, to, who=who or current_user(), why=reason)
    change = found.changes[-1]
    if as_json:
        result(json.dumps({"was_in_use": before} | asdict(change)))
        return
    result(printable(change.model_id))
    if change.model_id == before:
        say("It is in use already.")
    else:
        say(
            f"It replaces {printable(before or 'the newest')}. A running server takes it at SIGHUP."
        )
    say(f"Next: keshikaran models list{workspace_words(workspace)}")
