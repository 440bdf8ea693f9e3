"""Features by many machines: sources or the store → tasks → shards → the feature cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from keshikaran.backbones import Backbone, EngineName, device_of, load_backbone, open_engine
from keshikaran.pixels import DEFAULT_LIMITS
from keshikaran.scale.cluster import Cluster, need_ray
from keshikaran.scale.listing import list_sources
from keshikaran.scale.merging import MOST_REFUSALS, Merged, Target, merge
from keshikaran.scale.running import Order, Ran, run
from keshikaran.scale.settings import Settings
from keshikaran.scale.shards import ShardFolder, absolute
from keshikaran.scale.tasks import PIECES_PER_TASK, Piece, Task, cut
from keshikaran.store import FeatureCache, FeatureRecipe, Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import ImportReason, Progress


@dataclass(frozen=True, slots=True)
class FeaturizeRequest:
    """What is to be featurized, and on what.

    Attributes:
        cluster: the machines.
        sources: addresses of images and archives; none takes the images of the store.
        shards: where shards are written and stay; None for a folder of the workspace, from which
            they go once their features are in the cache.
        task_size: images to a task, on average at most.
        everything: all images of the store, not only the labelled ones.
    """

    cluster: Cluster
    sources: tuple[str, ...] = ()
    shards: str | None = None
    task_size: int = PIECES_PER_TASK
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Featurized:
    """What became of it.

    Attributes:
        images: how many were looked at, refused ones included.
        cached: images of the store whose features were known before.
        added: images whose features are new in the cache.
        elsewhere: images that the store does not hold; their features stay in the shards.
        refused: images without features.
        refusals: up to a thousand of them: name, reason, words.
        tasks: into how many parts the work was cut.
        reused: how many of those were done before.
        shards: where they lie; empty if they are gone.
        machines: names of those that worked.
        arithmetics: in how many ways they round; above 1, the last bits differ between machines.
        seconds: in all.
    """

    images: int
    cached: int
    added: int
    elsewhere: int
    refused: int
    refusals: tuple[tuple[str, ImportReason, str], ...]
    tasks: int
    reused: int
    shards: str
    machines: tuple[str, ...] = ()
    arithmetics: int = 0
    seconds: float = field(default=0.0, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """What `keshikaran featurize --ray … --json` prints."""
        figures = {name: getattr(self, name) for name in self.__slots__ if name != "refusals"}
        listed = [{"name": name, "reason": r, "detail": words} for name, r, words in self.refusals]
        return {**figures, "machines": list(self.machines), "refusals": listed}


def featurize_on(
    workspace: Workspace, request: FeaturizeRequest, options: TrainingOptions, progress: Progress
) -> Featurized:
    """Compute features on a cluster, and take those of stored images into the cache.

    Args:
        workspace: whose images or cache.
        request: what, and on what.
        options: backbone, pixels, precision and engine.
        progress: told of images, then of shards.

    Raises:
        MissingExtraError: Ray, or what it needs, is not installed.
        SourceError: a source cannot be listed, or a machine does not see the store.
        ClusterError: no token, no cluster, or work failed there.
        BackboneError: the backbone cannot be had, or cannot be run in this precision.
        StoreError: the workspace or the shards cannot be used.
    """
    started = time.perf_counter()
    need_ray("Featurizing on many machines")
    backbone = load_backbone(options.backbone)
    recipe = FeatureRecipe(backbone.digest, options.precision, options.resize_mode)
    with Store(workspace.folder) as store, FeatureCache(workspace.features) as cache:
        settings = _settings(backbone, options, store)
        settings = replace(settings, shards=absolute(request.shards or str(workspace.shards)))
        target = Target(store, cache, recipe, backbone.dim)
        tasks, known = _tasks(target, request, _purpose(recipe, settings))
        order = Order(request.cluster, settings, backbone.model)
        ran = run(tasks, order, progress) if tasks else Ran()
        folder = ShardFolder(settings.shards)
        merged = merge(folder, ran.shards, target, progress)
        keeps = request.shards is not None or merged.elsewhere > 0
        for name in () if keeps else ran.shards:
            folder.remove(name)
    seconds = time.perf_counter() - started
    return _featurized(ran, merged, known, settings.shards if keeps else "", seconds)


def _settings(backbone: Backbone, options: TrainingOptions, store: Store) -> Settings:
    engine = open_engine(
        backbone.model,
        engine=options.engine,
        device=options.device,
        precision=options.precision,
        streams=1,
    )
    return Settings(
        shards="",
        engine=cast("EngineName", engine.name),
        device=device_of(engine),
        precision=options.precision,
        streams=1,
        formats=tuple(sorted(DEFAULT_LIMITS.formats | options.accept | store.formats())),
        height=backbone.height,
        width=backbone.width,
        resize_mode=options.resize_mode,
        output=backbone.output,
        dim=backbone.dim,
    )


def _purpose(recipe: FeatureRecipe, settings: Settings) -> dict[str, Any]:
    """Everything that decides a row, apart from the image."""
    return {
        "backbone": recipe.backbone_digest,
        "contract": recipe.pixel_contract,
        "precision": recipe.precision,
        "resize": recipe.resize_mode,
        "engine": settings.engine,
        "device": settings.device,
        "formats": settings.formats,
    }


@dataclass(frozen=True, slots=True)
class _Known:
    """Images of the store that need no work.

    Attributes:
        cached: how many have features.
        refused: those that cannot be decoded: id, reason, words.
    """

    cached: int = 0
    refused: tuple[tuple[str, ImportReason, str], ...] = ()


def _tasks(
    target: Target, request: FeaturizeRequest, purpose: dict[str, Any]
) -> tuple[Sequence[Task], _Known]:
    """The work, and what needs none."""
    if request.sources:
        return list_sources(request.sources, purpose, size=request.task_size).tasks, _Known()
    store = target.store
    labelled = (image.image_id for image in store.labels.images())
    stored = sorted(set(store.image_ids() if request.everything else labelled))
    missing = target.cache.missing(target.recipe, stored)
    refusals = target.cache.refusals(stored, target.recipe.pixel_contract)
    listed = tuple((name, why.reason, why.detail) for name, why in sorted(refusals.items()))
    known = _Known(len(stored) - len(missing) - len(listed), listed)
    extensions = target.store.extension_of(missing)
    pieces = (Piece(image_id, extensions[image_id]) for image_id in missing)
    root = str(target.store.blobs.root.resolve())
    return cut("objects", root, pieces, purpose, size=request.task_size), known


def _featurized(ran: Ran, merged: Merged, known: _Known, shards: str, seconds: float) -> Featurized:
    return Featurized(
        images=merged.images + known.cached + len(known.refused),
        cached=known.cached,
        added=merged.added,
        elsewhere=merged.elsewhere,
        refused=merged.refused + len(known.refused),
        refusals=(*known.refused, *merged.refusals)[:MOST_REFUSALS],
        tasks=len(ran.shards),
        reused=ran.reused,
        shards=shards,
        machines=tuple(sorted(ran.machines)),
        arithmetics=len(ran.arithmetics),
        seconds=round(seconds, 3),
    )
