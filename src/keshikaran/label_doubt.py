"""How much speaks against each label.

Two opinions are asked of each image, neither of which saw its label or that of a copy of it: a
head fitted on the other folds, and a vote of the most similar labelled images. Their log-odds
are added, as for independent witnesses; ADR 0017 has what that brings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from keshikaran.head import sigmoid
from keshikaran.out_of_fold import assign_folds, out_of_fold_scores
from keshikaran.rows import Features, pieces, take
from keshikaran.similarity import centred, nearest
from keshikaran.types import (
    BoolArray,
    Float32Array,
    Float64Array,
    GroupId,
    IntArray,
    LabelArray,
    Progress,
    SilentProgress,
    chunks_of,
)

_VOTERS = 40
_SHARPNESS = 4
_LEAST_ASKED = 5_000
_SHARE_ASKED = 0.2
_MOST_COPIES = 100
_LEAST_SHARE = 1e-3
_QUERIES = 256
_ROWS = 4_096


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Images and what they are labelled.

    Attributes:
        features: float32 [n, D], the first view of each; need not be in memory.
        labels: int8 [n]; what stands where `labelled` is False means nothing.
        labelled: bool [n]; False for images whose imports contradict each other.
        groups: group of near-duplicates of each image, [n].
    """

    features: Features
    labels: LabelArray
    labelled: BoolArray
    groups: Sequence[GroupId]


@dataclass(frozen=True, slots=True)
class Doubts:
    """What speaks against labels.

    Attributes:
        scores: float64 [n], probability of label 1 by the out-of-fold head.
        rows: int64 [m], the images that were looked at closely, ascending.
        doubt: float64 [m] in [0, 1]: probability of the other label by both opinions together;
            of label 1 for an image without a label.
        neighbours: for each of `rows`, the labelled images most like it and none of its copies,
            the most similar first: row and cosine.
    """

    scores: Float64Array
    rows: IntArray
    doubt: Float64Array
    neighbours: list[list[tuple[int, float]]]


def doubt_labels(
    table: LabelTable,
    wanted: int | None = None,
    always: Iterable[int] = (),
    progress: Progress | None = None,
) -> Doubts:
    """Ask both opinions.

    Comparing every image with every other takes time that grows with the square of their number.
    Beyond 5,000 images only the fifth that the head doubts most is compared.

    Args:
        table: at least some images of each label.
        wanted: how many images need be looked at closely; None for all.
        always: rows that are looked at closely in any case.
        progress: told of each fold and each image that is compared.

    Raises:
        ValueError: too few images of one label to judge the others by.
    """
    progress = progress or SilentProgress()
    scores = unseen_scores(table, progress)
    signs = np.where(table.labelled & (table.labels == 1), -1.0, 1.0)
    rows = _to_ask(signs * _log_odds(scores), wanted, always)
    neighbours = _neighbours(table, rows, progress)
    votes = np.array([_vote(table.labels, found) for found in neighbours])
    odds = _log_odds(scores[rows]) + _log_odds(votes)
    return Doubts(scores, rows, sigmoid(signs[rows] * odds), neighbours)


def unseen_scores(table: LabelTable, progress: Progress | None = None) -> Float64Array:
    """Each image's probability of label 1 by a head that saw neither it nor a copy: float64 [n].

    Raises:
        ValueError: too few images of one label to judge the others by.
    """
    folds = assign_folds(table.groups, np.where(table.labelled, table.labels, 0).astype(np.int8))
    return out_of_fold_scores(
        table.features, table.labels, folds, taught=table.labelled, progress=progress
    )


def suspicious_labels(labels: LabelArray, scores: Float64Array) -> BoolArray:
    """Which labels look wrong, by the confident joint; an estimate of how many are.

    Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
    Labels": an image counts as of a class if its probability of it is at least the mean over the
    images labelled so; it looks wrong if that is another class than its label.

    Args:
        labels: int8 [n], both values present.
        scores: float64 [n], out-of-fold probabilities of label 1.

    Returns:
        bool [n].
    """
    chances = np.stack([1.0 - scores, scores], axis=1)
    least = np.array([chances[labels == value, value].mean() for value in (0, 1)])
    confident = chances >= least
    likely = np.where(confident, chances, -1.0).argmax(axis=1)
    wrong: BoolArray = confident.any(axis=1) & (likely != labels)
    return wrong


def _to_ask(doubt: Float64Array, wanted: int | None, always: Iterable[int]) -> IntArray:
    """Rows to look at closely, ascending."""
    count = len(doubt)
    if wanted is not None:
        count = max(wanted, _LEAST_ASKED, round(_SHARE_ASKED * count))
    most = np.argsort(-doubt, kind="stable")[:count]
    return np.union1d(most, np.array(list(always), dtype=np.int64)).astype(np.int64)


def _neighbours(
    table: LabelTable, rows: IntArray, progress: Progress
) -> list[list[tuple[int, float]]]:
    voters = np.flatnonzero(table.labelled)
    known, mean = _all_centred(take(table.features, voters))
    _, sizes = np.unique(np.array(table.groups), return_counts=True)
    count = _VOTERS + min(int(sizes.max()), _MOST_COPIES)
    found: list[list[tuple[int, float]]] = []
    with progress.task("compare", len(rows)) as task:
        for part in chunks_of(len(rows), _QUERIES):
            places, cosines = nearest(
                known, centred(np.asarray(take(table.features, rows[part])), mean), count
            )
            for row, near, how in zip(rows[part], voters[places], cosines, strict=True):
                group = table.groups[row]
                others = [
                    (int(other), float(cosine))
                    for other, cosine in zip(near, how, strict=True)
                    if table.groups[other] != group
                ]
                found.append(others[:_VOTERS])
            task.advance(part.stop - part.start)
    return found


def _all_centred(features: Features) -> tuple[Float32Array, Float32Array]:
    """Features around their mean, of length one, and that mean: one copy and no more."""
    total = np.zeros(features.shape[1])
    for _, some in pieces(features, _ROWS):
        total += some.sum(axis=0, dtype=np.float64)
    mean = (total / max(1, len(features))).astype(np.float32)
    result = np.empty(features.shape, dtype=np.float32)
    for part, some in pieces(features, _ROWS):
        result[part] = centred(some, mean)
    return result, mean


def _vote(labels: LabelArray, neighbours: list[tuple[int, float]]) -> float:
    """Share of label 1 among the neighbours, the similar ones counting more; 0.5 without any."""
    weights = [max(cosine, 0.0) ** _SHARPNESS for _, cosine in neighbours]
    total = sum(weights)
    if not total:
        return 0.5
    ones = sum(w for w, (row, _) in zip(weights, neighbours, strict=True) if labels[row])
    return ones / total


def _log_odds(chances: Float64Array) -> Float64Array:
    """Kept finite: no opinion, however sure, outweighs every other."""
    kept = np.clip(chances, _LEAST_SHARE, 1.0 - _LEAST_SHARE)
    odds: Float64Array = np.log(kept / (1.0 - kept))
    return odds
