"""What to label next, composed: featurize → split → fit → suggest, and a look along the curve."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keshikaran.dataset import Dataset
from keshikaran.dealing import hash_side, kept_together
from keshikaran.errors import UsageError
from keshikaran.featurize import FeatureTable, featurize
from keshikaran.head import FitResult, Head, fit_head
from keshikaran.inert import printable
from keshikaran.learning_curve import LearningCurve, Sample, learning_curve
from keshikaran.preparation import Prepared, Tools, open_cached_tools, prepare
from keshikaran.prevalence import Prevalence, estimate_prevalence
from keshikaran.report import ContactSheet, SheetImage, SheetSection
from keshikaran.rows import take
from keshikaran.split import seed_side, stored_scheme
from keshikaran.store import Store, Workspace, group_of
from keshikaran.suggest import (
    DEFAULT_RANDOM_SHARE,
    Candidates,
    Known,
    in_random_order,
    suggest,
)
from keshikaran.thumbnails import make_thumbnails
from keshikaran.training_run import TrainingOptions
from keshikaran.types import (
    BoolArray,
    GroupId,
    ImageId,
    Progress,
    SilentProgress,
    Split,
    Suggestion,
    Why,
)

MOST_LOOKED_AT = 100_000
"""Unlabelled images beyond this many wait for their turn: their features would fill the memory."""

_LEAST_TO_FIT = 5  # of each label on train
_LEAST_TO_CHOOSE = 20  # on validation, to choose the regularisation by
_USUAL_C = 0.01
_AHEAD = (100, 300)
_STAGES = ("featurize", "choose", "curve")
_SHORT_ID = 16  # digits of an image id that name it among any number of images
_HEADINGS: dict[Why, tuple[str, str]] = {
    "uncertain": ("Uncertain", "Where the labels so far say least."),
    "spread": (
        "Spread",
        "One of each kind of picture, since too few labels are known to ask more.",
    ),
    "random": (
        "Random",
        "Chosen by nobody: they keep the figures honest. Please label all of them.",
    ),
}
_INTRO = (
    "Label each picture: 0 acceptable, 1 objectionable. Run the command below it (with --value 1"
    " if it is objectionable), or fill in the column correct of the CSV file and run:"
    " keshikaran label --from FILE.csv"
)


@dataclass(frozen=True, slots=True)
class LabellingPlan:
    """What to label next, and what that will bring.

    Attributes:
        suggestions: the most telling first, random ones last.
        places: of each suggested image, where it was met.
        thumbnails: of the same images, if wanted; those that cannot be decoded are missing.
        labelled: images with a usable label.
        unlabelled: images without.
        looked_at: unlabelled images that could be chosen; at most `MOST_LOOKED_AT`.
        undecodable: unlabelled images that could not, since they cannot be decoded.
        prevalence: how common objectionable images are; None before a random one is labelled.
        curve: how good heads are by number of labels; None with too few labels to say.
        timing_s: seconds spent on features and split, on fitting and choosing, on the curve.
    """

    suggestions: tuple[Suggestion, ...]
    places: Mapping[ImageId, tuple[str, ...]]
    thumbnails: Mapping[ImageId, bytes]
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
            "suggestions": [
                asdict(item) | {"paths": list(self.places[item.image_id])}
                for item in self.suggestions
            ],
            "labelled": self.labelled,
            "unlabelled": self.unlabelled,
            "looked_at": self.looked_at,
            "undecodable": self.undecodable,
            "prevalence": None if self.prevalence is None else self.prevalence.to_dict(),
            "curve": None if self.curve is None else self.curve.to_dict(),
            "timing_s": {name: round(value, 4) for name, value in self.timing_s.items()},
        }

    def place_of(self, image_id: ImageId) -> str:
        """One place where an image was met, or its id."""
        return next(iter(self.places.get(image_id, ())), image_id)


def plan_labelling(
    workspace: Workspace,
    count: int,
    options: TrainingOptions,
    *,
    random_share: float = DEFAULT_RANDOM_SHARE,
    thumbnails: bool = False,
    progress: Progress | None = None,
) -> LabellingPlan:
    """Choose images to label next, and remember why each was chosen.

    Labelled images that have no side yet get theirs, as `split` gives it.

    Args:
        workspace: with images, labelled or not.
        count: how many to choose, at least 1.
        options: backbone, engine and isolation; precision and resize mode are those of the
            features that are there.
        random_share: share of random ones in [0, 1].
        thumbnails: make small pictures of what is chosen.
        progress: told of long work.

    Raises:
        UsageError: `count` or `random_share` make no sense.
        StoreError: the workspace cannot be used.
        BackboneError: the backbone cannot be had.
    """
    _check(count, random_share)
    progress = progress or SilentProgress()
    marks = [time.perf_counter()]
    with open_cached_tools(workspace, options) as tools:
        store = tools.store
        waiting = store.labels.unlabelled()
        table = _looked_at(tools, waiting, progress)
        so_far = _so_far(store, prepare(tools, options, progress))
        marks.append(time.perf_counter())
        candidates = _candidates(tools, table, so_far.groups)
        found = suggest(candidates, so_far.known(), so_far.head, count, random_share)
        store.suggested.record(found)
        marks.append(time.perf_counter())
        curve = _curve(so_far, _picked(store))
        marks.append(time.perf_counter())
        chosen = [item.image_id for item in found]
        return LabellingPlan(
            suggestions=tuple(found),
            places={image_id: tuple(store.entries_of(image_id)) for image_id in chosen},
            thumbnails=make_thumbnails(tools, chosen, progress) if thumbnails else {},
            labelled=len(store.labels.images()),
            unlabelled=len(waiting),
            looked_at=len(table.image_ids),
            undecodable=len(table.refused),
            prevalence=_prevalence(store),
            curve=curve,
            timing_s=dict(zip(_STAGES, np.diff(marks).tolist(), strict=True)),
        )


def _check(count: int, random_share: float) -> None:
    if count < 1 or not 0.0 <= random_share <= 1.0:
        msg = f"{count} images, {random_share:g} of them random, cannot be chosen."
        raise UsageError(msg, "Ask for at least 1 image, and a random share from 0 to 1.")


@dataclass(frozen=True, slots=True)
class _SoFar:
    """What the labels given so far amount to; no fit as long as they are too few."""

    prepared: Prepared
    groups: Mapping[ImageId, GroupId]
    fit: FitResult | None

    @property
    def head(self) -> Head | None:
        return None if self.fit is None else self.fit.head

    def known(self) -> Known:
        features = self.prepared.features
        rows = features.matrix[features.starts]
        return Known(rows, [group_of(image_id, self.groups) for image_id in features.image_ids])


def _picked(store: Store) -> set[ImageId]:
    """Images that were suggested, and never by chance."""
    return {i for i, reasons in store.suggested.of_images().items() if "random" not in reasons}


def _prevalence(store: Store) -> Prevalence | None:
    """From the labels of images that chance suggested."""
    fair = store.suggested.of_images().keys() - _picked(store)
    return estimate_prevalence(
        [image.label for image in store.labels.images() if image.image_id in fair]
    )


def _looked_at(tools: Tools, waiting: Sequence[ImageId], progress: Progress) -> FeatureTable:
    """Features of unlabelled images; of very many, those of some that chance picks."""
    order = in_random_order(waiting, np.arange(len(waiting)))[:MOST_LOOKED_AT]
    wanted = [waiting[row] for row in order]
    return featurize(tools.store, tools.cache, tools.featurizer, wanted, progress)


def _so_far(store: Store, prepared: Prepared) -> _SoFar:
    return _SoFar(prepared, store.groups.of_images(), _fit(prepared.data))


def csv_rows(plan: LabellingPlan) -> list[dict[str, str]]:
    """The suggestions as rows of a `label_file`."""
    return [
        {
            "rank": str(rank),
            "image_id": item.image_id,
            "path": printable(plan.place_of(item.image_id)),
            "score": "" if item.score is None else f"{item.score:.4f}",
            "reason": item.why,
        }
        for rank, item in enumerate(plan.suggestions, start=1)
    ]


def contact_sheet(plan: LabellingPlan, where: str = "") -> ContactSheet:
    """The suggestions as a page to look through.

    Args:
        plan: with thumbnails.
        where: what commands need at their end to find the workspace.
    """
    sections = [
        SheetSection(
            f"{heading} ({len(items):,})",
            tuple((_sheet_image(plan, item, where),) for item in items),
            note,
        )
        for why, (heading, note) in _HEADINGS.items()
        if (items := [item for item in plan.suggestions if item.why == why])
    ]
    return ContactSheet("Images to label next", _INTRO, tuple(sections))


def _sheet_image(plan: LabellingPlan, item: Suggestion, where: str) -> SheetImage:
    facts = () if item.score is None else (("score", f"{item.score:.4f}"),)
    command = f"keshikaran label {item.image_id[:_SHORT_ID]} --value 0{where}"
    thumbnail = plan.thumbnails.get(item.image_id)
    return SheetImage(thumbnail, plan.place_of(item.image_id), facts, command)


def _candidates(tools: Tools, table: FeatureTable, groups: Mapping[ImageId, GroupId]) -> Candidates:
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
    suspected = tools.store.suspected.pairs()
    together = kept_together(groups, suspected) if scheme.guard else {}
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


def _curve(so_far: _SoFar, picked: set[ImageId]) -> LearningCurve | None:
    """Judged on images that nobody picked, without those of the test side: they judge alone."""
    if so_far.fit is None:
        return None
    data = so_far.prepared.data
    rows = np.flatnonzero([side != "test" for side in data.sides])
    ids = [data.image_ids[row] for row in rows]
    sample = Sample(
        np.asarray(take(data.features, data.starts[rows])),
        data.labels[rows],
        [group_of(image_id, so_far.groups) for image_id in ids],
        np.array([data.sides[row] == "train" for row in rows], dtype=bool),
        np.array([image_id not in picked for image_id in ids], dtype=bool),
    )
    return learning_curve(sample, so_far.fit.c or _USUAL_C, _AHEAD)
