"""Labelled images → what a server needs to tell drift by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keshikaran.drift_reference import (
    MOST_DIRECTIONS,
    ClassReference,
    Coordinates,
    DriftReference,
)
from keshikaran.principal import principal_directions
from keshikaran.types import Float32Array, Float64Array, GroupId, LabelArray

LEAST_OF_A_CLASS = 10

_BINS = 10
_IMAGES_A_DIRECTION = 10
_MOST_CELLS = 100_000
_MOST_ROWS = 4_000
_LARGEST_INT8 = 127


@dataclass(frozen=True, slots=True)
class UnseenImages:
    """Labelled images that the head was not fitted on.

    Attributes:
        features: float32 [n, D], the first view of each.
        labels: int8 [n].
        scores: the model's, float64 [n].
        groups: of near-duplicates, [n]; the first of each class in a group counts.
    """

    features: Float32Array
    labels: LabelArray
    scores: Float64Array
    groups: Sequence[GroupId]


def summarise(
    taught: Float32Array, unseen: UnseenImages, prevalence: float
) -> DriftReference | None:
    """Sum up scores and features.

    Directions come from the images that taught; everything else from images that did not, since
    a head is surer of images that it was fitted on.

    Args:
        taught: features of the images that the head was fitted on, float32 [m, D].
        unseen: other labelled images.
        prevalence: share of objectionable images among uploads that the scores assume.

    Returns:
        None where fewer than 10 unseen images of a class are left.
    """
    kept = _one_a_group(unseen)
    features, labels, scores = unseen.features[kept], unseen.labels[kept], unseen.scores[kept]
    if min((labels == 0).sum(), (labels == 1).sum()) < LEAST_OF_A_CLASS:
        return None
    dim = taught.shape[1]
    wanted = min(MOST_DIRECTIONS, len(kept) // _IMAGES_A_DIRECTION, dim // 2, _MOST_CELLS // dim)
    centre = taught.mean(axis=0, dtype=np.float64).astype(np.float32)
    steps, directions = _directions(taught, centre, max(1, wanted))
    places = Coordinates(centre, steps, directions)(features)
    edges = _edges(scores, labels, prevalence)
    spreads = _covariances(places, labels)
    classes = [
        ClassReference(
            images=int((labels == label).sum()),
            scores=np.bincount(
                np.searchsorted(edges, scores[labels == label], side="right"),
                minlength=len(edges) + 1,
            ).astype(np.int64),
            mean=places[labels == label].mean(axis=0),
            covariance=spreads[label],
        )
        for label in (0, 1)
    ]
    return DriftReference(prevalence, edges, centre, steps, directions, (classes[0], classes[1]))


def _one_a_group(unseen: UnseenImages) -> np.ndarray:
    seen: set[tuple[str, int]] = set()
    kept: list[int] = []
    for at, key in enumerate(zip(unseen.groups, unseen.labels.tolist(), strict=True)):
        if key not in seen:
            seen.add(key)
            kept.append(at)
    return np.array(kept, dtype=np.int64)


def _directions(
    taught: Float32Array, centre: Float32Array, wanted: int
) -> tuple[Float64Array, np.ndarray]:
    """The directions of most spread as whole numbers of at most 127, and the length of a unit.

    From a few thousand rows at most, spread evenly.
    """
    rows = taught[:: -(-len(taught) // _MOST_ROWS)]
    found = principal_directions(rows - centre, wanted)[2].astype(np.float64)
    steps = np.maximum(np.abs(found).max(axis=1) / _LARGEST_INT8, 1e-12)
    return steps, np.rint(found / steps[:, None]).astype(np.int8)


def _edges(scores: Float64Array, labels: LabelArray, prevalence: float) -> Float64Array:
    """Tenths of the scores under the prevalence; fewer where many scores are the same."""
    ones = labels == 1
    weights = np.where(ones, prevalence / ones.sum(), (1 - prevalence) / (~ones).sum())
    order = np.argsort(scores, kind="stable")
    shares = np.cumsum(weights[order])
    at = np.searchsorted(shares, np.arange(1, _BINS) / _BINS)
    ordered = scores[order]
    edges = np.unique(ordered[np.minimum(at, len(ordered) - 1)])
    inner: Float64Array = edges[edges > ordered[0]]
    return inner


def _covariances(places: Float64Array, labels: LabelArray) -> tuple[Float64Array, Float64Array]:
    """Of each class, drawn towards what both share as far as a class has few images."""
    size = places.shape[1]
    own = [np.cov(places[labels == label], rowvar=False).reshape(size, size) for label in (0, 1)]
    counts = [int((labels == label).sum()) for label in (0, 1)]
    shared = (counts[0] * own[0] + counts[1] * own[1]) / sum(counts)
    shared += np.diag(1e-4 * np.diag(shared) + 1e-9)
    drawn = [
        (count * spread + size * shared) / (count + size)
        for count, spread in zip(counts, own, strict=True)
    ]
    return drawn[0], drawn[1]
