"""Features, labels and sides as one table: what fitting and judging work on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keshikaran.errors import NotEnoughImagesError
from keshikaran.head import Head, predict_proba
from keshikaran.metrics import ScoredSet
from keshikaran.rows import Features, take
from keshikaran.types import (
    SPLITS,
    Float32Array,
    Float64Array,
    ImageId,
    IntArray,
    Label,
    LabelArray,
    Split,
)

_LEAST_IN_TRAIN = 5
_LEAST_ELSEWHERE = 1
_NAMES = {"0": "acceptable", "1": "objectionable"}

SplitCounts = dict[Split, dict[str, int]]
"""Split → label as text → number of images."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images in order of their id, whatever order they arrived in.

    A head is fitted on the first view of each image, which is what the person who labelled it
    saw; an image's score is the highest of its views.

    Attributes:
        image_ids: ascending, [n].
        features: float32 [R, D], a row for each view; an image's views are neighbours.
        starts: int64 [n], where each image's rows begin.
        labels: int8 [n].
        sides: [n].
    """

    image_ids: list[ImageId]
    features: Features
    starts: IntArray
    labels: LabelArray
    sides: list[Split]

    def rows(self, side: Split) -> np.ndarray:
        """Numbers of the images on one side, ascending."""
        return np.flatnonzero([value == side for value in self.sides])

    def part(self, side: Split) -> tuple[Features, LabelArray]:
        """First views and labels of one side: float32 [m, D], int8 [m]."""
        rows = self.rows(side)
        return take(self.features, self.starts[rows]), self.labels[rows]

    def scores(self, head: Head, rows: np.ndarray) -> Float64Array:
        """What `head` says of some images: the highest of its views.

        Args:
            head: any.
            rows: numbers of the images, int64 [m].

        Returns:
            float64 [m].
        """
        if not len(rows):
            return np.empty(0)
        ends = np.append(self.starts[1:], len(self.features))
        views = ends[rows] - self.starts[rows]
        begins = np.cumsum(views) - views
        numbers = np.arange(views.sum()) + np.repeat(self.starts[rows] - begins, views)
        found = predict_proba(head, take(self.features, numbers))
        scores: Float64Array = np.maximum.reduceat(found, begins)
        return scores

    def scored(self, side: Split, head: Head) -> ScoredSet:
        """One side with the scores that `head` gives."""
        rows = self.rows(side)
        ids = [self.image_ids[row] for row in rows]
        return ScoredSet(ids, self.labels[rows], self.scores(head, rows))

    def counts(self) -> SplitCounts:
        """How many images of each label are on each side."""
        counts: SplitCounts = {side: {"0": 0, "1": 0} for side in SPLITS}
        for side, label in zip(self.sides, self.labels, strict=True):
            counts[side][str(label)] += 1
        return counts

    def prevalence(self) -> float:
        """Share of objectionable images among those that train."""
        return float(self.labels[self.rows("train")].mean())

    def digest(self) -> str:
        """SHA-256 over every image id, label and side."""
        lines = zip(self.image_ids, self.labels, self.sides, strict=True)
        text = "".join(f"{image_id} {label} {side}\n" for image_id, label, side in lines)
        return hashlib.sha256(text.encode()).hexdigest()


def make_dataset(
    image_ids: Sequence[ImageId],
    features: Float32Array,
    labels: Mapping[ImageId, Label],
    sides: Mapping[ImageId, Split],
    starts: IntArray | None = None,
) -> Dataset:
    """Join what is known about each image; those without a side are left out.

    Args:
        image_ids: ascending, [n].
        features: float32 [R, D], a row for each view.
        labels: label of every image that has a side.
        sides: side of every image that has one.
        starts: int64 [n], where each image's rows begin; None where each has one row.
    """
    starts = np.arange(len(image_ids)) if starts is None else starts
    kept = [image_id for image_id in image_ids if image_id in sides]
    rows: Features = features
    if len(kept) < len(image_ids):
        rows, starts = _rows_of(image_ids, features, starts, set(kept))
    return Dataset(
        kept,
        rows,
        starts,
        np.array([labels[image_id] for image_id in kept], dtype=np.int8),
        [sides[image_id] for image_id in kept],
    )


def _rows_of(
    image_ids: Sequence[ImageId], features: Float32Array, starts: IntArray, kept: set[ImageId]
) -> tuple[Features, IntArray]:
    """The rows of the images that stay, and where each one's begin."""
    views = np.diff(np.append(starts, len(features)))
    stays = np.array([image_id in kept for image_id in image_ids], dtype=bool)
    ends = np.cumsum(views[stays])
    rows = take(features, np.flatnonzero(np.repeat(stays, views)))
    return rows, (ends - views[stays]).astype(np.int64)


def check_counts(counts: SplitCounts, hint: str = "") -> None:
    """Refuse what cannot train or cannot be judged.

    Args:
        counts: images on each side.
        hint: what to do about missing labels, if the caller knows better.

    Raises:
        NotEnoughImagesError: no images, one class only, or a side with too few of a class.
    """
    totals = {label: sum(side[label] for side in counts.values()) for label in ("0", "1")}
    check_totals(totals, hint)
    for side in SPLITS:
        least = _LEAST_IN_TRAIN if side == "train" else _LEAST_ELSEWHERE
        for label, name in _NAMES.items():
            if counts[side][label] < least:
                msg = (
                    f"Too few images: {counts[side][label]} {name} on the {side} side, at least"
                    f" {least} needed ({totals['0']} acceptable and {totals['1']} objectionable"
                    " in all)."
                )
                advice = "Label more: some 50 of each class make a start, 500 a good model."
                raise NotEnoughImagesError(msg, advice)


def check_totals(totals: Mapping[str, int], hint: str = "") -> None:
    """Refuse what no split can help.

    Args:
        totals: label as text → number of images.
        hint: what to do about missing labels, if the caller knows better.

    Raises:
        NotEnoughImagesError: no images, or one class only.
    """
    if not sum(totals.values()):
        msg = "There are no labelled images."
        advice = "Import a folder of class folders and say which with --positive NAME."
        raise NotEnoughImagesError(msg, hint or advice)
    for label, other in (("0", "1"), ("1", "0")):
        if totals[other] == 0:
            msg = f"All {totals[label]} labelled images are {_NAMES[label]}."
            advice = f"Add images that are {_NAMES[other]}; a classifier needs both."
            raise NotEnoughImagesError(msg, hint or advice)
