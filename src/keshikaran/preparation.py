"""What every use of labelled images begins with: featurize → group → split.

Training, auditing, reviewing labels and suggesting what to label next all stand on this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from keshikaran.backbones import (
    DEFAULT_BACKBONE,
    Backbone,
    Engine,
    backbone_of_digest,
    load_backbone,
    open_engine,
    read_graph,
)
from keshikaran.backbones.taught import taught_images, teaching_of
from keshikaran.bundle import Bundle
from keshikaran.dataset import Dataset, make_dataset
from keshikaran.errors import BackboneError
from keshikaran.featurize import FeatureTable, Featurizer, featurize
from keshikaran.grouping import FirstViews, GroupingReport, Sources, group_images
from keshikaran.manifest import Manifest
from keshikaran.parts import Part
from keshikaran.pixels import DEFAULT_LIMITS, Decoder, Limits, PixelSpec
from keshikaran.pixels.isolated import open_decoder
from keshikaran.presets import PARTS, load_backbones
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
        backbone: the frozen network; of several parts, the first one's.
        featurizer: all parts, with the pixels they get and the arithmetic they run in.
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
    parts = parts_of(options)
    with (
        Store(workspace.folder) as store,
        closing(open_decoder(options.isolation, _limits(options, store))) as decoder,
        FeatureCache(workspace.features) as cache,
    ):
        featurizer = _featurizer(parts, options, decoder)
        yield Tools(store, cache, decoder, featurizer.backbone, featurizer)


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
        options = replace(options, precision=recipe.precision)
        spec = replace(tools.featurizer.spec, resize_mode=recipe.resize_mode)
        parts = [Part(tools.backbone, spec)]
        yield replace(tools, featurizer=_featurizer(parts, options, tools.decoder))


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
    parts = _bundled_parts(bundle)
    options = replace(
        options,
        preset="fast",
        backbone=DEFAULT_BACKBONE,
        precision=bundle.manifest.precision,
    )
    with open_tools(workspace, options) as tools:
        featurizer = _featurizer(parts, options, tools.decoder)
        yield replace(tools, backbone=featurizer.backbone, featurizer=featurizer)


def _bundled_parts(bundle: Bundle) -> list[Part]:
    manifest = bundle.manifest
    if len(manifest.parts) == 1:
        known = backbone_of_digest(manifest.backbone["digest"])
        return [Part(known or bundled_backbone(bundle), manifest.lead)]
    shapes = manifest.pixels.shapes
    return [
        Part(known_backbone(manifest, part["backbone"]), shapes[part["input"]])
        for part in manifest.parts
    ]


def known_backbone(manifest: Manifest, number: int) -> Backbone:
    """One of the networks of a model file with several, from among those that are here.

    Raises:
        BackboneError: it is not.
    """
    said = manifest.backbones[number]
    found = backbone_of_digest(said["digest"])
    if found is None:
        msg = f"The model {manifest.model_id} needs the backbone {said['name']}, which is not here."
        hint = (
            f"Add the one that it was trained with: keshikaran backbone add package:{said['name']}"
        )
        raise BackboneError(msg, hint)
    return found


def bundled_backbone(bundle: Bundle) -> Backbone:
    """The network inside a model file that has one part, under a digest of its own."""
    manifest = bundle.manifest
    _, signature = read_graph(bundle.model, manifest.model_id)
    digest = hashlib.sha256(bundle.model).hexdigest()
    return Backbone(
        manifest.backbone["name"],
        digest,
        bundle.model,
        manifest.lead.height,
        manifest.lead.width,
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
    first = np.asarray(take(features.first_part, features.starts))
    views = FirstViews(features.image_ids, first)
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
        asked = (options.engine, options.device)
        return open_engine(model, engine=asked[0], device=asked[1], precision=options.precision)

    return opened


def parts_of(options: TrainingOptions) -> list[Part]:
    """What the options make features of.

    Raises:
        BackboneError: a network cannot be had.
    """
    if options.preset == "fast":
        backbones, modes = [load_backbone(options.backbone)], [options.resize_mode]
    else:
        backbones = load_backbones(options.preset)
        modes = [name.resize_mode for name in PARTS[options.preset]]
    return [
        Part(one, PixelSpec(one.height, one.width, mode))
        for one, mode in zip(backbones, modes, strict=True)
    ]


def _featurizer(parts: Sequence[Part], options: TrainingOptions, decoder: Decoder) -> Featurizer:
    first, *beside = parts
    how = (options.precision, engine_opener(options), decoder)
    return Featurizer(first.backbone, first.spec, *how, tuple(beside))


def _limits(options: TrainingOptions, store: Store) -> Limits:
    """The usual ones, and the formats that were asked for now or when something was imported."""
    return Limits(formats=DEFAULT_LIMITS.formats | options.accept | store.formats())
