"""One image, and all that a workspace and its models know of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from keshikaran.pixels import ImageFormat
from keshikaran.pixels.isolated import Isolation
from keshikaran.store import LabelEvent, SetAside
from keshikaran.types import GroupId, ImageId, KnownImage, Label, Split, Verdict


@dataclass(frozen=True, slots=True)
class DossierOptions:
    """How much is wanted.

    Attributes:
        models: how many of the workspace's models are asked, newest first.
        neighbours: how many of the nearest labelled images are named.
        isolation: whether images are decoded in child processes or in this one.
    """

    models: int = 5
    neighbours: int = 5
    isolation: Isolation = "process"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the file itself says.

    Attributes:
        object_id: SHA-1 of the bytes.
        bytes: size of the file; None if it cannot be read.
        format: by magic number; None if it is no image that we take.
        width: columns as stored.
        height: rows as stored.
        frames: pictures or pages.
        problem: why it cannot be read or used; None if it can.
    """

    object_id: str | None = None
    bytes: int | None = None
    format: ImageFormat | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Twin:
    """Another image of the same group, or one that may be a copy; with the evidence there is.

    Images of one group need not have been compared themselves, and the pixels of a suspected copy
    may be too plain to compare.

    Attributes:
        image_id: its id.
        label: what it is labelled; None if it is not.
        split: its side; None if it has none.
        turn: how one must be turned to lie on the other.
        agreement: share of the compared blocks that correlate.
        similarity: the blocks' median correlation.
    """

    image_id: ImageId
    label: Label | None
    split: Split | None
    turn: str | None = None
    agreement: float | None = None
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class ModelScore:
    """What one model says; `score` None and `verdict` undecided with the reason why."""

    model_id: str
    score: float | None
    verdict: Verdict
    reason: str | None


@dataclass(frozen=True, slots=True)
class NearImage:
    """A labelled image that looks alike to the network.

    Attributes:
        image_id: its id.
        label: what it is labelled.
        cosine: of the centred features, in [-1, 1].
        path: where it came from; None if no source is left.
    """

    image_id: ImageId
    label: Label
    cosine: float
    path: str | None


@dataclass(frozen=True, slots=True)
class Dossier:
    """All we know of one image.

    Attributes:
        image_id: SHA-256 of its bytes.
        stored: whether it is in the workspace; what stands in the catalogue is empty if not.
        file: facts of the file.
        sources: every place where it was met.
        label: what it is labelled now; None if it is not, or if imports contradict each other.
        contradictory: whether they do and no person has decided.
        history: everything that was said about it, the oldest first.
        group: name of its group of copies; None if no copy is known.
        twins: the other images of that group.
        suspects: images that may be copies of it, though pixels could not tell.
        split: its side; None if it has none.
        set_aside: why it has none, if it would leak.
        copy_of: for a file that is not stored: the labelled image that it is a copy of.
        scores: of the newest models, newest first.
        neighbours: the nearest labelled images, the most similar first.
    """

    image_id: ImageId
    stored: bool
    file: FileFacts
    sources: tuple[str, ...]
    label: Label | None
    contradictory: bool
    history: tuple[LabelEvent, ...]
    group: GroupId | None
    twins: tuple[Twin, ...]
    suspects: tuple[Twin, ...]
    split: Split | None
    set_aside: SetAside | None
    copy_of: KnownImage | None
    scores: tuple[ModelScore, ...]
    neighbours: tuple[NearImage, ...]

    def to_dict(self) -> dict[str, Any]:
        """The object that `keshikaran show --json` prints."""
        return asdict(self)
