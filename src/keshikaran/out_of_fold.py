"""Scores of training images by heads that never saw them: what calibration and label review need.

Cross-validation: Stone 1974, "Cross-Validatory Choice and Assessment of Statistical Predictions".
Folds are made of whole groups, so that no copy of an image vouches for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from keshikaran.head import fit_head, predict_proba
from keshikaran.types import Float32Array, Float64Array, GroupId, IntArray, LabelArray

DEFAULT_FOLDS = 5


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
    features: Float32Array, labels: LabelArray, folds: IntArray, c: float
) -> Float64Array:
    """Each image's probability by a head fitted on the other folds.

    Args:
        features: float32 [n, D], one row an image.
        labels: int8 [n].
        folds: int64 [n], from `assign_folds`.
        c: inverse regularisation strength, as the final head has it.

    Returns:
        float64 [n] in [0, 1].

    Raises:
        ValueError: the images outside of a fold are all of one label.
    """
    scores = np.empty(len(labels), dtype=np.float64)
    for fold in np.unique(folds):
        held = folds == fold
        if len(np.unique(labels[~held])) < 2:
            msg = "too few images of one label to leave a fold out"
            raise ValueError(msg)
        others = (features[~held], labels[~held])
        head = fit_head(*others, *others, grid=(c,)).head
        scores[held] = predict_proba(head, features[held])
    return scores


def _shuffled(group: GroupId) -> bytes:
    return hashlib.sha256(f"fold:{group}".encode()).digest()
