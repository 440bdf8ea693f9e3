"""What to label next, composed: featurize → split → fit → suggest, and a look along the curve."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keshikaran.dataset import Dataset
from keshikaran.dealing import hash_side
from keshikaran.errors import UsageError
from keshikaran.featurize import FeatureTable, featurize
from keshikaran.head import FitResult, fit_head
from keshikaran.learning_curve import LearningCurve, Sample, learning_curve
from keshikaran.preparation import Prepared, Tools, open_cached_tools, prepare
from keshikaran.prevalence import Prevalence, estimate_prevalence
from keshikaran.split import seed_side, stored_scheme
from keshikaran.store import Workspace, group_of
from keshikaran.suggest import (
    DEFAULT_RANDOM_SHARE,
    Candidates,
    Known,
    in_random_order,
    suggest,
)
from keshikaran.training_run import TrainingOptions
from keshikaran.types import (
    BoolArray,
    GroupId,
    ImageId,
    Progress,
    SilentProgress,
    Split,
    Suggestion,
)

MOST_LOOKED_AT = 100_000
"""Unlabelled images beyond this many wait for their turn: their features would fill the memory."""

_LEAST_TO_FIT = 5  # of each label on train
_LEAST_TO_CHOOSE = 20  # on validation, to choose the regularisation by
_USUAL_C = 0.01
_AHEAD = (100, 300)


@dataclass(frozen=True, slots=True)
class Asked:
    """A suggestion as a person needs it: with the places the image came from."""

    suggestion: Suggestion
    paths: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        item = self.suggestion
        return {
            "image_id": item.image_id,
            "why": item.why,
            "score": item.score,
            "paths": list(self.paths),
        }


@dataclass(frozen=True, slots=True)
class LabellingPlan:
    """What to label next, and what that will bring.

    Attributes:
        asked: the images, the most telling first, random ones last.
        labelled: images with a usable label.
        unlabelled: images without, of which `looked_at` could be chosen.
        looked_at: those that have features, at most `MOST_LOOKED_AT`.
        undecodable: unlabelled images that have none and never will.
        prevalence: how common objectionable images are; None before a random one is labelled.
        curve: how good heads are by number of labels; None with too few labels to say.
        timing_s: seconds spent on features, on fitting and choosing, and on the curve.
    """

    asked: tuple[Asked, ...]
    labelled: int
    unlabelled: int
    looked_at: int
    undecodable: int
    prevalence: Prevalence | None
    curve: LearningCurve | None
    timing_s: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The object that `keshikaran suggest --json` prints."""
        return {
            "suggestions": [item.to_dict() for item in self.asked],
            "labelled": self.labelled,
            "unlabelled": self.unlabelled,
            "looked_at": self.looked_at,
            "undecodable": self.undecodable,
            "prevalence": None if self.prevalence is None else self.prevalence.to_dict(),
            "curve": None if self.curve is None else self.curve.to_dict(),
            "timing_s": {name: round(value, 4) for name, value in self.timing_s.items()},
        }


def plan_labelling(
    workspace: Workspace,
    count: int,
    *,
    random_share: float = DEFAULT_RANDOM_SHARE,
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
    look: Callable[[Tools, Sequence[Asked]], None] | None = None,
) -> LabellingPlan:
    """Choose images to label next, and remember which were chosen at random.

    Args:
        workspace: with images, labelled or not.
        count: how many to choose, at least 1.
        random_share: share of random ones in [0, 1].
        options: backbone and how to run it.
        progress: told of images that have no features yet.
        look: given the chosen images while the store is open, for instance to draw them.

    Raises:
        UsageError: `count` or `random_share` make no sense.
        StoreError: the workspace cannot be used.
        BackboneError: the backbone cannot be had.
    """
    if count < 1 or not 0.0 <= random_share <= 1.0:
        msg = f"{count} images with a share of {random_share} random ones cannot be chosen."
        raise UsageError(msg, "Ask for at least 1 image, and a share from 0 to 1.")
    progress = progress or SilentProgress()
    started = time.perf_counter()
    with open_cached_tools(workspace, options or TrainingOptions()) as tools:
        store = tools.store
        open_ids = store.unlabelled_images()
        rows = in_random_order(open_ids, np.arange(len(open_ids)))[:MOST_LOOKED_AT]
        table = _features(tools, [open_ids[row] for row in rows], progress)
        prepared = prepare(tools, options or TrainingOptions(), progress)
        ready = time.perf_counter()
        groups = store.groups.of_images()
        fit = _fit(prepared.data)
        known = Known(
            prepared.features.matrix[prepared.features.starts],
            [group_of(image_id, groups) for image_id in prepared.features.image_ids],
        )
        candidates = _candidates(tools, table, groups)
        found = suggest(candidates, known, fit and fit.head, count, random_share)
        store.suggested.record(found)
        asked = [Asked(item, tuple(store.entries_of(item.image_id))) for item in found]
        chosen = time.perf_counter()
        reasons = store.suggested.of_images()
        labels = {image.image_id: image.label for image in store.labelled_images()}
        chance = [labels[i] for i, why in reasons.items() if "random" in why and i in labels]
        picked = {i for i, why in reasons.items() if "random" not in why}
        curve = _curve(prepared, fit, groups, picked)
        seen = time.perf_counter()
        if look is not None:
            look(tools, asked)
    return LabellingPlan(
        asked=tuple(asked),
        labelled=len(labels),
        unlabelled=len(open_ids),
        looked_at=len(table.image_ids),
        undecodable=len(table.refused),
        prevalence=estimate_prevalence(chance),
        curve=curve,
        timing_s={
            "featurize": ready - started,
            "choose": chosen - ready,
            "curve": seen - chosen,
            "total": time.perf_counter() - started,
        },
    )


def _features(tools: Tools, wanted: Sequence[ImageId], progress: Progress) -> FeatureTable:
    return featurize(tools.store, tools.cache, tools.featurizer, wanted, progress)


def _candidates(
    tools: Tools, table: FeatureTable, groups: Mapping[ImageId, GroupId]
) -> Candidates:
    return Candidates(
        table.image_ids,
        table.matrix[table.starts],
        [group_of(image_id, groups) for image_id in table.image_ids],
        _judging(tools, table.image_ids, groups),
    )


def _judging(
    tools: Tools, image_ids: Sequence[ImageId], groups: Mapping[ImageId, GroupId]
) -> BoolArray:
    """Whether each image would be on validation or test, were it labelled now.

    By the scheme in use; one from a file says nothing of new images, so the default stands in.
    """
    scheme = stored_scheme(tools.store)
    if scheme.name == "seed":
        objects = tools.store.object_ids(image_ids)
        return np.array([seed_side(objects[i]) != "train" for i in image_ids], dtype=bool)
    together = groups if scheme.guard else {}
    smallest: dict[GroupId, ImageId] = {}
    for image_id, group in together.items():
        smallest[group] = min(image_id, smallest.get(group, image_id))
    dealt: dict[GroupId, Split] = {}
    for image_id, side in tools.store.splits().items():
        group = group_of(image_id, together)
        dealt[group] = side if dealt.get(group, "train") == "train" else dealt[group]

    def side_of(image_id: ImageId) -> Split:
        group = group_of(image_id, together)
        return dealt.get(group) or hash_side(smallest.get(group, image_id), scheme.salt)

    return np.array([side_of(image_id) != "train" for image_id in image_ids], dtype=bool)


def _fit(data: Dataset) -> FitResult | None:
    """A head on the labels so far; None as long as that cannot be."""
    train, validation = data.part("train"), data.part("validation")
    if min(np.bincount(train[1], minlength=2)) < _LEAST_TO_FIT:
        return None
    if len(validation[1]) < _LEAST_TO_CHOOSE or len(np.unique(validation[1])) < 2:
        return fit_head(*train, *train, grid=(_USUAL_C,))
    return fit_head(*train, *validation)


def _curve(
    prepared: Prepared,
    fit: FitResult | None,
    groups: Mapping[ImageId, GroupId],
    picked: set[ImageId],
) -> LearningCurve | None:
    """Judged on images that nobody picked, without those of the test side: they judge alone."""
    if fit is None:
        return None
    data = prepared.data
    rows = np.flatnonzero([side != "test" for side in data.sides])
    ids = [data.image_ids[row] for row in rows]
    sample = Sample(
        data.features[data.starts[rows]],
        data.labels[rows],
        [group_of(image_id, groups) for image_id in ids],
        np.array([data.sides[row] == "train" for row in rows], dtype=bool),
        np.array([image_id not in picked for image_id in ids], dtype=bool),
    )
    return learning_curve(sample, fit.c or _USUAL_C, _AHEAD)
