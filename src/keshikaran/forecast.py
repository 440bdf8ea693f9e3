"""What more labels would bring to a workspace's head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np

from keshikaran.dataset import Dataset
from keshikaran.learning_curve import LearningCurve, Sample, learning_curve
from keshikaran.rows import take
from keshikaran.store import group_of
from keshikaran.types import GroupId, ImageId

USUAL_C = 0.01
"""Inverse regularisation strength where nobody has chosen one."""

_LEAST_TO_FIT = 5  # of each label on train


def curve_maker(
    data: Dataset,
    groups: Mapping[ImageId, GroupId],
    picked: Set[ImageId],
    c: float | None,
    more: Sequence[int],
) -> Callable[[], LearningCurve | None]:
    """Take what is needed now; what comes back measures, in any thread.

    Judged on images that nobody picked, without those of the test side: they judge alone.

    Args:
        data: labelled images with their sides.
        groups: of near-duplicates.
        picked: images that were labelled because a model asked for them.
        c: inverse regularisation strength of the head; None takes the usual one.
        more: numbers of further labels, ascending.

    Returns:
        A function that gives the curve, or None with too few labels to say.
    """
    rows = np.flatnonzero([side != "test" for side in data.sides])
    ids = [data.image_ids[row] for row in rows]
    sample = Sample(
        take(data.features, data.starts[rows]),
        data.labels[rows],
        [group_of(image_id, groups) for image_id in ids],
        np.array([data.sides[row] == "train" for row in rows], dtype=bool),
        np.array([image_id not in picked for image_id in ids], dtype=bool),
    )
    return lambda: learning_curve(sample, c or USUAL_C, more) if can_fit(data) else None


def can_fit(data: Dataset) -> bool:
    """Whether there are enough images of each label to fit a head on."""
    counts = data.counts()["train"]
    return min(counts.values()) >= _LEAST_TO_FIT
