"""The command `featurize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keshikaran.cli.backbone_options import BackboneOptions
from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.data import PARTLY
from keshikaran.cli.grouped import grouped
from keshikaran.cli.options import (
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    need_training,
    open_workspace,
    workspace_words,
)
from keshikaran.cli.ray_options import RayOptions, refuse_isolation_off, say_machines
from keshikaran.errors import UsageError

if TYPE_CHECKING:
    from keshikaran.preparation import Tools
    from keshikaran.scale.featurizing import Featurized, FeaturizeRequest
    from keshikaran.training_run import TrainingOptions

_SHOWN = 10


@grouped
def featurize_command(
    *,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="With --ray: folders, globs or tar archives, also s3://… and gs://…."
            " Default: the images of the workspace.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All stored images, not only the labelled ones.")
    ] = False,
    backbone: BackboneOptions,
    ray: RayOptions,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the features that training needs, and say what bounds the rate."""
    need_training("Featurizing")
    from keshikaran.scale.featurizing import FeaturizeRequest

    options = backbone.settings
    cluster = ray.cluster
    if cluster is None:
        if sources:
            msg = "Sources are featurized with --ray only; without it, stored images are."
            raise UsageError(msg, "Import them first, or add --ray local.")
        refused = _here(workspace, options, everything=everything, as_json=as_json)
    else:
        parts = (tuple(sources or ()), ray.shards, ray.images_per_task, everything)
        request = FeaturizeRequest(cluster, *parts)
        refused = _far(workspace, request, options, as_json=as_json)
    if refused:
        raise typer.Exit(PARTLY)


def _here(
    workspace: Path | None, options: TrainingOptions, *, everything: bool, as_json: bool
) -> int:
    """On this machine; returns how many images cannot be decoded."""
    from keshikaran.preparation import open_tools

    with open_tools(existing_workspace(workspace), options) as tools:
        facts, words = _fill(tools, everything=everything)
    if as_json:
        result(json.dumps(facts))
    else:
        result(f"{facts['images']:,} images, {facts['cached']:,} of them done before: {words}")
        say(f"Next: keshikaran train{workspace_words(workspace)}")
    if facts["undecodable"]:
        say(f"{facts['undecodable']:,} images cannot be decoded.")
    return int(facts["undecodable"])


def _fill(tools: Tools, *, everything: bool) -> tuple[dict[str, Any], str]:
    """Compute what the cache lacks; figures for machines, and the rate in words."""
    from keshikaran.featurize import fill_cache, rate_words

    store = tools.store
    labelled = (image.image_id for image in store.labels.images())
    wanted = sorted(set(store.image_ids() if everything else labelled))
    done = fill_cache(store, tools.cache, tools.featurizer, wanted, TerminalProgress())
    refused = tools.cache.refusals(wanted, tools.featurizer.recipe.pixel_contract) | done.passing
    rate = done.images / done.seconds if done.images else None
    facts: dict[str, Any] = {
        "images": len(wanted),
        "cached": len(wanted) - done.images,
        "undecodable": len(refused),
        "seconds": round(done.seconds, 4),
        "images_per_s": None if rate is None else round(rate, 2),
        "bound": None if done.rates is None else done.rates.to_dict(),
    }
    return facts, rate_words(rate, done.rates)


def _far(
    workspace: Path | None, request: FeaturizeRequest, options: TrainingOptions, *, as_json: bool
) -> int:
    """On many machines; returns how many images have no features.

    Raises:
        UsageError: an option has no effect, or cannot be had there.
    """
    from keshikaran.scale.featurizing import featurize_on

    refuse_isolation_off(options.isolation)
    if request.sources and request.everything:
        msg = "--all changes nothing where sources are named."
        raise UsageError(msg, "Leave it out.")
    named = bool(request.sources)
    place = open_workspace(workspace) if named else existing_workspace(workspace)
    done = featurize_on(place, request, options, TerminalProgress())
    if as_json:
        result(json.dumps(done.to_dict()))
    else:
        _show(done, workspace)
    return done.refused


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
