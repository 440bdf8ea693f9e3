"""The command `review-labels`."""

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
    from keshikaran.reviewing import WorkspaceReview

_TOP = 200
_SHOWN = 20
_NAME = "labels-to-check"


def review_labels_command(
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the list: a folder (CSV and page), or a file that ends in .csv or .json.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page of blurred thumbnails.", show_default=False),
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="How many labels; 0 for all.")] = _TOP,
    again: Annotated[
        bool, typer.Option("--again", help="Also labels that a person confirmed or corrected.")
    ] = False,
    backbone: BackboneOption = DEFAULT_BACKBONE,
    isolation: IsolationOption = "process",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the labels that are most likely wrong, with the evidence."""
    place = existing_workspace(workspace)
    lists, page = _targets(out, html)
    need_training("Reviewing labels")
    from keshikaran.report import write_contact_sheet
    from keshikaran.reviewing import contact_sheet, csv_rows, review_workspace
    from keshikaran.training_run import TrainingOptions

    found = review_workspace(
        place,
        TrainingOptions(backbone=backbone, isolation=isolation),
        top=top or None,
        again=again,
        thumbnails=page is not None,
        progress=TerminalProgress(),
    )
    for path in lists:
        as_csv = path.suffix == ".csv"
        write_durably(path, to_csv(csv_rows(found)) if as_csv else _as_json(found))
    if page is not None:
        write_contact_sheet(page, contact_sheet(found, workspace_words(workspace)))
    if as_json:
        result(json.dumps(found.to_dict()))
    else:
        _show(found)
        say_written([*lists, *([page] if page else [])])
        say(f"Next: {_following(found, lists)}{workspace_words(workspace)}")
    if found.undecodable:
        raise typer.Exit(PARTLY)


def _targets(out: Path | None, html: Path | None) -> tuple[list[Path], Path | None]:
    """Where the list goes, and where the page goes.

    Raises:
        UsageError: a file with another ending.
    """
    if html is not None and html.suffix.lower() not in {".html", ".htm"}:
        msg = f"--html {html} does not end in .html."
        raise UsageError(msg, "Name a file such as labels-to-check.html.")
    if out is None:
        return [], html
    if out.is_dir() or not out.suffix:
        return [out / f"{_NAME}.csv"], html or out / f"{_NAME}.html"
    if out.suffix not in {".csv", ".json"}:
        msg = f"--out {out} is neither a folder nor a .csv or .json file."
        raise UsageError(msg, "Name a folder, or a file that ends in .csv or .json.")
    return [out], html


def _as_json(found: WorkspaceReview) -> bytes:
    return (json.dumps(found.to_dict(), indent=1) + "\n").encode()


def _show(found: WorkspaceReview) -> None:
    review = found.review
    for rank, item in enumerate(review.items[:_SHOWN], start=1):
        label = "–" if item.label is None else str(item.label)
        path = printable(found.place_of(item.image_id))
        result(
            f"{rank:>4}  {item.image_id[:16]}  {label}  {item.doubt:.4f}  {item.reason:<10}  {path}"
        )
    if len(review.items) > _SHOWN:
        say(f"… and {len(review.items) - _SHOWN:,} more: --out FOLDER writes all of them.")
    say(
        f"{review.images:,} labelled images: about {review.suspicious:,} labels look wrong,"
        f" {len(review.items):,} are listed, the most doubtful first."
    )
    if review.settled:
        say(f"Left out, since a person confirmed or corrected them: {review.settled:,} (--again).")
    if found.undecodable:
        say(f"Not reviewed, since they cannot be decoded: {found.undecodable:,} images.")


def _following(found: WorkspaceReview, lists: list[Path]) -> str:
    written = [path for path in lists if path.suffix == ".csv"]
    if written:
        return fill_in(written[0])
    if not found.review.items:
        return "keshikaran train"
    return "keshikaran review-labels --out FOLDER"
