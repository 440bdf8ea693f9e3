"""The command `export-memory`."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.model_options import model_in_use
from keshikaran.cli.options import (
    IsolationOption,
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    need_training,
)


def export_memory_command(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="The model that it is for. Default: the one in use, else the latest.",
            show_default=False,
        ),
    ] = None,
    exact_only: Annotated[
        bool,
        typer.Option("--exact-only", help="No pictures and no features: hashes and labels."),
    ] = False,
    isolation: IsolationOption = "process",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the labelled images to a file, so that other machines know them again."""
    need_training()
    from keshikaran.known import export_memory

    place = existing_workspace(workspace)
    report = export_memory(
        place,
        model or model_in_use(workspace),
        file,
        exact_only=exact_only,
        isolation=isolation,
        progress=TerminalProgress(),
    )
    if as_json:
        result(json.dumps(asdict(report) | {"path": str(file)}))
        return
    result(str(file))
    say(
        f"{report.images:,} known images, {report.objectionable:,} of them objectionable;"
        f" {report.bytes / max(1, report.images):,.0f} bytes an image."
    )
    if not exact_only:
        say("It holds small grey pictures of all of them: keep it as safe as the images.")
    if report.disputed:
        say(f"Copies of one photograph with different labels: {report.disputed:,} images.")
    if report.left_out:
        say(f"Left out, because they cannot be decoded: {report.left_out:,} acceptable images.")
    say(f"Next: keshikaran predict IMAGE --memory {printable(shlex.quote(str(file)))}")
