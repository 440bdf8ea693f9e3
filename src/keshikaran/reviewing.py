"""featurize → group → review: the labels of a workspace that a person should look at again.

Beside `training`, this knows the order of stages of one command, `review-labels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keshikaran.dataset import check_totals
from keshikaran.featurize import FeatureTable, featurize
from keshikaran.inert import printable
from keshikaran.label_doubt import LabelTable
from keshikaran.preparation import group_labelled, open_cached_tools
from keshikaran.report import ContactSheet, SheetImage, SheetSection
from keshikaran.review import Neighbour, Review, ReviewItem, ReviewReason, review_labels
from keshikaran.store import Store, Workspace, group_of
from keshikaran.thumbnails import make_thumbnails
from keshikaran.training_run import TrainingOptions
from keshikaran.types import ImageId, Label, Progress, SilentProgress

SHORT_ID = 16
"""Digits of an image id that name it among any number of images."""

_NAMES = ("acceptable", "objectionable")
_HEADINGS: dict[ReviewReason, tuple[str, str]] = {
    "same_file": (
        "The same file, labelled both ways",
        "Kept out of training until somebody decides.",
    ),
    "same_group": (
        "Copies of one photograph, labelled differently",
        "One of them is wrong, or the policy is not clear. Copies stand first beside each image.",
    ),
    "doubtful": (
        "Doubtful labels",
        "The most doubtful first. Beside each: the labelled images most like it.",
    ),
}
_INTRO = (
    "Look at the first picture of each box and decide whether its label is right."
    " To change it, run the command below it. To decide many at once, fill in the column"
    " correct of the CSV file (0, 1 or keep) and run: keshikaran label --from FILE.csv"
)


@dataclass(frozen=True, slots=True)
class WorkspaceReview:
    """Labels to look at, and what a person needs to see to decide.

    Attributes:
        review: the labels.
        places: of every image listed or named as evidence, where it was met.
        thumbnails: of the same images, if wanted; those that cannot be decoded are missing.
        claims: for images labelled both ways: the places that say 0, and those that say 1.
        undecodable: labelled images that have no features and are not reviewed.
    """

    review: Review
    places: Mapping[ImageId, tuple[str, ...]]
    thumbnails: Mapping[ImageId, bytes]
    claims: Mapping[ImageId, tuple[tuple[str, ...], tuple[str, ...]]]
    undecodable: int

    def to_dict(self) -> dict[str, Any]:
        """The object that `keshikaran review-labels --json` prints."""
        return {
            "images": self.review.images,
            "settled": self.review.settled,
            "suspicious": self.review.suspicious,
            "undecodable": self.undecodable,
            "items": [
                {
                    "rank": rank,
                    "image_id": item.image_id,
                    "paths": list(self.places[item.image_id]),
                    "label": item.label,
                    "score": round(item.score, 6),
                    "doubt": round(item.doubt, 6),
                    "reason": item.reason,
                    "neighbours": [
                        asdict(near) | {"path": self.place_of(near.image_id)}
                        for near in item.neighbours
                    ],
                }
                for rank, item in enumerate(self.review.items, start=1)
            ],
        }

    def place_of(self, image_id: ImageId) -> str:
        """One place where an image was met, or its id."""
        return next(iter(self.places.get(image_id, ())), image_id)


def review_workspace(
    workspace: Workspace,
    options: TrainingOptions,
    *,
    top: int | None = None,
    again: bool = False,
    thumbnails: bool = False,
    progress: Progress | None = None,
) -> WorkspaceReview:
    """Featurize what lacks features, find copies, and rank the labels of a workspace by doubt.

    Changes no label and no split.

    Args:
        workspace: must have labelled images.
        options: backbone, engine and isolation; precision and resize mode are those of the
            features that are there.
        top: how many labels at most; None for all.
        again: list labels too that a person has confirmed or corrected.
        thumbnails: make small pictures of what is listed.
        progress: told of long work.

    Raises:
        NotEnoughImagesError: too few labelled images, or one label only.
        StoreError: the workspace cannot be used.
        BackboneError: the backbone cannot be had.
    """
    progress = progress or SilentProgress()
    with open_cached_tools(workspace, options) as tools:
        store = tools.store
        labels = {image.image_id: image.label for image in store.labels.images()}
        said = list(labels.values())
        check_totals({"0": said.count(0), "1": said.count(1)})
        claims = {
            c.image_id: (c.acceptable, c.objectionable) for c in store.labels.contradictions()
        }
        wanted = [*labels, *claims]
        features = featurize(store, tools.cache, tools.featurizer, wanted, progress)
        group_labelled(tools, features, progress)
        settled = frozenset() if again else frozenset(store.labels.settled())
        table = _table(store, features, labels)
        review = review_labels(features.image_ids, table, settled, top, progress)
        shown = _shown(review.items)
        return WorkspaceReview(
            review=review,
            places={image_id: tuple(store.entries_of(image_id)) for image_id in shown},
            thumbnails=make_thumbnails(tools, shown, progress) if thumbnails else {},
            claims=claims,
            undecodable=len(features.refused),
        )


def csv_rows(found: WorkspaceReview) -> list[dict[str, str]]:
    """The list as rows of a `label_file`."""
    return [
        {
            "rank": str(rank),
            "image_id": item.image_id,
            "path": printable(found.place_of(item.image_id)),
            "label": "" if item.label is None else str(item.label),
            "score": f"{item.score:.4f}",
            "doubt": f"{item.doubt:.4f}",
            "reason": item.reason,
            "neighbours": " | ".join(
                f"{near.label} {_likeness(near)} {printable(found.place_of(near.image_id))}"
                for near in item.neighbours
            ),
        }
        for rank, item in enumerate(found.review.items, start=1)
    ]


def contact_sheet(found: WorkspaceReview, where: str = "") -> ContactSheet:
    """The list as a page to look through.

    Args:
        found: with thumbnails.
        where: what commands need at their end to find the workspace.
    """
    sections = [
        SheetSection(
            f"{heading} ({len(items):,})",
            tuple(_sheet_row(found, rank, item, where) for rank, item in items),
            note,
        )
        for reason, (heading, note) in _HEADINGS.items()
        if (items := _of_reason(found.review.items, reason))
    ]
    return ContactSheet("Labels to check", _INTRO, tuple(sections))


def _table(store: Store, features: FeatureTable, labels: Mapping[ImageId, Label]) -> LabelTable:
    groups = store.groups.of_images()
    return LabelTable(
        features=features.matrix[features.starts],
        labels=np.array([labels.get(i, 0) for i in features.image_ids], dtype=np.int8),
        labelled=np.array([i in labels for i in features.image_ids], dtype=bool),
        groups=[group_of(image_id, groups) for image_id in features.image_ids],
    )


def _shown(items: Sequence[ReviewItem]) -> list[ImageId]:
    """Images that are listed or named as evidence, each once."""
    ids = [i for item in items for i in (item.image_id, *(n.image_id for n in item.neighbours))]
    return list(dict.fromkeys(ids))


def _of_reason(items: Sequence[ReviewItem], reason: ReviewReason) -> list[tuple[int, ReviewItem]]:
    return [(rank, item) for rank, item in enumerate(items, start=1) if item.reason == reason]


def _sheet_row(
    found: WorkspaceReview, rank: int, item: ReviewItem, where: str
) -> tuple[SheetImage, ...]:
    facts = [("rank", str(rank)), ("score", f"{item.score:.4f}")]
    if item.label is not None:
        facts[1:1] = [("label", _NAMES[item.label]), ("doubt", f"{item.doubt:.4f}")]
    for name, places in zip(_NAMES, found.claims.get(item.image_id, ((), ())), strict=True):
        facts.extend((name, place) for place in places)
    command = f"keshikaran label {item.image_id[:SHORT_ID]} --value {item.suggested}{where}"
    first = SheetImage(
        found.thumbnails.get(item.image_id),
        found.place_of(item.image_id),
        tuple(facts),
        command,
    )
    return first, *(_evidence(found, near) for near in item.neighbours)


def _evidence(found: WorkspaceReview, near: Neighbour) -> SheetImage:
    facts = (("label", _NAMES[near.label]), ("alike", _likeness(near)))
    thumbnail = found.thumbnails.get(near.image_id)
    return SheetImage(thumbnail, found.place_of(near.image_id), facts)


def _likeness(near: Neighbour) -> str:
    return "copy" if near.cosine is None else f"{near.cosine:.2f}"
