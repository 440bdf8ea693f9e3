"""Scores of training images by heads that never saw them: what calibration and label review need.

Cross-validation: Stone 1974, "Cross-Validatory Choice and Assessment of Statistical Predictions".
Folds are made of whole groups, so that no copy of an image vouches for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from keshikaran.head import Groundwork, Head, RoughFits, fit_head, predict_proba
from keshikaran.logistic import one_thread
from keshikaran.rows import Features, take
from keshikaran.types import (
    BoolArray,
    Float64Array,
    GroupId,
    IntArray,
    LabelArray,
    Progress,
    SilentProgress,
)

DEFAULT_FOLDS = 5
_USUAL_C = 1e-3


def assign_folds(
    groups: Sequence[GroupId], labels: LabelArray, folds: int = DEFAULT_FOLDS
) -> IntArray:
    """A fold for each image: whole groups, about as many of each label in every fold.

    Groups are dealt out in an order that their names' hash decides, so that the result does not
    depend on the order of the images, nor on what an image is called.

    Args:
        groups: group of each image, [n].
        labels: int8 [n].
        folds: how many.

    Returns:
        int64 [n], each in [0, folds).
    """
    counts: dict[GroupId, list[int]] = {}
    for group, label in zip(groups, labels, strict=True):
        counts.setdefault(group, [0, 0])[int(label)] += 1
    filled = np.zeros((folds, 2), dtype=np.int64)
    fold_of: dict[GroupId, int] = {}
    for group in sorted(counts, key=_shuffled):
        zeros, ones = counts[group]
        rarer = int(ones >= zeros)
        fold = int(np.lexsort((filled.sum(axis=1), filled[:, rarer]))[0])
        fold_of[group] = fold
        filled[fold] += counts[group]
    return np.array([fold_of[group] for group in groups], dtype=np.int64)


def out_of_fold_scores(
    features: Features,
    labels: LabelArray,
    folds: IntArray,
    c: float | None = None,
    *,
    near: Head | None = None,
    ground: Groundwork | None = None,
    taught: BoolArray | None = None,
    progress: Progress | None = None,
) -> Float64Array:
    """Each image's probability by a head fitted on the other folds.

    Args:
        features: float32 [n, D], one row an image.
        labels: int8 [n].
        folds: int64 [n], from `assign_folds`.
        c: inverse regularisation strength, as the final head has it; None takes the one that
            suits the first fold best.
        near: a head fitted on all of them with `c`: makes it faster, and changes no more than
            the tolerance allows.
        ground: what that fit found out about these features, if it is still known.
        taught: bool [n], the images whose labels may be learned from; None for all. The others
            are scored only.
        progress: told of each fold.

    Returns:
        float64 [n] in [0, 1].

    Raises:
        ValueError: the images outside of a fold are all of one label.
    """
    taught = np.ones(len(labels), dtype=bool) if taught is None else taught
    numbers = np.unique(folds)
    for fold in numbers:
        if len(np.unique(labels[(folds != fold) & taught])) < 2:
            msg = "too few images of one label to leave a fold out"
            raise ValueError(msg)
    if c is None:
        c, near = _suitable(features, labels, folds, taught)
    scores = np.empty(len(labels), dtype=np.float64)
    with (progress or SilentProgress()).task("fit", len(numbers)) as task, one_thread():
        fits = RoughFits(features, labels, c, near, ground)

        for fold in numbers:  # one after the other: a second thread would wait for the memory
            held = folds == fold
            head = fits.fit(~held & taught)
            scores[held] = predict_proba(head, take(features, np.flatnonzero(held)))
            task.advance()
    return scores


def _suitable(
    features: Features, labels: LabelArray, folds: IntArray, taught: BoolArray
) -> tuple[float, Head | None]:
    """The regularisation that suits the first fold best, and the head that it was found with."""
    held = (folds == folds.min()) & taught
    others = (folds != folds.min()) & taught
    if not held.any():
        return _USUAL_C, None
    train, judge = ((take(features, np.flatnonzero(rows)), labels[rows]) for rows in (others, held))
    fit = fit_head(*train, *judge, exact=False)
    return fit.c or _USUAL_C, fit.head


def _shuffled(group: GroupId) -> bytes:
    return hashlib.sha256(f"fold:{group}".encode()).digest()
