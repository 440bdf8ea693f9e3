"""How many labels look wrong: one count for the report and for the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from keshikaran.featurize import FeatureTable
from keshikaran.label_doubt import LabelTable, suspicious_labels, unseen_scores
from keshikaran.rows import take
from keshikaran.store import Store, group_of
from keshikaran.types import ImageId, Label


def suspects_counter(store: Store, features: FeatureTable) -> Callable[[], int | None]:
    """Read what is needed now; what comes back counts, in any thread.

    Args:
        store: says the labels, the groups, and what people have settled.
        features: of all labelled images that could be decoded.

    Returns:
        A function that gives the number of labels that look wrong by the confident joint and that
        no person has confirmed; None where there are too few of one label to say.
    """
    labels = {image.image_id: image.label for image in store.labels.images()}
    table = label_table(store, features, labels)
    settled = store.labels.settled()
    waiting = np.array([image_id not in settled for image_id in features.image_ids], dtype=bool)
    return lambda: _count(table, waiting & table.labelled)


def label_table(
    store: Store, features: FeatureTable, labels: Mapping[ImageId, Label]
) -> LabelTable:
    """All images of `features` with what they are labelled; those not in `labels` testify not."""
    groups = store.groups.of_images()
    return LabelTable(
        features=take(features.first_part, features.starts),
        labels=np.array([labels.get(i, 0) for i in features.image_ids], dtype=np.int8),
        labelled=np.array([i in labels for i in features.image_ids], dtype=bool),
        groups=[group_of(image_id, groups) for image_id in features.image_ids],
    )


def _count(table: LabelTable, waiting: np.ndarray) -> int | None:
    if len(np.unique(table.labels[table.labelled])) < 2:
        return None
    try:
        scores = unseen_scores(table)
    except ValueError:  # too few of one label to leave a fold out
        return None
    known = table.labelled
    suspicious = suspicious_labels(table.labels[known], scores[known])
    return int((suspicious & waiting[known]).sum())
