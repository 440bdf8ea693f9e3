"""The commands `models list` and `models show`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from keshikaran.cli.console import printable, result, say
from keshikaran.cli.options import (
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    workspace_words,
)

if TYPE_CHECKING:
    from keshikaran.model_list import ListedModel
    from keshikaran.store import Change

models_app = typer.Typer(
    help="Say which models there are, and how they came to be in use.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@models_app.command("list")
def list_command(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the workspace's models, the newest first; * marks the one that answers."""
    from keshikaran.model_list import list_models

    found = list_models(existing_workspace(workspace))
    where = workspace_words(workspace)
    if as_json:
        result(json.dumps([model.to_dict() for model in found]))
        return
    if not found:
        say("There is no model yet.")
        say(f"Next: keshikaran train{where}")
        return
    head = f"{'':2}{'model':<26} {'created':<20} {'ROC AUC':>8} {'review':>7} {'block':>7}"
    result(f"{head}  {'arithmetic':<10}  how it came to be")
    for model in found:
        result(_line(model))
    if not any(model.in_use for model in found):
        say("No model was put into use: the newest answers.")
        say(f"Next: keshikaran promote{where}")
    else:
        say(f"Next: keshikaran models show MODEL{where}")


@models_app.command("show")
def show_model_command(
    model: Annotated[str, typer.Argument(help="A model's id, or the start of one.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a model's figures, and every change that put it into use."""
    from keshikaran.model_list import find_model, list_models
    from keshikaran.store import read_in_use

    place = existing_workspace(workspace)
    path = find_model(place, model)
    (found,) = [one for one in list_models(place) if one.path == path]
    changes = read_in_use(place.model_folder).changes
    own = [change for change in changes if change.model_id == found.model_id]
    if as_json:
        history = [_as_dict(change) for change in own]
        result(json.dumps(found.to_dict() | {"changes": history}))
        return
    for name, value in _facts(found).items():
        result(f"{name:<18} {printable(value)}")
    for change in own:
        result(f"{change.action:<18} {printable(_how(change))}")
    say(f"Next: keshikaran promote {printable(found.model_id)}{workspace_words(workspace)}")


def _as_dict(change: Change) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(change)


def _facts(model: ListedModel) -> dict[str, str]:
    facts = {"model": model.model_id, "file": str(model.path)}
    if model.problem is not None:
        return facts | {"problem": model.problem}
    figures = {
        name.replace("_", " "): f"{value:.4f}"
        for name, value in (model.test or {}).items()
        if isinstance(value, float)
    }
    cuts = model.thresholds
    if cuts is not None:
        facts |= {"review from": f"{cuts.review:.4f}", "block from": f"{cuts.block:.4f}"}
    return facts | {
        "created": str(model.created),
        "arithmetic": str(model.precision),
        "prevalence": f"{model.prevalence or 0.0:.4f}",
        "in use": "yes" if model.in_use else "no",
        **figures,
    }


def _line(model: ListedModel) -> str:
    mark = "*" if model.answers else ""
    start = f"{mark:<2}{printable(model.model_id):<26}"
    if model.problem is not None or model.thresholds is None:
        return f"{start} {printable(model.problem or '')}"
    area = "–" if model.roc_auc is None else f"{model.roc_auc:.4f}"
    cuts = f"{model.thresholds.review:>7.4f} {model.thresholds.block:>7.4f}"
    created = printable(str(model.created))[:19]
    how = "trained" if model.change is None else _how(model.change)
    return f"{start} {created:<20} {area:>8} {cuts}  {model.precision:<10}  {printable(how)}"


def _how(change: Change) -> str:
    forced = ", forced" if change.forced else ""
    compared = f", {change.verdict}" if change.verdict else ""
    why = f": {change.why}" if change.why else ""
    done = "promoted" if change.action == "promote" else "rolled back to"
    return f"{done} {change.at} by {change.who}{compared}{forced}{why}"
