"""The command `import-urls`."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer

from keshikaran.cli.console import TerminalProgress, result, say
from keshikaran.cli.data import PARTLY, say_import
from keshikaran.cli.options import (
    AcceptOption,
    JsonOption,
    WorkspaceOption,
    limits_with,
    open_workspace,
    workspace_words,
)
from keshikaran.errors import MissingExtraError
from keshikaran.ingest import import_source
from keshikaran.store import Store, update_skipped
from keshikaran.types import Label

_MODULES = ("urllib3", "protego")


def import_urls_command(
    file: Annotated[
        Path, typer.Argument(help="Addresses, one a line, or a CSV file with url,value.")
    ],
    label: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="Label of all addresses of a list.", show_default=False),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Fetches at once, all hosts.")] = 8,
    per_host: Annotated[int, typer.Option(min=1, max=64, help="Fetches at once from a host.")] = 2,
    rate: Annotated[
        float, typer.Option(min=0.01, max=1000, help="Fetches per second from a host.")
    ] = 2.0,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Seconds for one fetch.")] = 60.0,
    retries: Annotated[
        int, typer.Option(min=0, max=10, help="More attempts where that may help.")
    ] = 3,
    refetch: Annotated[
        bool, typer.Option("--refetch", help="Fetch also what was fetched before.")
    ] = False,
    ignore_robots: Annotated[
        bool, typer.Option("--ignore-robots", help="Fetch also what robots.txt asks not to.")
    ] = False,
    allow_private: Annotated[
        bool,
        typer.Option(
            "--allow-private-addresses", help="Fetch also from your own network and machine."
        ),
    ] = False,
    accept: AcceptOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch images from addresses on the web into the workspace."""
    need_urls()
    from keshikaran.ingest.web import FetchOptions, UrlSource, read_url_list

    entries = read_url_list(file, cast("Label | None", label))
    options = FetchOptions(
        jobs=jobs,
        per_host=per_host,
        rate=rate,
        timeout_s=timeout_s,
        retries=retries,
        ignore_robots=ignore_robots,
        allow_private=allow_private,
    )
    place = open_workspace(workspace)
    with Store(place.folder) as store:
        source = UrlSource(store, entries, options, again=refetch)
        done = import_source(store, source, limits=limits_with(accept), progress=TerminalProgress())
        update_skipped(place.skipped, store.skipped())
        contradictions = len(store.labels.contradictions())
    if as_json:
        result(json.dumps(asdict(done) | {"contradictory": contradictions}))
    else:
        say_import(done, contradictions)
        say(f"Next: keshikaran train{workspace_words(workspace)}")
    if done.skipped:
        raise typer.Exit(PARTLY)


def need_urls() -> None:
    """Refuse early when the packages that fetching needs are missing.

    Raises:
        MissingExtraError: names the extra.
    """
    if any(importlib.util.find_spec(name) is None for name in _MODULES):
        what = "Fetching addresses"
        raise MissingExtraError(what, "urls")
