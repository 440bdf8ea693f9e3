"""Which unlabelled images a person should label next.

Three kinds. `uncertain`: where the head knows least, spread over the space so that a batch does
not ask the same thing twice (uncertainty sampling: Lewis and Gale 1994, "A Sequential Algorithm
for Training Text Classifiers"; with spread: Sener and Savarese 2018, "Active Learning for
Convolutional Neural Networks: A Core-Set Approach"). `spread`: while no head can be fitted, the
middles of clusters (Zhdanov 2019, "Diverse mini-batch Active Learning"). `random`: what nobody
chose, so that shares and figures estimated from it hold for all images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keshikaran.head import Head, predict_proba
from keshikaran.similarity import centred
from keshikaran.types import (
    BoolArray,
    Float32Array,
    Float64Array,
    GroupId,
    ImageId,
    IntArray,
    Suggestion,
    Why,
)

DEFAULT_RANDOM_SHARE = 0.2
"""About what validation and test take of all labels anyway."""

_COPY = 0.8  # centred cosine; of 7 million pairs of different photographs 250 exceed it
_SHORT_LIST = 64  # uncertain images looked at for each one wanted
_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Candidates:
    """Unlabelled images.

    Attributes:
        image_ids: ascending, [n].
        features: float32 [n, D], the first view of each.
        groups: of near-duplicates, [n].
        judging: bool [n], whether an image will be on validation or test once it is labelled.
    """

    image_ids: Sequence[ImageId]
    features: Float32Array
    groups: Sequence[GroupId]
    judging: BoolArray


@dataclass(frozen=True, slots=True)
class Known:
    """Images that have a label.

    Attributes:
        features: float32 [m, D], the first view of each.
        groups: of near-duplicates, [m].
    """

    features: Float32Array
    groups: Sequence[GroupId]


def suggest(
    candidates: Candidates,
    known: Known,
    head: Head | None,
    count: int,
    random_share: float = DEFAULT_RANDOM_SHARE,
) -> list[Suggestion]:
    """Choose what to label next; the same for the same images, whatever their order.

    Random ones are taken from the images that will judge, the others from those that will teach.
    So validation and test remain a fair sample however the training images were chosen, and so
    does what is left of their images.

    Args:
        candidates: what there is to choose from.
        known: what is labelled already; near-duplicates of it teach little and are passed over.
        head: fitted on what is labelled; None as long as that cannot be.
        count: how many are wanted; fewer come if the rest are near-duplicates of each other.
        random_share: share of random ones in [0, 1].

    Returns:
        The most telling first, random ones last.
    """
    scores = None if head is None else predict_proba(head, candidates.features)
    batch = _Batch(candidates, known)
    teaching = np.flatnonzero(~candidates.judging)
    judging = in_random_order(candidates.image_ids, np.flatnonzero(candidates.judging))
    batch.take(judging, max(round(random_share * count), count - len(teaching)), "random")
    left = count - len(batch.chosen)
    if scores is None:
        order = _middles_first(batch.rows, candidates.image_ids, teaching, left)
        batch.take(order, left, "spread")
    else:
        batch.take_uncertain(scores, teaching, left)
    return [
        Suggestion(candidates.image_ids[row], why, None if scores is None else float(scores[row]))
        for row, why in batch.in_order()
    ]


def in_random_order(image_ids: Sequence[ImageId], rows: IntArray) -> IntArray:
    """Rows in an order that has nothing to do with what the images show, and never changes.

    Taking the first unlabelled ones again and again makes one fair sample of all.
    """
    keys = [hashlib.sha256(f"random:{image_ids[row]}".encode()).digest() for row in rows]
    return np.array([rows[i] for i in sorted(range(len(rows)), key=keys.__getitem__)], dtype=int)


class _Batch:
    """What has been chosen so far, and what is too near to it."""

    def __init__(self, candidates: Candidates, known: Known) -> None:
        mean = np.concatenate([candidates.features, known.features]).mean(axis=0, dtype=np.float64)
        self.rows = centred(candidates.features, mean.astype(np.float32))
        self.chosen: dict[int, Why] = {}
        self._known = centred(known.features, mean.astype(np.float32))
        self._known_groups = set(known.groups)
        self._groups = candidates.groups
        self._taken: set[GroupId] = set()

    def in_order(self) -> list[tuple[int, Why]]:
        """What was chosen, random ones last."""
        return sorted(self.chosen.items(), key=lambda item: item[1] == "random")

    def take(self, order: IntArray, count: int, why: Why) -> None:
        """Choose the first `count` rows that are no copies."""
        for row in order.tolist():
            if count <= 0:
                return
            if self._fits(row, why):
                self._add(row, why)
                count -= 1

    def take_uncertain(self, scores: Float64Array, rows: IntArray, count: int) -> None:
        """Choose greedily by uncertainty × squared distance to what was chosen before."""
        unsure = scores[rows] * (1.0 - scores[rows])
        order = np.argsort(-unsure, kind="stable")[: _SHORT_LIST * count]
        short, worth = rows[order], unsure[order]
        vectors = self.rows[short]
        distance = np.ones(len(short), dtype=np.float32)
        for row in self.chosen:
            distance = np.minimum(distance, 1.0 - vectors @ self.rows[row])
        for _ in range(len(short)):
            best = int(np.argmax(worth * distance))
            if count <= 0 or worth[best] * distance[best] <= 0.0:
                return
            row, worth[best] = int(short[best]), 0.0
            if self._fits(row, "uncertain"):
                self._add(row, "uncertain")
                distance = np.minimum(distance, 1.0 - vectors @ self.rows[row])
                count -= 1

    def _fits(self, row: int, why: Why) -> bool:
        """Whether a row is no copy of a chosen one, nor of a known one unless it is random.

        A random one that waits because of its twin comes first the next time: still fair.
        """
        if row in self.chosen or self._groups[row] in self._taken:
            return False
        if why != "random" and self._groups[row] in self._known_groups:
            return False
        others = self.rows[list(self.chosen)]
        if why != "random":
            others = np.concatenate([others, self._known])
        return not len(others) or float((others @ self.rows[row]).max()) < _COPY

    def _add(self, row: int, why: Why) -> None:
        self.chosen[row] = why
        self._taken.add(self._groups[row])


def _middles_first(
    vectors: Float32Array, image_ids: Sequence[ImageId], rows: IntArray, count: int
) -> IntArray:
    """Rows nearest to the middles of `count` clusters, largest first; then all in random order.

    Lloyd 1982, "Least squares quantization in PCM", begun with spread-out rows as k-means++ does
    (Arthur and Vassilvitskii 2007).
    """
    order = in_random_order(image_ids, rows)
    if count <= 0 or count >= len(rows):
        return order
    points = vectors[order]
    middles = points[_far_apart(points, count)]
    for _ in range(_ROUNDS):
        nearest = _distances(points, middles).argmin(axis=1)
        for number in range(count):
            members = points[nearest == number]
            if len(members):
                middles[number] = members.mean(axis=0)
    distances = _distances(points, middles)
    sizes = np.bincount(distances.argmin(axis=1), minlength=count)
    firsts = distances.argmin(axis=0)[np.argsort(-sizes, kind="stable")]
    return np.concatenate([order[firsts], order])


def _far_apart(points: Float32Array, count: int) -> list[int]:
    """Row numbers drawn one by one, with probabilities by squared distance to those before."""
    rng = np.random.default_rng(0)
    drawn = [0]
    distance = np.full(len(points), np.inf)
    while len(drawn) < count:
        distance = np.minimum(distance, np.square(points - points[drawn[-1]]).sum(axis=1))
        total = float(distance.sum(dtype=np.float64))
        if total <= 0.0:
            return [*drawn, *range(count - len(drawn))]  # copies of one another: any will do
        drawn.append(int(rng.choice(len(points), p=distance.astype(np.float64) / total)))
    return drawn


def _distances(points: Float32Array, middles: Float32Array) -> Float32Array:
    """Squared distances without the points' own lengths, float32 [n, k]."""
    result: Float32Array = np.square(middles).sum(axis=1) - 2.0 * (points @ middles.T)
    return result
