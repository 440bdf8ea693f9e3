"""The words of this package as types: ids, labels, splits, verdicts, predictions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Literal, NewType, Protocol

import numpy as np
import numpy.typing as npt

from keshikaran.errors import RefusalReason

ImageId = NewType("ImageId", str)
"""SHA-256 of an image file's bytes: 64 lower-case hex digits."""

GroupId = NewType("GroupId", str)
"""Names a group of near-duplicates. Given once; it stays as the group grows."""

Label = Literal[0, 1]
"""What a person said: 0 acceptable, 1 objectionable."""

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Precision = Literal["f32", "bf16", "f16"]
"""Arithmetic of the backbone. f32 is the reference; bf16 is faster where the CPU has it, f16 on
cards."""

ImportReason = (
    RefusalReason
    | Literal[
        "hash_mismatch",
        "missing_file",
        "sha1_collision",
        "encrypted",
        "damaged_archive",
        "archive_limit",
        "fetch_failed",
        "address_refused",
        "robots_disallowed",
    ]
)
"""Why an entry of a source was skipped. A closed list: it is written to files."""

Verdict = Literal["undecided", "pass", "review", "block"]
"""What to do with an image. The zero value is `undecided`: an error never becomes `pass`."""

PredictionSource = Literal["exact", "near_duplicate", "model"]
"""Who answered: a label of the same bytes, a label of a copy together with the model, the model."""

Why = Literal["uncertain", "spread", "random"]
"""Why an image is suggested for labelling."""

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
LabelArray = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Two cuts on the score, 0 <= review <= block.

    A score of at least `block` is blocked, of at least `review` goes to a person.
    """

    review: float
    block: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.review <= self.block:
            msg = f"thresholds need 0 <= review <= block, got {self.review} and {self.block}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class KnownImage:
    """A labelled image that an answer rests on.

    Attributes:
        image_id: its id.
        label: what a person said about it.
        similarity: how well the blocks of both pictures correlate, median, in [-1, 1]; None for
            the same bytes.
        agreement: share of the blocks that correlate, in [0, 1]; None for the same bytes.
        turn: how the known picture must be turned to lie on the other; None for the same bytes.
    """

    image_id: ImageId
    label: Label
    similarity: float | None = None
    agreement: float | None = None
    turn: str | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says about one image.

    Attributes:
        path: where the image came from; "-" for bytes without a name.
        image_id: SHA-256 of the bytes; None if they could not be read at all.
        score: probability in [0, 1] that the image is objectionable; None if undecided.
        verdict: `pass`, `review`, `block`, or `undecided` when there is no score.
        reason: why there is no score, as "code: words"; None when there is one.
        model_id: the model that answered.
        frames_total: frames or pages in the file; None if undecided.
        frames_scored: how many of them the score is the highest of; None if undecided. An image
            known by its bytes is not decoded, so that both are None for it.
        source: who answered; None if undecided.
        evidence: the labelled image that the answer rests on; None where it is the model's.
    """

    path: str
    image_id: ImageId | None
    score: float | None
    verdict: Verdict
    reason: str | None
    model_id: str
    frames_total: int | None = None
    frames_scored: int | None = None
    source: PredictionSource | None = None
    evidence: KnownImage | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An image that a person should label.

    Attributes:
        image_id: the image.
        why: what makes it worth the effort.
        score: what a head fitted on the labels so far says, in [0, 1]; None if there is none.
    """

    image_id: ImageId
    why: Why
    score: float | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """One file that could not be used, and why.

    Attributes:
        path: the file, as it was named by its source.
        stage: `import` (refused at the door) or `decode` (stored, but not decodable).
        reason: the code.
        detail: what exactly was found.
    """

    path: str
    stage: Literal["import", "decode"]
    reason: ImportReason
    detail: str


class ProgressTask(Protocol):
    """A running count that somebody may be watching."""

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more as done."""


class Progress(Protocol):
    """Where long work reports to. The command line draws bars; a library user hears nothing."""

    def task(self, title: str, total: int | None) -> AbstractContextManager[ProgressTask]:
        """Open a task of `total` steps (None: unknown)."""


class _SilentTask:
    def advance(self, steps: int = 1) -> None:
        """Do nothing."""

    def __enter__(self) -> _SilentTask:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class SilentProgress:
    """A `Progress` that nobody watches."""

    def task(self, title: str, total: int | None) -> AbstractContextManager[ProgressTask]:
        """Return a task that ignores its steps."""
        return _SilentTask()


def verdict_of(score: float | None, thresholds: Thresholds) -> Verdict:
    """Decide what to do with an image. The only place that does.

    Args:
        score: probability in [0, 1], or None when the image could not be scored.
        thresholds: the model's two cuts.

    Returns:
        `undecided` for None, NaN or a value outside [0, 1]; else by the thresholds.
    """
    if score is None or not 0.0 <= score <= 1.0:
        return "undecided"
    if score >= thresholds.block:
        return "block"
    if score >= thresholds.review:
        return "review"
    return "pass"


def chunks_of(n: int, size: int) -> Iterator[slice]:
    """Yield slices that cut `range(n)` into pieces of at most `size`."""
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))
