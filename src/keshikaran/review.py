"""Which labels a person should look at again: contradictions first, then the most doubtful."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Literal, cast

import numpy as np

from keshikaran.errors import NotEnoughImagesError
from keshikaran.label_doubt import Doubts, LabelTable, doubt_labels, suspicious_labels
from keshikaran.types import BoolArray, GroupId, ImageId, Label, Progress

ReviewReason = Literal["same_file", "same_group", "doubtful"]
"""Why a label is listed: the same bytes have both labels; copies of one photograph have
different ones; or other images speak against it."""

_EVIDENCE = 3
_RANK: dict[ReviewReason, int] = {"same_file": 0, "same_group": 1, "doubtful": 2}


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A labelled image that looks like another, and its cosine with it if that was computed."""

    image_id: ImageId
    label: Label
    cosine: float | None


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One label to look at.

    Attributes:
        image_id: the image.
        label: what it is labelled; None where imports contradict each other.
        reason: why it is listed.
        score: probability that it is objectionable, by a head that never saw it.
        doubt: probability that its label is wrong, by head and neighbours together, in [0, 1].
            For an image without a label: that it is objectionable.
        neighbours: evidence: its copies that are labelled otherwise, then the labelled images
            most like it.
    """

    image_id: ImageId
    label: Label | None
    reason: ReviewReason
    score: float
    doubt: float
    neighbours: tuple[Neighbour, ...]

    @property
    def suggested(self) -> Label:
        """The label that speaks for itself: the other one, or the likelier if there is none."""
        if self.label is None:
            return 1 if self.doubt >= 0.5 else 0
        return 0 if self.label else 1


@dataclass(frozen=True, slots=True)
class Review:
    """Labels to look at.

    Attributes:
        items: contradictions first, then the most doubtful.
        images: images that were reviewed.
        settled: of these, left out since a person has confirmed or corrected them.
        suspicious: of the rest, labels that look wrong by the confident joint; an estimate.
    """

    items: tuple[ReviewItem, ...]
    images: int
    settled: int
    suspicious: int


def review_labels(
    image_ids: Sequence[ImageId],
    table: LabelTable,
    settled: Set[ImageId] = frozenset(),
    top: int | None = None,
    progress: Progress | None = None,
) -> Review:
    """Rank labels by how much speaks against them.

    Args:
        image_ids: of the table's rows, ascending.
        table: all labelled images, and those labelled both ways.
        settled: images that a person has decided; they testify, but are not listed.
        top: how many are wanted at most; None lists all.
        progress: told of long work.

    Raises:
        NotEnoughImagesError: too few images of one label to judge the others by.
    """
    divided = _divided_groups(table)
    always = [*np.flatnonzero(~table.labelled), *chain.from_iterable(divided.values())]
    try:
        doubts = doubt_labels(table, top, always, progress)
    except ValueError as error:
        msg = f"Labels cannot be reviewed: {error}."
        advice = "Label more images of both kinds first; ten of each make a start."
        raise NotEnoughImagesError(msg, advice) from error
    open_rows = np.array([image_id not in settled for image_id in image_ids], dtype=bool)
    known = np.flatnonzero(table.labelled)
    suspicious = suspicious_labels(table.labels[known], doubts.scores[known])
    return Review(
        items=tuple(_Listing(image_ids, table, doubts, divided).items(open_rows)[:top]),
        images=len(image_ids),
        settled=int((~open_rows).sum()),
        suspicious=int((suspicious & open_rows[known]).sum()),
    )


class _Listing:
    """Puts what was found into words and order."""

    def __init__(
        self,
        image_ids: Sequence[ImageId],
        table: LabelTable,
        doubts: Doubts,
        divided: Mapping[GroupId, list[int]],
    ) -> None:
        self._ids, self._table, self._doubts, self._divided = image_ids, table, doubts, divided
        self._place = {int(row): place for place, row in enumerate(doubts.rows)}

    def items(self, open_rows: BoolArray) -> list[ReviewItem]:
        rows = [row for row in self._place if open_rows[row]]
        worst: dict[GroupId, float] = {}
        for row in rows:
            group = self._table.groups[row]
            worst[group] = max(worst.get(group, 0.0), self._doubt(row))

        def order(row: int) -> tuple[int, float, str, float, ImageId]:
            rank, group = _RANK[self._reason(row)], self._table.groups[row]
            first = worst[group] if rank == _RANK["same_group"] else self._doubt(row)
            return rank, -first, group, -self._doubt(row), self._ids[row]

        return [self._item(row) for row in sorted(rows, key=order)]

    def _doubt(self, row: int) -> float:
        return float(self._doubts.doubt[self._place[row]])

    def _reason(self, row: int) -> ReviewReason:
        if not self._table.labelled[row]:
            return "same_file"
        return "same_group" if self._table.groups[row] in self._divided else "doubtful"

    def _item(self, row: int) -> ReviewItem:
        label = self._label(row) if self._table.labelled[row] else None
        copies = [
            Neighbour(self._ids[other], self._label(other), None)
            for other in self._divided.get(self._table.groups[row], ())
            if label is not None and self._label(other) != label
        ]
        like = [
            Neighbour(self._ids[other], self._label(other), cosine)
            for other, cosine in self._doubts.neighbours[self._place[row]]
        ]
        return ReviewItem(
            image_id=self._ids[row],
            label=label,
            reason=self._reason(row),
            score=float(self._doubts.scores[row]),
            doubt=self._doubt(row),
            neighbours=tuple([*copies[:_EVIDENCE], *like][:_EVIDENCE]),
        )

    def _label(self, row: int) -> Label:
        return cast("Label", int(self._table.labels[row]))


def _divided_groups(table: LabelTable) -> Mapping[GroupId, list[int]]:
    """Groups whose labelled members do not agree, and these members."""
    members: dict[GroupId, list[int]] = {}
    for row in map(int, np.flatnonzero(table.labelled)):
        members.setdefault(table.groups[row], []).append(row)
    return {
        group: rows
        for group, rows in members.items()
        if len({int(table.labels[row]) for row in rows}) > 1
    }
