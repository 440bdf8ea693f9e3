"""Stored images and their features → groups of near-duplicates.

Features and sketches name the pairs that may be copies of one photograph; the pixels decide.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from keshikaran.alignment import (
    RULES,
    THUMBNAIL,
    Evidence,
)
from keshikaran.candidates import Candidate, find_candidates
from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import Decoder, PixelSpec
from keshikaran.sketches import sketch_of
from keshikaran.store import DuplicatePair, FeatureCache, FeatureRecipe, Store
from keshikaran.types import (
    Float32Array,
    GroupId,
    ImageId,
    Progress,
    SilentProgress,
    UInt8Array,
    chunks_of,
)
from keshikaran.verification import Thumbnails, verified

_SPEC = PixelSpec(THUMBNAIL, THUMBNAIL, "pad")
_SKETCHES_AT_ONCE = 2_000
_SEARCHES = 2
_MANY_COPIES = 0.02


@dataclass(frozen=True, slots=True)
class Sources:
    """Where images, features and pixels come from.

    Attributes:
        store: the images, and where groups are kept.
        cache: their features and sketches.
        decoder: turns image files into pixels.
        recipe: the features to go by.
        spec: the pixels they were computed from.
    """

    store: Store
    cache: FeatureCache
    decoder: Decoder
    recipe: FeatureRecipe
    spec: PixelSpec


@dataclass(frozen=True, slots=True)
class FirstViews:
    """Features that are in memory already.

    Attributes:
        image_ids: ascending.
        features: float32 [n, D], of each image's first view.
    """

    image_ids: Sequence[ImageId]
    features: Float32Array


@dataclass(frozen=True, slots=True)
class GroupingReport:
    """What was compared, and what is known now.

    Attributes:
        images: images with features.
        new_images: those that were not compared with the others before.
        candidates: pairs whose pixels were looked at this time.
        new_pairs: pairs of copies found this time.
        pairs: all pairs of copies.
        groups: groups of more than one image.
        seconds: time spent.
    """

    images: int
    new_images: int
    candidates: int
    new_pairs: int
    pairs: int
    groups: int
    seconds: float


def group_images(
    sources: Sources, known: FirstViews, progress: Progress | None = None
) -> GroupingReport:
    """Compare the images that are new with all others, and record which are copies.

    Every image of the store that has features takes part. What was compared is remembered, once
    its pairs are recorded: an interruption loses time only.

    Args:
        sources: where everything comes from.
        known: features that need not be read again.
        progress: told of each pair that is looked at.

    Raises:
        StoreError: the workspace cannot be read or written.
    """
    started = time.perf_counter()
    groups = sources.store.groups
    rules = _rules(sources.recipe)
    image_ids = sources.cache.images(sources.recipe)
    new = sources.store.known_images(sorted(set(image_ids) - groups.compared(rules)))
    candidates = found = 0
    if new:
        extensions = sources.store.extension_of(image_ids)
        image_ids = [image_id for image_id in image_ids if image_id in extensions]
        images = _Images(
            image_ids,
            _features(sources, known, image_ids),
            _sketches(sources, image_ids, extensions),
            np.array([image_id in new for image_id in image_ids], dtype=bool),
            _apart(image_ids, groups.of_images()),
        )
        thumbnails = thumbnails_of(sources, image_ids, extensions)
        candidates, pairs = _search(images, thumbnails, progress or SilentProgress())
        found = groups.record(pairs)
        groups.set_compared(rules, sorted(new))
    return GroupingReport(
        len(image_ids),
        len(new),
        candidates,
        found,
        len(groups.pairs()),
        len(groups.members()),
        time.perf_counter() - started,
    )


@dataclass(frozen=True, slots=True)
class _Images:
    """What is known of all images: id, features, sketch, whether new, whether no known copy."""

    image_ids: Sequence[ImageId]
    features: Float32Array
    sketches: UInt8Array
    fresh: np.ndarray
    apart: np.ndarray


def _search(
    images: _Images, thumbnails: Thumbnails, progress: Progress
) -> tuple[int, list[DuplicatePair]]:
    """How many pairs were looked at, and those that are copies.

    Where many are, a second search knows better what is usual in this store.
    """
    seen: set[tuple[int, int]] = set()
    pairs: list[DuplicatePair] = []
    apart = images.apart.copy()
    for _ in range(_SEARCHES):
        found = find_candidates(images.features, images.sketches, images.fresh, apart)
        candidates = [one for one in found if (one.first, one.second) not in seen]
        seen.update((one.first, one.second) for one in candidates)
        with progress.task("compare", len(candidates)) as task:
            copies = list(verified(candidates, thumbnails, task))
        pairs += [_pair(images.image_ids, *copy) for copy in copies]
        before = int(apart.sum())
        apart[[candidate.second for candidate, _ in copies]] = False
        if before - apart.sum() <= _MANY_COPIES * before:
            break
    return len(seen), pairs


def _apart(image_ids: Sequence[ImageId], groups: Mapping[ImageId, GroupId]) -> np.ndarray:
    """One image of each group, and all that are in none: bool [n]."""
    met: set[GroupId] = set()
    result = np.ones(len(image_ids), dtype=bool)
    for number, image_id in enumerate(image_ids):
        group = groups.get(image_id)
        result[number] = group is None or group not in met
        if group is not None:
            met.add(group)
    return result


def _rules(recipe: FeatureRecipe) -> str:
    """Names all that decides which pairs are found."""
    parts = (recipe.backbone_digest, recipe.precision, recipe.resize_mode, recipe.pixel_contract)
    return ":".join(map(str, (RULES, *parts)))


def _features(sources: Sources, known: FirstViews, image_ids: Sequence[ImageId]) -> Float32Array:
    if list(known.image_ids) == list(image_ids):
        return known.features
    dim = known.features.shape[1]
    _, matrix, starts = sources.cache.read(sources.recipe, image_ids, dim)
    rows: Float32Array = matrix[starts]
    return rows


def _sketches(
    sources: Sources, image_ids: Sequence[ImageId], extensions: dict[ImageId, str]
) -> UInt8Array:
    """Sketches of all, uint8 [n, S, S]; those that the cache lacks are made."""
    found = sources.cache.sketches(sources.recipe, image_ids)
    lacking = [image_id for image_id in image_ids if image_id not in found]
    for part in chunks_of(len(lacking), _SKETCHES_AT_ONCE):
        views = _decoded(sources, lacking[part], extensions, sources.spec)
        made = [
            (image_id, sketch_of(np.zeros((1, 1, 3), np.uint8) if view is None else view))
            for image_id, view in zip(lacking[part], views, strict=True)
        ]
        sources.cache.put_sketches(sources.recipe, made)
        found.update(made)
    return np.stack([found[image_id] for image_id in image_ids])


def thumbnails_of(
    sources: Sources, image_ids: Sequence[ImageId], extensions: dict[ImageId, str]
) -> Thumbnails:
    """Thumbnails of stored images, numbered as in `image_ids`."""

    def decode(numbers: Sequence[int]) -> list[UInt8Array | None]:
        return _decoded(sources, [image_ids[number] for number in numbers], extensions, _SPEC)

    return Thumbnails(decode)


def _decoded(
    sources: Sources,
    image_ids: Sequence[ImageId],
    extensions: dict[ImageId, str],
    spec: PixelSpec,
) -> list[UInt8Array | None]:
    """First view of each image; None where a file was damaged since it was featurized."""

    def first_view(image_id: ImageId) -> UInt8Array | None:
        try:
            data = sources.store.blobs.read(image_id, extensions[image_id])
            view: UInt8Array = sources.decoder.decode(data, spec).views[0]
        except ImageRefusedError:
            return None
        return view

    with ThreadPoolExecutor(_cores() + 1, thread_name_prefix="keshikaran") as pool:
        return list(pool.map(first_view, image_ids))


def _pair(image_ids: Sequence[ImageId], candidate: Candidate, evidence: Evidence) -> DuplicatePair:
    first, second = image_ids[candidate.first], image_ids[candidate.second]
    return DuplicatePair(first, second, **asdict(evidence), rules=RULES)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
