"""The command `featurize`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keshikaran.backbones import DEFAULT_BACKBONE, EngineName
from keshikaran.cli.console import TerminalProgress, result, say
from keshikaran.cli.data import PARTLY
from keshikaran.cli.options import (
    AcceptOption,
    BackboneOption,
    DeviceOption,
    IsolationOption,
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    formats_of,
    need_training,
    workspace_words,
)
from keshikaran.pixels import ResizeMode
from keshikaran.types import Precision

if TYPE_CHECKING:
    from keshikaran.preparation import Tools


def featurize_command(
    backbone: BackboneOption = DEFAULT_BACKBONE,
    precision: Annotated[
        Precision,
        typer.Option(help="f32 is exact everywhere; bf16 is for processors, f16 for cards."),
    ] = "f32",
    resize: Annotated[
        ResizeMode, typer.Option(help="How images get the backbone's shape.")
    ] = "crop",
    engine: Annotated[EngineName, typer.Option(help="What runs the backbone.")] = "auto",
    device: DeviceOption = "auto",
    everything: Annotated[
        bool, typer.Option("--all", help="All stored images, not only the labelled ones.")
    ] = False,
    isolation: IsolationOption = "process",
    accept: AcceptOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the features that training needs, and say what bounds the rate."""
    need_training("Featurizing")
    from keshikaran.preparation import open_tools
    from keshikaran.training_run import TrainingOptions

    place = existing_workspace(workspace)
    options = TrainingOptions(
        backbone=backbone,
        resize_mode=resize,
        precision=precision,
        engine=engine,
        device=device,
        isolation=isolation,
        accept=formats_of(accept),
    )
    with open_tools(place, options) as tools:
        facts, words = _fill(tools, everything=everything)
    if as_json:
        result(json.dumps(facts))
    else:
        result(f"{facts['images']:,} images, {facts['cached']:,} of them done before: {words}")
        say(f"Next: keshikaran train{workspace_words(workspace)}")
    if facts["undecodable"]:
        say(f"{facts['undecodable']:,} images cannot be decoded.")
        raise typer.Exit(PARTLY)


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
