"""Commands that look after the workspace: fsck, gc, rebuild."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.options import (
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    traced_workspace,
    workspace_words,
)
from keshikaran.errors import UsageError
from keshikaran.store import (
    ADVICE,
    LEFTOVERS,
    FsckReport,
    check_store,
    collect_garbage,
    rebuild_catalogue,
    rebuild_journal,
)

_DAMAGE = 1


def fsck_command(
    full: Annotated[
        bool, typer.Option("--full", help="Also read every stored file and the whole journal.")
    ] = False,
    sample: Annotated[
        int, typer.Option(min=0, metavar="N", help="Also read N stored files, chosen at random.")
    ] = 0,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that nothing that was stored is lost or damaged."""
    if full and sample:
        msg = "--sample changes nothing beside --full."
        raise UsageError(msg, "Leave one of them out.")
    place = traced_workspace(workspace)
    report = check_store(place.folder, full=full, sample=sample, progress=TerminalProgress())
    if as_json:
        result(json.dumps(asdict(report) | {"clean": report.clean}))
    else:
        _say_fsck(report)
        if report.clean:
            say(f"Next: keshikaran status{workspace_words(workspace)}")
    if not report.clean:
        raise typer.Exit(_DAMAGE)


def _say_fsck(report: FsckReport) -> None:
    for finding in report.findings:
        result(f"{finding.kind}  {printable(finding.subject)}  {printable(finding.detail)}")
    read = f"{report.hashed:,} of them read" if report.hashed else "none of them read"
    say(f"{report.images:,} images in the catalogue; {report.objects:,} stored files, {read}.")
    for kind, number in Counter(finding.kind for finding in report.findings).items():
        say(f"{number:,} × {kind}: {ADVICE[kind]}")
    if not report.findings:
        say("Nothing is lost, nothing is left over.")
    elif report.clean:
        say("Nothing is lost.")
    else:
        damaged = sum(finding.kind not in LEFTOVERS for finding in report.findings)
        say(f"Damage: {damaged:,}.")


def gc_command(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove what interrupted commands left behind; nothing less than an hour old."""
    place = existing_workspace(workspace)
    report = collect_garbage(place.folder, dry_run=dry_run, progress=TerminalProgress())
    where = workspace_words(workspace)
    if as_json:
        result(json.dumps(asdict(report)))
        return
    for name in report.removed:
        result(printable(name))
    did = "would be removed" if dry_run else "removed"
    say(
        f"{report.temporary_files:,} temporary files and {report.objects:,} objects without a row"
        f" {did}: {report.bytes:,} bytes."
    )
    if report.too_young:
        say(f"{report.too_young:,} are less than an hour old and stay.")
    following = "gc" if dry_run and report.removed else "fsck"
    say(f"Next: keshikaran {following}{where}")


def rebuild_command(
    journal: Annotated[
        bool,
        typer.Option("--journal", help="The other way: write the journal anew from the catalogue."),
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the catalogue again from the stored files and the journal."""
    place = existing_workspace(workspace) if journal else traced_workspace(workspace)
    if journal:
        report = rebuild_journal(place.folder)
    else:
        report = rebuild_catalogue(place.folder, TerminalProgress())
    if as_json:
        result(json.dumps(asdict(report)))
        return
    made = "journal" if journal else "catalogue"
    say(f"A new {made}: {report.images:,} images, {report.transactions:,} transactions.")
    if report.adopted:
        say(f"{report.adopted:,} images were found without a line in the journal: no labels yet.")
    if report.missing:
        say(f"{report.missing:,} images have no stored file: import the originals again.")
    for words in report.lost:
        result(f"lost  {printable(words)}")
    for name in report.kept:
        say(f"What was there before is kept as {name}.")
    say(f"Next: keshikaran fsck --full{workspace_words(workspace)}")
