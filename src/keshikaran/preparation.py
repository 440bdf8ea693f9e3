"""What every use of labelled images begins with: featurize → group → split.

Training, auditing, reviewing labels and suggesting what to label next all stand on this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from keshikaran.backbones import (
    DEFAULT_BACKBONE,
    Backbone,
    Engine,
    load_backbone,
    name_of_digest,
    open_engine,
    read_graph,
)
from keshikaran.backbones.taught import taught_images, teaching_of
from keshikaran.bundle import Bundle
from keshikaran.dataset import Dataset, make_dataset
from keshikaran.errors import BackboneError
from keshikaran.featurize import FeatureTable, Featurizer, featurize
from keshikaran.grouping import FirstViews, GroupingReport, Sources, group_images
from keshikaran.pixels import DEFAULT_LIMITS, Decoder, Limits, PixelSpec
from keshikaran.pixels.isolated import open_decoder
from keshikaran.rows import pieces, take
from keshikaran.split import SplitReport, split_images
from keshikaran.store import FeatureCache, Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import ImageId, Label, Progress

_LOOKED_AT = 16_384


@dataclass(frozen=True, slots=True)
class Tools:
    """What the stages work with, open.

    Attributes:
        store: the catalogue and the images.
        cache: their features.
        decoder: turns image files into pixels.
        backbone: the frozen network.
        featurizer: the same, with the pixels it gets and the arithmetic it runs in.
    """

    store: Store
    cache: FeatureCache
    decoder: Decoder
    backbone: Backbone
    featurizer: Featurizer


@dataclass(frozen=True, slots=True)
class Prepared:
    """Labelled images, ready to fit and judge on.

    Attributes:
        features: of all labelled images that could be decoded.
        split: how many images are on each side, and what a split file left open.
        data: features, labels and sides of the images that have all three.
        grouping: what was compared to find near-duplicates; None if that was left out.
    """

    features: FeatureTable
    split: SplitReport
    data: Dataset
    grouping: GroupingReport | None = None


@contextmanager
def open_tools(workspace: Workspace, options: TrainingOptions) -> Iterator[Tools]:
    """Open store, cache, decoder and backbone; close them at the end of the block.

    Raises:
        StoreError: the workspace cannot be used.
        BackboneError: the backbone cannot be had.
        IsolationError: no process can be started to decode images in.
    """
    backbone = load_backbone(options.backbone)
    with (
        Store(workspace.folder) as store,
        closing(open_decoder(options.isolation, _limits(options, store))) as decoder,
        FeatureCache(workspace.features) as cache,
    ):
        featurizer = _featurizer(backbone, options, decoder)
        yield Tools(store, cache, decoder, backbone, featurizer)


@contextmanager
def open_cached_tools(workspace: Workspace, options: TrainingOptions) -> Iterator[Tools]:
    """As `open_tools`, for work that any features will do for.

    Of the precisions and resize modes that the cache has features of, the one is taken that
    leaves the fewest labelled images to featurize; what the options say of them breaks a tie.

    Raises:
        KeshikaranError: as `open_tools`.
    """
    with open_tools(workspace, options) as tools:
        check_untaught(tools.backbone)
        wanted = [image.image_id for image in tools.store.labels.images()]
        own = tools.featurizer.recipe
        recipes = [own, *tools.cache.recipes(tools.backbone.digest)]
        recipe = min(recipes, key=lambda recipe: len(tools.cache.missing(recipe, wanted)))
        options = replace(options, precision=recipe.precision, resize_mode=recipe.resize_mode)
        yield replace(tools, featurizer=_featurizer(tools.backbone, options, tools.decoder))


@contextmanager
def open_bundle_tools(
    workspace: Workspace, bundle: Bundle, options: TrainingOptions
) -> Iterator[Tools]:
    """As `open_tools`, for the features that a model file works on.

    Where the file says that its network is one of the package or one that was added, that one
    computes what the cache lacks; a file's word about any other network is not taken: its features
    are kept apart.

    Raises:
        KeshikaranError: as `open_tools`.
    """
    manifest = bundle.manifest
    options = replace(
        options,
        backbone=name_of_digest(manifest.backbone["digest"]) or DEFAULT_BACKBONE,
        precision=manifest.precision,
        resize_mode=manifest.resize_mode,
    )
    with open_tools(workspace, options) as tools:
        if tools.backbone.digest != manifest.backbone["digest"]:
            backbone = bundled_backbone(bundle)
            featurizer = _featurizer(backbone, options, tools.decoder)
            tools = replace(tools, backbone=backbone, featurizer=featurizer)
        yield tools


def bundled_backbone(bundle: Bundle) -> Backbone:
    """The network inside a model file, under a digest of its own."""
    manifest = bundle.manifest
    _, signature = read_graph(bundle.model, manifest.model_id)
    digest = hashlib.sha256(bundle.model).hexdigest()
    return Backbone(
        manifest.backbone["name"],
        digest,
        bundle.model,
        manifest.height,
        manifest.width,
        signature.outputs["features"][0],
        "features",
        manifest.backbone["licence"],
    )


def prepare(tools: Tools, options: TrainingOptions, progress: Progress) -> Prepared:
    """Featurize all labelled images, find near-duplicates, and give each image its side.

    Raises:
        StoreError: the disk is full or the workspace cannot be written.
        BackboneError: the backbone, engine or precision cannot be had.
    """
    features = featurize_labelled(tools, progress)
    grouping = group_labelled(tools, features, progress)
    return replace(split_labelled(tools, features, options), grouping=grouping)


def featurize_labelled(tools: Tools, progress: Progress) -> FeatureTable:
    """Features of all labelled images; see `prepare`."""
    wanted = [image.image_id for image in tools.store.labels.images()]
    features = featurize(tools.store, tools.cache, tools.featurizer, wanted, progress)
    if not all(np.isfinite(rows).all() for _, rows in pieces(features.matrix, _LOOKED_AT)):
        msg = f"The backbone {tools.backbone.name} gives features that are not numbers."
        raise BackboneError(msg, "Check how the network was exported, or use another one.")
    return features


def group_labelled(tools: Tools, features: FeatureTable, progress: Progress) -> GroupingReport:
    """Groups of near-duplicates, once features are known; see `prepare`."""
    featurizer = tools.featurizer
    parts = (tools.store, tools.cache, tools.decoder, featurizer.recipe, featurizer.spec)
    views = FirstViews(features.image_ids, np.asarray(take(features.matrix, features.starts)))
    return group_images(Sources(*parts), views, progress)


def split_labelled(tools: Tools, features: FeatureTable, options: TrainingOptions) -> Prepared:
    """Sides of all labelled images, once their features are known; see `prepare`."""
    store = tools.store
    split = split_images(store, options.split)
    labels: dict[ImageId, Label] = {image.image_id: image.label for image in store.labels.images()}
    table = (features.image_ids, features.matrix)
    data = make_dataset(*table, labels, store.splits(), features.starts)
    _check_unseen(tools.backbone, data)
    return Prepared(features, split, data)


def check_untaught(backbone: Backbone) -> None:
    """Refuse a network that knows labels, where labels are what is looked at.

    Raises:
        BackboneError: it was fine-tuned.
    """
    if teaching_of(backbone) is not None:
        msg = f"{backbone.name} was fine-tuned on labels of images: it would vouch for them."
        raise BackboneError(msg, "Use a --backbone that was not; train takes it as it is.")


def _check_unseen(backbone: Backbone, data: Dataset) -> None:
    """Refuse a network that was taught by images it would be judged on.

    Raises:
        BackboneError: says how many.
    """
    taught = taught_images(backbone)
    if not taught:
        return
    pairs = zip(data.image_ids, data.sides, strict=True)
    seen = sum(side != "train" and one in taught for one, side in pairs)
    if seen:
        msg = (
            f"{backbone.name} was fine-tuned on {seen:,} images that are on the validation or test"
            " side now: figures on them would flatter it."
        )
        raise BackboneError(msg, "Fine-tune anew on this split: keshikaran train --finetune")


def engine_opener(options: TrainingOptions) -> Callable[[bytes], Engine]:
    """Loads a network as the options ask for it."""

    def opened(model: bytes) -> Engine:
        return open_engine(model, engine=options.engine, precision=options.precision)

    return opened


def _featurizer(backbone: Backbone, options: TrainingOptions, decoder: Decoder) -> Featurizer:
    spec = PixelSpec(backbone.height, backbone.width, options.resize_mode)
    return Featurizer(backbone, spec, options.precision, engine_opener(options), decoder)


def _limits(options: TrainingOptions, store: Store) -> Limits:
    """The usual ones, and the formats that were asked for now or when something was imported."""
    return Limits(formats=DEFAULT_LIMITS.formats | options.accept | store.formats())
