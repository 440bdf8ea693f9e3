"""What is told to the store, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keshikaran.pixels import ImageFormat
from keshikaran.types import ImageId, Label, Split


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One stored image.

    Attributes:
        image_id: SHA-256 of the bytes.
        object_id: SHA-1 of the bytes.
        format: by magic number.
        bytes: size of the file.
        width: columns as stored.
        height: rows as stored.
    """

    image_id: ImageId
    object_id: str
    format: ImageFormat
    bytes: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One entry of a source and the image found there; `label` None if it carries none."""

    root: str
    entry: str
    image_id: ImageId
    label: Label | None


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image with a usable label, in the order labels arrived."""

    image_id: ImageId
    object_id: str
    label: Label


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """Something that was said about an image.

    Attributes:
        value: what was said; None takes back what the same claim said before.
        by: a `person`, or an `import`.
        claim: for an import, the entry that carries the label; empty for a person.
        who: the person, or whoever ran the import.
        why: the reason given; may be empty.
        at: when, ISO 8601 in UTC.
    """

    value: Label | None
    by: Literal["import", "person"]
    claim: str
    who: str
    why: str
    at: str


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Two images that are copies of one photograph, and the evidence.

    Attributes:
        first: the smaller image id.
        second: the larger one.
        turn: how the second must be turned to lie on the first; see `alignment.Turn`.
        scale: size of the second in the first's frame; 1 is the same size.
        overlap: share of the smaller picture that both show, in [0, 1].
        agreement: share of the compared blocks that correlate, in [0, 1].
        similarity: the blocks' median correlation, in [-1, 1].
        rules: version of the rules that found it.
    """

    first: ImageId
    second: ImageId
    turn: str
    scale: float
    overlap: float
    agreement: float
    similarity: float
    rules: int


@dataclass(frozen=True, slots=True)
class SuspectedPair:
    """Two images that may be copies of one photograph: alike to a network, undecided by pixels.

    Attributes:
        first: the smaller image id.
        second: the larger one.
        turn: as in `DuplicatePair`, and so the next four; None where there is too little to
            compare.
        scale: of the second in the first's frame.
        overlap: share of the smaller picture that both show.
        agreement: share of the compared blocks that correlate.
        similarity: the blocks' median correlation.
        rules: version of the rules that found it.
        spreads: how far the features' cosine lies outside that of different photographs, in
            spreads of the latter.
    """

    first: ImageId
    second: ImageId
    turn: str | None
    scale: float | None
    overlap: float | None
    agreement: float | None
    similarity: float | None
    rules: int
    spreads: float


@dataclass(frozen=True, slots=True)
class SetAside:
    """A labelled image that takes no part, since it would leak, or contradicts what judges.

    Attributes:
        image_id: the image.
        twin: a copy of it, known or suspected, on a side that it must neither teach nor blur.
        side: that side.
    """

    image_id: ImageId
    twin: ImageId
    side: Split


@dataclass(frozen=True, slots=True)
class Contradiction:
    """The same bytes under two labels, and the entries that say so."""

    image_id: ImageId
    acceptable: tuple[str, ...]
    objectionable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Added:
    """What `Store.add` did.

    Attributes:
        labels: label events appended.
        collisions: images that were not recorded, because an image with other bytes has the
            same SHA-1: image id → id of that one.
    """

    labels: int
    collisions: dict[ImageId, ImageId]
