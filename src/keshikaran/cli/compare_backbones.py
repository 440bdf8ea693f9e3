"""The command `compare-backbones`."""

from __future__ import annotations

import json
from pathlib import Path
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
    from keshikaran.comparing_backbones import Comparison

_PAGE = "backbones.html"


@grouped
def compare_backbones_command(
    *,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|FILE.onnx…",
            help="Two or more; the others are held against the first.",
            show_default=False,
        ),
    ],
    salts: Annotated[
        int, typer.Option(min=0, max=50, help="Also fit and judge on so many further splits.")
    ] = 0,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Where the page with the picture goes. Default: reports/ in the workspace.",
            show_default=False,
        ),
    ] = None,
    running: EngineOptions,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what each backbone brings and costs on your labelled images."""
    place = existing_workspace(workspace)
    if html is not None and html.suffix.lower() != ".html":
        msg = f"--html {html} does not end in .html."
        raise UsageError(msg, f"Name a file such as {_PAGE}.")
    need_training("Comparing")
    from keshikaran.comparing_backbones import compare_backbones
    from keshikaran.report import write_backbone_page

    found = compare_backbones(place, names, running.settings, TerminalProgress(), salts=salts)
    page = html or place.folder / "reports" / _PAGE
    write_backbone_page(page, found.rows, _sentence(found))
    if as_json:
        result(json.dumps({**found.to_dict(), "page": str(page)}))
        return
    _show(found)
    say(_sentence(found))
    say(f"Picture: {printable(str(page))}")
    best = printable(found.rows[0].name)
    say(f"Next: keshikaran train --backbone {best}{workspace_words(workspace)}")


def _sentence(found: Comparison) -> str:
    splits = f"; {found.salts} further splits" if found.salts else ""
    return (
        f"Heads fitted on {found.train:,} images, judged on {found.test:,} others,"
        f" {found.positives:,} of them objectionable{splits}. Gains are over {found.first}."
        " Intervals are 95%. Cost is inference in f32"
        f" by {found.engine} on one processor, one image after the other."
    )


def _show(found: Comparison) -> None:
    splits = f" {'splits':>7}" if found.salts else ""
    result(
        f"{'backbone':<32} {'ROC AUC':>8} {'95% interval':>15} {'gain, interval':>25}"
        f" {'recall at 1%':>21}{splits} {'ms':>8} {'MB':>7}"
    )
    for row in found.rows:
        gain = "–"
        if row.gain is not None and row.gain.value is not None:
            gain = f"{row.gain.value:+.4f} ({row.gain.low:+.4f} {row.gain.high:+.4f})"
        recall = f"{row.recall.value:.3f} ({row.recall.low:.3f} {row.recall.high:.3f})"
        mean = "" if row.mean_of_others is None else f" {row.mean_of_others:>7.4f}"
        area = f"{row.area:>8.4f} {row.roc_auc.low:>8.4f} {row.roc_auc.high:.4f}"
        result(
            f"{printable(row.name):<32} {area}"
            f" {gain:>25} {recall:>21}{mean} {row.ms_per_image:>8.1f} {row.bytes / 1e6:>7.1f}"
        )
