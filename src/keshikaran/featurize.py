"""Stored images × backbone → features, computed once and kept in the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from keshikaran.backbones import Backbone, Engine
from keshikaran.errors import PASSING_REASONS, ImageRefusedError
from keshikaran.inference import Inferred, Pipeline, infer_many
from keshikaran.pixels import Decoder, InProcessDecoder, PixelSpec
from keshikaran.store import FeatureCache, FeatureRecipe, Store
from keshikaran.types import Float32Array, ImageId, IntArray, Precision, Progress, SilentProgress

_COMMIT_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Features of the images that have them.

    Attributes:
        image_ids: sorted.
        matrix: float32 [R, D], a row for each view; an image's views are neighbours.
        starts: int64 [len(image_ids)], where each image's rows begin; the first is what a
            viewer shows first.
        refused: images that could not be decoded, and why.
        images: number of images asked for.
        cached: how many of them needed no work.
        seconds: time spent on the others.
    """

    image_ids: list[ImageId]
    matrix: Float32Array
    starts: IntArray
    refused: dict[ImageId, ImageRefusedError]
    images: int
    cached: int
    seconds: float

    @property
    def images_per_s(self) -> float | None:
        """Rate over the images that needed work; None if there were none."""
        worked = self.images - self.cached
        return worked / self.seconds if worked and self.seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Featurizer:
    """A backbone and how to run it.

    Attributes:
        backbone: the frozen network.
        spec: the pixels it gets.
        precision: arithmetic it runs in.
        open_loaded: loads its bytes into an engine; called only when there is work.
        decoder: turns image files into views.
    """

    backbone: Backbone
    spec: PixelSpec
    precision: Precision
    open_loaded: Callable[[bytes], Engine]
    decoder: Decoder = field(default_factory=InProcessDecoder)

    @property
    def recipe(self) -> FeatureRecipe:
        """The key of its features in the cache."""
        return FeatureRecipe(self.backbone.digest, self.precision, self.spec.resize_mode)


def featurize(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    image_ids: Sequence[ImageId],
    progress: Progress | None = None,
) -> FeatureTable:
    """Compute what the cache lacks, and read all features.

    What is done is committed every two seconds: an interruption loses no more than that.

    Args:
        store: where the images are.
        cache: where features are kept.
        featurizer: the network.
        image_ids: the images wanted.
        progress: told of each image.

    Raises:
        StoreError: the cache cannot be written.
    """
    progress = progress or SilentProgress()
    recipe = featurizer.recipe
    wanted = sorted(set(image_ids))
    missing = cache.missing(recipe, wanted)
    started = time.perf_counter()
    passing: dict[ImageId, ImageRefusedError] = {}
    if missing:
        passing = _fill(store, cache, featurizer, missing, progress)
    seconds = time.perf_counter() - started
    found, matrix, starts = cache.read(recipe, wanted, featurizer.backbone.dim)
    refused = cache.refusals(wanted, recipe.pixel_contract) | passing
    cached = len(wanted) - len(missing)
    return FeatureTable(found, matrix, starts, refused, len(wanted), cached, seconds)


def _fill(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    missing: list[ImageId],
    progress: Progress,
) -> dict[ImageId, ImageRefusedError]:
    """Returns refusals that say nothing about the image itself and are not kept."""
    engine = featurizer.open_loaded(featurizer.backbone.model)
    pipeline = Pipeline(featurizer.decoder, engine, featurizer.spec)
    writer = _Writer(cache, featurizer.recipe)
    try:
        with progress.task("featurize", len(missing)) as task:
            for result in infer_many(_readers(store, missing), pipeline):
                writer.add(result, featurizer.backbone.output)
                task.advance()
    finally:
        writer.commit()
    return writer.passing


def _readers(
    store: Store, image_ids: list[ImageId]
) -> Iterator[tuple[ImageId, Callable[[], bytes]]]:
    extensions = store.extension_of(image_ids)
    for image_id in image_ids:
        extension = extensions[image_id]

        def read(image_id: ImageId = image_id, extension: str = extension) -> bytes:
            return store.blobs.read(image_id, extension)

        yield image_id, read


class _Writer:
    """Collects results and commits them now and then."""

    def __init__(self, cache: FeatureCache, recipe: FeatureRecipe) -> None:
        self.passing: dict[ImageId, ImageRefusedError] = {}
        self._cache = cache
        self._recipe = recipe
        self._vectors: list[tuple[ImageId, Float32Array]] = []
        self._refusals: list[tuple[ImageId, ImageRefusedError]] = []
        self._committed = time.monotonic()

    def add(self, result: Inferred[ImageId], output: str) -> None:
        if result.outputs is not None:
            self._vectors.append((result.key, result.outputs[output]))
        elif result.refusal is not None:
            if result.refusal.reason in PASSING_REASONS:
                self.passing[result.key] = result.refusal
            else:
                self._refusals.append((result.key, result.refusal))
        if time.monotonic() - self._committed > _COMMIT_EVERY_S:
            self.commit()

    def commit(self) -> None:
        if self._vectors or self._refusals:
            self._cache.put(self._recipe, self._vectors, self._refusals)
        self._vectors, self._refusals = [], []
        self._committed = time.monotonic()
