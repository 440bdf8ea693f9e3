"""The command `suggest`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keshikaran.backbones import DEFAULT_BACKBONE
from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.data import PARTLY
from keshikaran.cli.lists import fill_in, say_written
from keshikaran.cli.options import (
    BackboneOption,
    IsolationOption,
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    need_training,
    workspace_words,
)
from keshikaran.errors import UsageError
from keshikaran.hashing import write_durably
from keshikaran.label_file import to_csv

if TYPE_CHECKING:
    from keshikaran.labelling import LabellingPlan
    from keshikaran.learning_curve import Forecast, LearningCurve

_LITTLE = 0.002  # of the ROC curve's area, from so many labels: people have better things to do


def suggest_command(
    n: Annotated[int, typer.Option("--n", min=1, help="How many images.")] = 50,
    random_share: Annotated[
        float,
        typer.Option("--random", min=0.0, max=1.0, help="Share of images that nobody chooses."),
    ] = 0.2,
    csv: Annotated[
        Path | None,
        typer.Option(help="Write a list to fill in, for label --from.", show_default=False),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page of blurred thumbnails.", show_default=False),
    ] = None,
    backbone: BackboneOption = DEFAULT_BACKBONE,
    isolation: IsolationOption = "process",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which unlabelled images to label next, and what that will bring."""
    place = existing_workspace(workspace)
    _check_ending(csv, "--csv", ".csv")
    _check_ending(html, "--html", ".html")
    need_training("Suggesting")
    from keshikaran.labelling import contact_sheet, csv_rows, plan_labelling
    from keshikaran.report import write_contact_sheet
    from keshikaran.training_run import TrainingOptions

    plan = plan_labelling(
        place,
        n,
        TrainingOptions(backbone=backbone, isolation=isolation),
        random_share=random_share,
        thumbnails=html is not None,
        progress=TerminalProgress(),
    )
    where = workspace_words(workspace)
    if csv is not None:
        write_durably(csv, to_csv(csv_rows(plan)))
    if html is not None:
        write_contact_sheet(html, contact_sheet(plan, where))
    if as_json:
        result(json.dumps(plan.to_dict()))
    else:
        _show(plan)
        say_written(path for path in (csv, html) if path is not None)
        say(f"Next: {_following(plan, csv)}{where}")
    if plan.undecodable:
        raise typer.Exit(PARTLY)


def _check_ending(path: Path | None, option: str, ending: str) -> None:
    """Refuse a name that would mislead.

    Raises:
        UsageError: another ending.
    """
    if path is not None and path.suffix.lower() != ending:
        msg = f"{option} {path} does not end in {ending}."
        raise UsageError(msg, f"Name a file such as to-label{ending}.")


def _show(plan: LabellingPlan) -> None:
    for item in plan.suggestions:
        score = "–" if item.score is None else f"{item.score:.4f}"
        path = printable(plan.place_of(item.image_id))
        result(f"{score:<6}  {item.why:<9}  {path}  {item.image_id}")
    if not plan.unlabelled:
        say(f"All {plan.labelled:,} images are labelled, or their imports disagree.")
    elif plan.looked_at + plan.undecodable < plan.unlabelled:
        say(f"Looked at {plan.looked_at:,} of {plan.unlabelled:,} unlabelled images, by chance.")
    if plan.undecodable:
        say(f"Left out, since they cannot be decoded: {plan.undecodable:,} images.")
    if plan.suggestions and plan.suggestions[0].why == "spread":
        say("Too few labels of both kinds to ask for uncertain images; these differ most.")
    share = plan.prevalence
    if share is not None:
        say(
            f"Objectionable among all images: about {share.share:.1%}, {share.low:.1%} to"
            f" {share.high:.1%} (95%), from {share.images:,} random ones that were labelled."
        )
    if plan.curve is not None:
        _show_curve(plan.curve)


def _show_curve(curve: LearningCurve) -> None:
    rate = f"recall at {curve.false_positive_rate:.0%} false positives"
    for name, figure in (("ROC AUC", curve.roc_auc), (rate, curve.recall)):
        for forecast in figure.forecasts:
            say(_words(name, forecast))
    last = curve.roc_auc.forecasts[-1]
    if last.then - last.now < _LITTLE:
        say(
            f"Hardly worth {last.more:,} more labels of this kind. What may help more:"
            " keshikaran review-labels, or images of a kind that is missing."
        )


def _words(name: str, forecast: Forecast) -> str:
    return (
        f"{forecast.more:,} more labels: {name} {forecast.now:.3f} → about {forecast.then:.3f}"
        f" ({forecast.low:.3f} to {forecast.high:.3f}, 95%)"
    )


def _following(plan: LabellingPlan, csv: Path | None) -> str:
    if not plan.suggestions:
        return "keshikaran import FOLDER with new images, or keshikaran train"
    if csv is not None:
        return fill_in(csv)
    return "keshikaran suggest --csv to-label.csv --html to-label.html"
