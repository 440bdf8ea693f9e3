"""Stored images and their features → groups of near-duplicates, and suspected copies.

Features and sketches name the pairs that may be copies of one photograph; the pixels decide.
Where they cannot, and the features are very alike, the pair is remembered as suspected.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keshikaran.alignment import (
    RULES,
    THUMBNAIL,
    Evidence,
)
from keshikaran.candidates import find_candidates
from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import Decoder, PixelSpec
from keshikaran.rows import take
from keshikaran.sketches import SKETCH_SIDE, sketch_of
from keshikaran.store import (
    DuplicatePair,
    FeatureCache,
    FeatureRecipe,
    Store,
    SuspectedPair,
    room_for,
)
from keshikaran.types import (
    Float32Array,
    GroupId,
    ImageId,
    Progress,
    SilentProgress,
    UInt8Array,
    chunks_of,
)
from keshikaran.verification import Finding, Thumbnails, verified

_EVIDENCE = tuple(field.name for field in fields(Evidence))
_SPEC = PixelSpec(THUMBNAIL, THUMBNAIL, "pad")
_SKETCHES_AT_ONCE = 2_000
_SEARCHES = 2
_MANY_COPIES = 0.02
_MOST_SUSPECTED = 100
_MOST_SUSPECTED_PER_IMAGE = 0.03


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
        new_suspected: pairs suspected this time.
        pairs: all pairs of copies.
        groups: groups of more than one image.
        seconds: time spent.
    """

    images: int
    new_images: int
    candidates: int
    new_pairs: int
    new_suspected: int
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
    candidates = found = suspected = 0
    if new:
        extensions = sources.store.extension_of(image_ids)
        image_ids = [image_id for image_id in image_ids if image_id in extensions]
        images = _Images(
            image_ids,
            _features(sources, known, image_ids),
            _sketches(sources, image_ids, extensions),
            np.array([image_id in new for image_id in image_ids], dtype=bool),
            _apart(image_ids, groups.of_images()),
            sources.store.folder,
        )
        thumbnails = thumbnails_of(sources, image_ids, extensions)
        candidates, findings = _search(images, thumbnails, progress or SilentProgress())
        copies = [one for one in findings if one.is_copy]
        suspects = [one for one in findings if not one.is_copy]
        found = groups.record([_pair(image_ids, one) for one in copies])
        suspected = sources.store.suspected.record(_suspected(image_ids, one) for one in suspects)
        groups.set_compared(rules, sorted(new))
    return GroupingReport(
        len(image_ids),
        len(new),
        candidates,
        found,
        suspected,
        len(groups.pairs()),
        len(groups.members()),
        time.perf_counter() - started,
    )


@dataclass(frozen=True, slots=True)
class _Images:
    """What is known of all images: id, features, sketch, whether new, whether no known copy.

    What is too large for memory goes into `folder`.
    """

    image_ids: Sequence[ImageId]
    features: Float32Array
    sketches: UInt8Array
    fresh: np.ndarray
    apart: np.ndarray
    folder: Path


def _search(
    images: _Images, thumbnails: Thumbnails, progress: Progress
) -> tuple[int, list[Finding]]:
    """How many pairs were looked at, and those that are copies or suspected.

    Where many are copies, a second search knows better what is usual in this store.
    """
    seen: set[tuple[int, int]] = set()
    findings: list[Finding] = []
    apart = images.apart.copy()
    for _ in range(_SEARCHES):
        parts = (images.features, images.sketches, images.fresh)
        found = find_candidates(*parts, apart, partial(room_for, folder=images.folder))
        candidates = [one for one in found if (one.first, one.second) not in seen]
        seen.update((one.first, one.second) for one in candidates)
        with progress.task("compare", len(candidates)) as task:
            new = list(verified(candidates, thumbnails, task))
        findings += new
        before = int(apart.sum())
        apart[[one.candidate.second for one in new if one.is_copy]] = False
        if before - apart.sum() <= _MANY_COPIES * before:
            break
    return len(seen), _looked_closely(findings, int(images.fresh.sum()), thumbnails)


def _looked_closely(findings: list[Finding], fresh: int, thumbnails: Thumbnails) -> list[Finding]:
    """The copies, and the suspects that bear a closer look; some of these turn out to be copies.

    Pairs of different photographs that look alike grow with the square of the number of images:
    only so many of the heaviest are kept, lest a large store of one kind be all suspicion.
    """
    suspects = sorted(
        (one for one in findings if not one.is_copy), key=lambda one: one.weight, reverse=True
    )
    most = max(_MOST_SUSPECTED, int(_MOST_SUSPECTED_PER_IMAGE * fresh))
    candidates = sorted(
        (one.candidate for one in suspects[:most]), key=lambda one: (one.first, one.second)
    )
    with SilentProgress().task("compare", len(candidates)) as task:
        again = list(verified(candidates, thumbnails, task, closely=True))
    decided = {one.candidate: one for one in again if one.is_copy}
    copies = [one for one in findings if one.is_copy]
    return [*copies, *(decided.get(one.candidate, one) for one in suspects[:most])]


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
    return np.asarray(take(matrix, starts))


def _sketches(
    sources: Sources, image_ids: Sequence[ImageId], extensions: dict[ImageId, str]
) -> UInt8Array:
    """Sketches of all, uint8 [n, S, S]; those that the cache lacks are made."""
    sketches = np.empty((len(image_ids), SKETCH_SIDE, SKETCH_SIDE), dtype=np.uint8)
    for part in chunks_of(len(image_ids), _SKETCHES_AT_ONCE):
        found = sources.cache.sketches(sources.recipe, image_ids[part])
        lacking = [image_id for image_id in image_ids[part] if image_id not in found]
        if lacking:
            views = _decoded(sources, lacking, extensions, sources.spec)
            made = [
                (image_id, sketch_of(np.zeros((1, 1, 3), np.uint8) if view is None else view))
                for image_id, view in zip(lacking, views, strict=True)
            ]
            sources.cache.put_sketches(sources.recipe, made)
            found.update(made)
        sketches[part] = np.stack([found[image_id] for image_id in image_ids[part]])
    return sketches


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


def _pair(image_ids: Sequence[ImageId], found: Finding) -> DuplicatePair:
    return DuplicatePair(**_evidence_of(image_ids, found))


def _suspected(image_ids: Sequence[ImageId], found: Finding) -> SuspectedPair:
    return SuspectedPair(**_evidence_of(image_ids, found), spreads=found.candidate.spreads)


def _evidence_of(image_ids: Sequence[ImageId], found: Finding) -> dict[str, Any]:
    evidence = found.evidence
    shown = dict.fromkeys(_EVIDENCE) if evidence is None else asdict(evidence)
    ends = {
        "first": image_ids[found.candidate.first],
        "second": image_ids[found.candidate.second],
    }
    return {**ends, **shown, "rules": RULES}


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
