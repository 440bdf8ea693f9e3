"""The command `similar`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from keshikaran.backbones import DEFAULT_BACKBONE
from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.options import (
    AcceptOption,
    IsolationOption,
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    formats_of,
    workspace_words,
)

if TYPE_CHECKING:
    from keshikaran.similar import Neighbour, Similar

_ID_DIGITS = 12


def similar_command(
    image: Annotated[
        str, typer.Argument(help="A file anywhere, or a stored image's id (6 digits or more).")
    ],
    top: Annotated[int, typer.Option(min=1, help="How many are wanted.")] = 10,
    backbone: Annotated[
        str, typer.Option(help="Whose features: a name, or the path of an ONNX file.")
    ] = DEFAULT_BACKBONE,
    isolation: IsolationOption = "process",
    accept: AcceptOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the stored images most like an image: cosine, label, path, id."""
    place = existing_workspace(workspace)
    from keshikaran.similar import open_similar
    from keshikaran.training_run import TrainingOptions

    options = TrainingOptions(backbone=backbone, isolation=isolation, accept=formats_of(accept))
    with open_similar(place, options, TerminalProgress()) as images:
        found = images.of(image, top)
        if images.not_compared:
            say(f"Not compared, since they cannot be decoded: {images.not_compared:,} images.")
    if as_json:
        result(json.dumps(found.to_dict()))
        return
    for neighbour in found.neighbours:
        result(neighbour_line(neighbour))
    _say_more(found, workspace_words(workspace))


def neighbour_line(neighbour: Neighbour) -> str:
    """A neighbour as a line for people: cosine, label, path, the start of its id."""
    label = "-" if neighbour.label is None else str(neighbour.label)
    path = printable(neighbour.paths[0]) if neighbour.paths else "-"
    return f"{neighbour.cosine:6.3f}  {label}  {path}  {neighbour.image_id[:_ID_DIGITS]}"


def _say_more(found: Similar, where: str) -> None:
    if not found.neighbours:
        say("There is no other image to compare with.")
        say(f"Next: keshikaran import FOLDER --positive NAME{where}")
        return
    if not found.exact:
        say(f"Most likely the nearest of {found.images:,} images; a proof would take longer.")
    say(f"Next: keshikaran show {found.neighbours[0].image_id[:_ID_DIGITS]}{where}")
