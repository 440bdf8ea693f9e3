"""The command `report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.engine_options import EngineOptions
from keshikaran.cli.grouped import grouped
from keshikaran.cli.model_options import model_in_use
from keshikaran.cli.options import (
    JsonOption,
    ModelOption,
    WorkspaceOption,
    existing_workspace,
    need_training,
    workspace_words,
)
from keshikaran.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keshikaran.comparison import Comparison
    from keshikaran.judging import Judgement
    from keshikaran.preparation import Tools
    from keshikaran.reporting import WrittenReport

_BEGINNING = 2_000


@grouped
def report_command(
    *,
    model: ModelOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Where the page goes; the JSON goes beside it. Default: the workspace's reports.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is no report.")
    ] = False,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also hold the model against this one (see compare); repeat for several.",
            show_default=False,
        ),
    ] = None,
    running: EngineOptions,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a model on the workspace's test images and write its report anew."""
    place = existing_workspace(workspace)
    need_training("A report")
    from keshikaran.reporting import report_model

    if output is not None and not force:
        check_output(output)
    where = workspace_words(workspace)
    progress = TerminalProgress()

    def rivals(tools: Tools, judged: Judgement) -> Sequence[Comparison]:
        from keshikaran.comparing import compare_all

        return compare_all(compare or (), place, tools, judged, progress, running.isolation)

    done = report_model(
        place,
        model or model_in_use(workspace),
        running.settings,
        output=output,
        where=where,
        rivals=rivals if compare else None,
        progress=progress,
    )
    if as_json:
        found = {"model_id": done.content.model_id, "report_path": str(done.page)}
        result(json.dumps(found | {"document_path": str(done.document)}))
        return
    _show(done)
    say(f"Next: open {printable(str(done.page))}")


def check_output(output: Path) -> None:
    """Refuse to write over what is no report of ours.

    Raises:
        UsageError: the page or the JSON beside it would replace something else.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        msg = f"{output} does not end in .html."
        raise UsageError(msg, "Give the page a name such as report.html; the JSON goes beside it.")
    for path, ours in (
        (output, b'<meta name="generator" content="keshikaran report">'),
        (output.with_suffix(".json"), b'"model_id"'),
    ):
        if not path.exists():
            continue
        if not path.is_file() or ours not in _beginning(path):
            msg = f"{path} is there already, and it is no report."
            raise UsageError(msg, "Choose another name, or write over it with --force.")


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_BEGINNING)


def _show(done: WrittenReport) -> None:
    from keshikaran.report import counted_sentence, verdict_sentence
    from keshikaran.report.verdict import cautions

    result(verdict_sentence(done.content))
    result(counted_sentence(done.content))
    for caution in cautions(done.content):
        say(caution)
    result(f"{'report':<18} {printable(str(done.page))}")
    result(f"{'JSON':<18} {printable(str(done.document))}")
