"""What a report shows. The composer fills it in; pages, JSON and TensorBoard only draw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keshikaran.comparison import Comparison
from keshikaran.evaluation import EvaluationReport
from keshikaran.head import FitStep
from keshikaran.learning_curve import LearningCurve
from keshikaran.manifest import Manifest
from keshikaran.store import Contradiction
from keshikaran.types import ImageId, Refusal, Split, UInt8Array


@dataclass(frozen=True, slots=True)
class Picture:
    """What people see of one test image.

    Attributes:
        place: where it was met, or its id.
        thumbnail: a JPEG file; None where there is no room or it cannot be decoded.
        size: width and height of the thumbnail in pixels.
        tile: the same still smaller, square, uint8 [S, S, 3].
    """

    place: str
    thumbnail: bytes | None = None
    size: tuple[int, int] = (0, 0)
    tile: UInt8Array | None = None


@dataclass(frozen=True, slots=True)
class AuditCounts:
    """What is wrong with the labelled images, as `keshikaran audit --json` counts it.

    Attributes:
        leaks: images that tell one side what another looks like.
        duplicate_groups: groups of near-duplicates.
        suspected: pairs that may be copies.
        contradictions: files that are labelled both ways.
        contradictory_groups: groups of copies with both labels.
        set_aside: images kept out of training, since they are copies of what judges.
        tiny_slices: slices of the test set that are too small to say much.
        labels_to_check: labels that other images speak against; None where too few to say.
    """

    leaks: int
    duplicate_groups: int
    suspected: int
    contradictions: int
    contradictory_groups: int
    set_aside: int
    tiny_slices: int
    labels_to_check: int | None


@dataclass(frozen=True, slots=True)
class ReportContent:
    """Everything a report shows about one model.

    Attributes:
        manifest: what the model says about itself.
        settings: name → value, in words, in order.
        images: what was imported, refused, contradictory.
        split: images used on each side by label.
        evaluation: all figures.
        steps: how the head came about; empty where that is not known.
        refusals: files that could not be used.
        contradictions: images labelled both ways.
        audit: what is wrong with the labelled images; None where nobody looked.
        learning_curve: what more labels would bring; None where nobody looked, or with too few.
        pictures: of the test images.
        comparisons: other models on the same test images; empty where none was asked for.
        foreign: whether the model was trained under another split than the workspace has now, so
            that it may have learned from these test images.
        where: what commands need at their end to find the workspace.
    """

    manifest: Manifest
    settings: Mapping[str, str]
    images: Mapping[str, int]
    split: Mapping[Split, Mapping[str, int]]
    evaluation: EvaluationReport
    steps: Sequence[FitStep]
    refusals: Sequence[Refusal]
    contradictions: Sequence[Contradiction]
    audit: AuditCounts | None = None
    learning_curve: LearningCurve | None = None
    pictures: Mapping[ImageId, Picture] = field(default_factory=dict)
    comparisons: Sequence[Comparison] = ()
    foreign: bool = False
    where: str = ""

    @property
    def model_id(self) -> str:
        """Of the model."""
        return self.manifest.model_id
