"""The command `featurize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keshikaran.backbones import DEFAULT_BACKBONE, EngineName
from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.data import PARTLY
from keshikaran.cli.grouped import grouped
from keshikaran.cli.options import (
    AcceptOption,
    BackboneOption,
    IsolationOption,
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    formats_of,
    need_training,
    open_workspace,
    workspace_words,
)
from keshikaran.cli.ray_options import RayOptions, refuse_isolation_off, say_machines
from keshikaran.errors import UsageError
from keshikaran.pixels import ResizeMode
from keshikaran.store import Workspace
from keshikaran.types import Precision

if TYPE_CHECKING:
    from keshikaran.scale.featurizing import Featurized
    from keshikaran.training_run import TrainingOptions

_SHOWN = 10


@grouped
def featurize_command(
    ray: RayOptions,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="With --ray: folders, globs or tar archives, also s3://… and gs://…."
            " Default: the images of the workspace.",
            show_default=False,
        ),
    ] = None,
    backbone: BackboneOption = DEFAULT_BACKBONE,
    precision: Annotated[
        Precision, typer.Option(help="f32 is exact everywhere; bf16 is about twice as fast.")
    ] = "f32",
    resize: Annotated[
        ResizeMode, typer.Option(help="How images get the backbone's shape.")
    ] = "crop",
    engine: Annotated[EngineName, typer.Option(help="What runs the backbone.")] = "auto",
    isolation: IsolationOption = "process",
    accept: AcceptOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the features of all stored images ahead, here or on many machines."""
    need_training("Featurizing")
    from keshikaran.scale.featurizing import FeaturizeRequest, featurize_on
    from keshikaran.training_run import TrainingOptions

    options = TrainingOptions(
        backbone=backbone,
        resize_mode=resize,
        precision=precision,
        engine=engine,
        isolation=isolation,
        accept=formats_of(accept),
    )
    cluster = ray.cluster
    if cluster is None:
        if sources:
            msg = "Sources are featurized with --ray only; without it, stored images are."
            raise UsageError(msg, "Import them first, or add --ray local.")
        done = _here(existing_workspace(workspace), options)
    else:
        refuse_isolation_off(isolation)
        place = open_workspace(workspace) if sources else existing_workspace(workspace)
        parts = (tuple(sources or ()), ray.shards, ray.images_per_task)
        request = FeaturizeRequest(cluster, *parts)
        done = featurize_on(place, request, options, TerminalProgress())
    if as_json:
        result(json.dumps(done.to_dict()))
    else:
        _show(done, workspace)
    if done.refused:
        raise typer.Exit(PARTLY)


def _here(place: Workspace, options: TrainingOptions) -> Featurized:
    """On this machine, without Ray."""
    from keshikaran.featurize import fill_cache
    from keshikaran.preparation import open_tools
    from keshikaran.scale.featurizing import Featurized

    with open_tools(place, options) as tools:
        wanted = tools.store.image_ids()
        before = len(tools.cache.refusals(wanted))
        parts = (tools.store, tools.cache, tools.featurizer)
        filled = fill_cache(*parts, wanted, TerminalProgress())
        refused = tools.cache.refusals(wanted) | filled.passing
    return Featurized(
        images=len(wanted),
        cached=len(wanted) - filled.images - before,
        added=filled.images - len(refused) + before,
        elsewhere=0,
        refused=len(refused),
        refusals=tuple((name, why.reason, why.detail) for name, why in sorted(refused.items())),
        tasks=0,
        reused=0,
        shards="",
        seconds=round(filled.seconds, 3),
    )


def _show(done: Featurized, workspace: Path | None) -> None:
    result(f"{'images':<18} {done.images:>10,}")
    result(f"{'features known':<18} {done.cached:>10,}")
    result(f"{'features new':<18} {done.added:>10,}")
    if done.elsewhere:
        result(f"{'not in the store':<18} {done.elsewhere:>10,}")
    result(f"{'refused':<18} {done.refused:>10,}")
    if done.shards:
        result(f"{'shards':<18} {printable(done.shards)}")
    for name, reason, detail in done.refusals[:_SHOWN]:
        say(f"  not featurized: {printable(name)}: {reason} ({printable(detail)})")
    if done.refused > _SHOWN:
        say(f"  … and {done.refused - _SHOWN:,} more; --json lists a thousand.")
    if done.tasks:
        say_machines(done.machines, done.arithmetics, done.reused, done.tasks)
    rate = f" ({done.added / done.seconds:,.0f} images/s)" if done.added and done.seconds else ""
    say(f"Done in {done.seconds:.1f} s{rate}.")
    where = workspace_words(workspace)
    if done.elsewhere:
        say(f"Next: keshikaran import SOURCE{where}, then the same command again: it only merges")
    else:
        say(f"Next: keshikaran train{where}")
