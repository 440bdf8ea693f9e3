"""Commands about images: import, status."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer

from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.options import (
    AcceptOption,
    JsonOption,
    MediaDirOption,
    PositiveOption,
    RehashOption,
    WorkspaceOption,
    existing_workspace,
    limits_with,
    open_workspace,
    workspace_words,
)
from keshikaran.ingest import ImportReport, import_source, resolve_sources
from keshikaran.store import Store, update_skipped
from keshikaran.types import Label

_SHOWN = 10
PARTLY = 3


def import_command(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders of class folders, archives, image files, a label.csv, or s3://…"
        ),
    ],
    positive: PositiveOption = None,
    media_dir: MediaDirOption = None,
    label: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="Label of single files.", show_default=False),
    ] = None,
    rehash: RehashOption = False,
    accept: AcceptOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy images and their labels into the workspace."""
    found = resolve_sources(
        sources,
        positives=positive or (),
        media_dir=media_dir,
        label=cast("Label | None", label),
    )
    place = open_workspace(workspace)
    total = ImportReport()
    with Store(place.folder) as store:
        damaged = store.damaged_images()
        for source in found:
            total += import_source(
                store,
                source,
                limits=limits_with(accept),
                progress=TerminalProgress(),
                rehash=rehash,
            )
        update_skipped(place.skipped, store.skipped())
        contradictions = len(store.labels.contradictions())
        repaired = len(damaged - store.damaged_images())
    if repaired:
        say(f"Repaired, because the originals were here: {repaired:,} damaged images.")
    if as_json:
        result(json.dumps(asdict(total) | {"contradictory": contradictions}))
    else:
        say_import(total, contradictions)
        say(f"Next: keshikaran train{workspace_words(workspace)}")
    if total.skipped:
        raise typer.Exit(PARTLY)


def say_import(report: ImportReport, contradictions: int) -> None:
    """Tell what an import did."""
    if report.seen and report.duplicates == report.seen and not report.labels:
        say(f"Nothing new: all {report.seen:,} images and their labels were here already.")
    else:
        say(
            f"{report.seen:,} files: {report.imported:,} new images, {report.duplicates:,}"
            f" already here, {report.skipped:,} skipped; {report.labels:,} labels noted."
        )
    for refusal in report.refusals[:_SHOWN]:
        say(f"  skipped {printable(refusal.path)}: {refusal.reason} ({printable(refusal.detail)})")
    if report.skipped > _SHOWN:
        say(f"  … and {report.skipped - _SHOWN:,} more, all in skipped.csv.")
    if contradictions:
        say(
            f"Labelled both ways, and therefore kept out of training: {contradictions:,}."
            " See: keshikaran status"
        )


def status_command(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Say where things stand in the workspace."""
    place = existing_workspace(workspace)
    with Store(place.folder) as store:
        labelled = store.labels.images()
        objectionable = sum(image.label for image in labelled)
        contradictions = store.labels.contradictions()
        facts = {
            "workspace": str(place.folder.resolve()),
            "images": store.count_images(),
            "acceptable": len(labelled) - objectionable,
            "objectionable": objectionable,
            "contradictory": len(contradictions),
            "skipped": len(store.skipped()),
            "split": store.split_scheme().get("name"),
            "set_aside": len(store.set_aside()),
            "latest_model": _text(place.latest_model()),
        }
    if as_json:
        listed = [asdict(item) for item in contradictions]
        result(json.dumps(facts | {"contradictions": listed}))
        return
    for name, value in facts.items():
        result(f"{name:<14} {value if value is not None else '–'}")
    for item in contradictions[:_SHOWN]:
        say(f"Labelled both ways: {item.image_id[:12]}")
        say(f"  acceptable:    {printable(', '.join(item.acceptable))}")
        say(f"  objectionable: {printable(', '.join(item.objectionable))}")
    if contradictions:
        following = f"label {contradictions[0].image_id[:12]} --value 0|1"
    else:
        following = "predict IMAGE" if facts["latest_model"] else "train"
    say(f"Next: keshikaran {following}{workspace_words(workspace)}")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
