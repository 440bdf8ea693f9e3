"""Stored images × backbone → features, computed once and kept in the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from queue import SimpleQueue
from threading import Thread

from keshikaran.backbones import Backbone, Engine, device_of
from keshikaran.errors import PASSING_REASONS, ImageRefusedError
from keshikaran.inference import Inferred, Outputs, Pipeline, infer_many
from keshikaran.joined_features import read_joined
from keshikaran.parts import Inputs, Part, PartsEngine, output_name
from keshikaran.pixels import Decoder, InProcessDecoder, PixelSpec
from keshikaran.rates import Rates
from keshikaran.store import BlobStore, FeatureCache, FeatureRecipe, Store
from keshikaran.types import (
    Float32Array,
    ImageId,
    IntArray,
    Precision,
    Progress,
    ProgressTask,
    SilentProgress,
)

_COMMIT_EVERY_S = 2.0

StoredFile = tuple[ImageId, str]
"""An image in the store, and the extension of its file."""


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
        rates: what bounds the rate reached; None where too few images needed work, and where an
            import shared the processors with the network: it would be measured too low.
        lead: how many columns the first part has; None where there is no other.
    """

    image_ids: list[ImageId]
    matrix: Float32Array
    starts: IntArray
    refused: dict[ImageId, ImageRefusedError]
    images: int
    cached: int
    seconds: float
    rates: Rates | None = None
    lead: int | None = None

    @property
    def first_part(self) -> Float32Array:
        """The columns of the first part, float32 [R, d]: what near-duplicates go by."""
        matrix: Float32Array = self.matrix[:, : self.lead]
        return matrix

    @property
    def images_per_s(self) -> float | None:
        """Rate over the images that needed work; None if there were none."""
        worked = self.images - self.cached
        return worked / self.seconds if worked and self.seconds > 0 else None

    def rate_words(self) -> str:
        """The rate reached beside what bounds it, in a few words."""
        return rate_words(self.images_per_s, self.rates)


def rate_words(rate: float | None, rates: Rates | None) -> str:
    """A rate in images a second and what bounds it, in a few words."""
    if rate is None:
        return "all features were cached"
    return f"{rate:,.0f} images/s" + ("" if rates is None else f"; {rates}")


@dataclass(frozen=True, slots=True)
class Featurizer:
    """What features are made of, and how.

    Attributes:
        backbone: the frozen network; of several parts, the first one's.
        spec: the pixels it gets.
        precision: arithmetic it runs in.
        open_loaded: loads its bytes into an engine; called only when there is work.
        decoder: turns image files into views.
        beside: further parts, whose features stand beside the first one's.
    """

    backbone: Backbone
    spec: PixelSpec
    precision: Precision
    open_loaded: Callable[[bytes], Engine]
    decoder: Decoder = field(default_factory=InProcessDecoder)
    beside: tuple[Part, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, the first one first."""
        return (Part(self.backbone, self.spec), *self.beside)

    @property
    def recipe(self) -> FeatureRecipe:
        """The key of the first part's features in the cache."""
        return self.recipes[0]

    @property
    def recipes(self) -> tuple[FeatureRecipe, ...]:
        """The keys of all parts' features."""
        return tuple(part.recipe(self.precision) for part in self.parts)


def featurize(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    image_ids: Sequence[ImageId],
    progress: Progress | None = None,
) -> FeatureTable:
    """Compute what the cache lacks, and read all features.

    What is done is committed every two seconds: an interruption loses no more than that, or than
    the first few batches, with which the bound is measured.

    Args:
        store: where the images are.
        cache: where features are kept.
        featurizer: the network.
        image_ids: the images wanted.
        progress: told of each image.

    Raises:
        StoreError: the cache cannot be written.
    """
    wanted = sorted(set(image_ids))
    done = fill_cache(store, cache, featurizer, wanted, progress)
    dims = [part.backbone.dim for part in featurizer.parts]
    found, matrix, starts = read_joined(cache, featurizer.recipes, dims, wanted)
    refused = cache.refusals(wanted, featurizer.recipe.pixel_contract) | done.passing
    cached = len(wanted) - done.images
    lead = dims[0] if featurizer.beside else None
    work = (len(wanted), cached, done.seconds, done.rates, lead)
    return FeatureTable(found, matrix, starts, refused, *work)


@dataclass(frozen=True, slots=True)
class Filled:
    """What filling the cache took.

    Attributes:
        images: how many it lacked.
        passing: refusals that say nothing about the image itself and are not kept.
        seconds: time spent.
        rates: as in `FeatureTable`.
    """

    images: int
    passing: dict[ImageId, ImageRefusedError]
    seconds: float
    rates: Rates | None = None


def fill_cache(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    image_ids: Sequence[ImageId],
    progress: Progress | None = None,
) -> Filled:
    """Compute what the cache lacks, and read nothing; see `featurize`.

    An image is decoded once for all the parts that lack it.
    """
    lacking = _lacking(cache, featurizer, image_ids)
    started = time.perf_counter()
    passing: dict[ImageId, ImageRefusedError] = {}
    rates: Rates | None = None
    count = sum(map(len, lacking.values()))
    if count:
        extensions = store.extension_of([i for ids in lacking.values() for i in ids])
        with (progress or SilentProgress()).task("featurize", count) as task:
            for numbers, ids in lacking.items():
                work = _Work(cache, featurizer, numbers, partial(_advance, task))
                files = ((image_id, extensions[image_id]) for image_id in ids)
                writer = _compute(store.blobs, work, files)
                passing |= writer.passing
                rates = rates or writer.rates
    return Filled(count, passing, time.perf_counter() - started, rates)


def _lacking(
    cache: FeatureCache, featurizer: Featurizer, image_ids: Sequence[ImageId]
) -> dict[tuple[int, ...], list[ImageId]]:
    """Numbers of parts → images that lack just these, in order."""
    lacks: dict[ImageId, list[int]] = {}
    for number, recipe in enumerate(featurizer.recipes):
        for image_id in cache.missing(recipe, image_ids):
            lacks.setdefault(image_id, []).append(number)
        if featurizer.beside:  # views of one part must be told from each other to be matched
            for image_id in cache.without_order(recipe).intersection(image_ids):
                lacks.setdefault(image_id, []).append(number)
    groups: dict[tuple[int, ...], list[ImageId]] = {}
    for image_id in image_ids:
        if image_id in lacks:
            groups.setdefault(tuple(lacks[image_id]), []).append(image_id)
    return groups


def _advance(task: ProgressTask, _: ImageId) -> None:
    task.advance()


@dataclass(frozen=True, slots=True)
class _Work:
    """Which parts are to be computed, where they go, and who is told of each image."""

    cache: FeatureCache
    featurizer: Featurizer
    numbers: tuple[int, ...]
    done: Callable[[ImageId], None]


def _compute(
    blobs: BlobStore, work: _Work, files: Iterable[StoredFile], *, alone: bool = True
) -> _Writer:
    """Featurize; measure the bound unless other work takes a part of what the network runs on."""
    featurizer = work.featurizer
    parts = [featurizer.parts[number] for number in work.numbers]
    engine = PartsEngine(parts, featurizer.open_loaded)
    spec = Inputs.of(parts).spec
    pipeline = Pipeline(featurizer.decoder, engine, spec, sketched=True)
    writer = _Writer(work.cache, [featurizer.recipes[number] for number in work.numbers])
    items = ((file[0], partial(blobs.read, *file)) for file in files)
    try:
        undisturbed = alone or device_of(engine) != "cpu"
        for result in infer_many(items, pipeline, writer.note if undisturbed else None):
            writer.add(result)
            work.done(result.key)
    finally:
        writer.commit()
    return writer


class FeaturizeAhead:
    """Featurizes images in a thread of its own while others are still on their way.

    Importing waits for the disk and featurizing for the processors: together they take little
    longer than the slower one. What is added is in the cache once `finish` has returned. Leaving
    the block early drops what waits and keeps what is done.

    Args:
        store: where the images are.
        cache: where features go; nobody else may use it inside the block before `finish`.
        featurizer: the network; loaded with the first image that needs it.
        progress: told of each image.
        total: how many images may come, if known.
    """

    def __init__(
        self,
        store: Store,
        cache: FeatureCache,
        featurizer: Featurizer,
        progress: Progress,
        total: int | None = None,
    ) -> None:
        self.computed: set[ImageId] = set()
        self.seconds = 0.0
        self.rates: Rates | None = None
        self._store, self._cache, self._featurizer = store, cache, featurizer
        self._progress, self._total = progress, total
        self._waiting: SimpleQueue[Sequence[StoredFile] | None] = SimpleQueue()
        self._dropped = False
        self._failure: BaseException | None = None
        self._thread: Thread | None = None
        self._task: ProgressTask

    def __enter__(self) -> FeaturizeAhead:
        return self

    def __exit__(self, *_: object) -> None:
        self._dropped = True
        self._join()

    def add(self, files: Sequence[StoredFile]) -> None:
        """Take stored images; returns at once.

        Raises:
            KeshikaranError: what went wrong with earlier ones.
        """
        self._raise_failure()
        if files and self._thread is None:
            self._thread = Thread(target=self._run, name="keshikaran-featurize", daemon=True)
            self._thread.start()
        self._waiting.put(files)

    def finish(self) -> None:
        """Wait until all that was added is done.

        Raises:
            StoreError: the cache cannot be written.
            BackboneError: the network cannot be run.
        """
        self._join()
        self._raise_failure()

    def _join(self) -> None:
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        started = time.perf_counter()
        try:
            with self._progress.task("featurize", self._total) as self._task:
                new = self._new()
                first = next(new, None)
                if first is not None:
                    numbers = tuple(range(len(self._featurizer.parts)))
                    work = _Work(self._cache, self._featurizer, numbers, self._count)
                    files = chain([first], new)
                    self.rates = _compute(self._store.blobs, work, files, alone=False).rates
        except BaseException as failure:  # raised again where the images come from
            self._failure = failure
        self.seconds = time.perf_counter() - started

    def _count(self, image_id: ImageId) -> None:
        self.computed.add(image_id)
        self._task.advance()

    def _new(self) -> Iterator[StoredFile]:
        """Images of which the cache has nothing, each once, as they come."""
        seen: set[ImageId] = set()
        while (files := self._waiting.get()) is not None:
            fresh = {image_id: extension for image_id, extension in files if image_id not in seen}
            seen.update(fresh)
            missing = list(fresh)
            for recipe in self._featurizer.recipes:
                missing = self._cache.missing(recipe, missing)
            self._task.advance(len(files) - len(missing))
            for image_id in missing:
                if self._dropped:
                    return
                yield image_id, fresh[image_id]


class _Writer:
    """Collects results and commits them now and then."""

    def __init__(self, cache: FeatureCache, recipes: Sequence[FeatureRecipe]) -> None:
        self.passing: dict[ImageId, ImageRefusedError] = {}
        self.rates: Rates | None = None
        self._cache = cache
        self._recipes = recipes
        self._found: list[tuple[ImageId, Outputs]] = []
        self._refusals: list[tuple[ImageId, ImageRefusedError]] = []
        self._committed = time.monotonic()

    def note(self, rates: Rates) -> None:
        self.rates = rates

    def add(self, result: Inferred[ImageId]) -> None:
        if result.outputs is not None:
            self._found.append((result.key, result.outputs))
        elif result.refusal is not None:
            if result.refusal.reason in PASSING_REASONS:
                self.passing[result.key] = result.refusal
            else:
                self._refusals.append((result.key, result.refusal))
        if time.monotonic() - self._committed > _COMMIT_EVERY_S:
            self.commit()

    def commit(self) -> None:
        if self._found or self._refusals:
            orders = [(key, found.order_of_views()) for key, found in self._found]
            orders = [(key, order) for key, order in orders if max(order)]
            sketches = [(k, found.sketch) for k, found in self._found if found.sketch is not None]
            for number, recipe in enumerate(self._recipes):
                vectors = [(key, found[output_name(number)]) for key, found in self._found]
                self._cache.put(recipe, vectors, self._refusals, () if number else sketches, orders)
        self._found, self._refusals = [], []
        self._committed = time.monotonic()
