"""The command `label`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer

from keshikaran.cli.console import result, say
from keshikaran.cli.options import (
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    workspace_words,
)
from keshikaran.errors import UsageError
from keshikaran.labels import current_user, label_from_file, label_image
from keshikaran.store import Store
from keshikaran.types import Label

_VALUES = {"0", "1", "none"}


def label_command(
    images: Annotated[
        list[str] | None,
        typer.Argument(help="Files, or image ids (6 digits or more).", show_default=False),
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(help="0 acceptable, 1 objectionable, none to take back.", show_default=False),
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE.csv",
            help="Take over a list that review-labels wrote and you filled in.",
            show_default=False,
        ),
    ] = None,
    why: Annotated[str, typer.Option(help="A reason worth keeping.")] = "",
    who: Annotated[
        str | None, typer.Option(help="Who says so. Default: you.", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what an image is; a person's word outweighs imported labels."""
    label = _checked(images, value, from_file)
    with Store(existing_workspace(workspace).folder) as store:
        name = who or current_user()
        if from_file is not None:
            _from_file(store, from_file, name, why, as_json=as_json)
        else:
            ids = [label_image(store, image, label, who=name, why=why) for image in images or []]
            if as_json:
                result(json.dumps({"value": label, "image_ids": ids}))
            else:
                for image_id in ids:
                    result(f"{image_id}  {value}")
    say(f"Next: keshikaran train{workspace_words(workspace)}")


def _checked(images: list[str] | None, value: str | None, from_file: Path | None) -> Label | None:
    """The label to give; None to take back, or where a file says it.

    Raises:
        UsageError: too little, too much, or an unknown value.
    """
    if from_file is not None:
        if images or value is not None:
            msg = "--from says everything; images and --value have no place beside it."
            raise UsageError(msg, "Give either images and --value, or --from FILE.csv.")
        return None
    if not images or value is None:
        msg = "There is nothing to label." if not images else "--value is missing."
        raise UsageError(msg, "Give images and --value 0|1|none, or --from FILE.csv.")
    if value not in _VALUES:
        msg = f"--value {value} is unknown."
        raise UsageError(msg, "Use 0 (acceptable), 1 (objectionable) or none.")
    return None if value == "none" else cast("Label", int(value))


def _from_file(store: Store, path: Path, who: str, why: str, *, as_json: bool) -> None:
    done = label_from_file(store, path, who=who, why=why)
    if as_json:
        result(json.dumps(asdict(done)))
        return
    for name, number in asdict(done).items():
        result(f"{name:<12} {number:>8,}")
