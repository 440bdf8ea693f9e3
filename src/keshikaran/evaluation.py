"""What was found about a model on images that it did not learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from keshikaran.calibration_figures import CalibrationFigures
from keshikaran.curves import Curve, RecallAtRate
from keshikaran.intervals import Estimate
from keshikaran.metrics import Metrics, ScoredSet
from keshikaran.operating_figures import OperatingFigures
from keshikaran.promises import Outcome
from keshikaran.types import Thresholds

SliceKind = Literal["format", "size", "aspect", "greyscale", "animated", "source", "label age"]


@dataclass(frozen=True, slots=True)
class SliceFigures:
    """Test images that have something in common.

    Attributes:
        kind: what is looked at.
        name: of the slice, in words: a format, a range of sizes, a source.
        images: how many test images are in it.
        positives: how many of them are objectionable.
        recall: share of the objectionable ones at or above `review`.
        false_positive_rate: share of the acceptable ones at or above `block`.
        roc_auc: within the slice; None when a class is missing.
        warning: how it is worse than the other test images, in words; None where nothing shows
            that it is.
        too_few: whether it has too few images of either label to say.
    """

    kind: SliceKind
    name: str
    images: int
    positives: int
    recall: Estimate
    false_positive_rate: Estimate
    roc_auc: Estimate | None
    warning: str | None = None
    too_few: bool = False


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What was found on validation and test images.

    Log-loss, Brier score and calibration error are of probabilities under the images' own mix of
    labels; everything else is of scores as the model gives them.

    Attributes:
        thresholds: the cuts the figures are at; `Metrics` count `block` as a yes.
        prevalence: share of objectionable images among uploads that scores and precision assume.
        label_prevalence: share of objectionable images among those that taught.
        validation: figures on the images that chose the settings; None where there are none.
        test: figures on images that chose nothing.
        intervals: name of a field of `Metrics` → that figure on test, with its 95% interval; and
            `ece_debiased`, the calibration error without the chance that `ece` counts.
        curve: ROC and precision-recall on test, with intervals, precision at `prevalence`.
        recall_at: recall on test at low false-positive rates.
        operating: what both thresholds do on test, and on uploads a day.
        calibration: of the scores on test.
        uncalibrated: the same before calibration; None where nothing is known of that.
        promises: what became of each demand of the policy.
        slices: test images that have something in common.
        test_set: the test images with their scores.
    """

    thresholds: Thresholds
    prevalence: float
    label_prevalence: float
    validation: Metrics | None
    test: Metrics
    intervals: Mapping[str, Estimate]
    curve: Curve
    recall_at: tuple[RecallAtRate, ...]
    operating: OperatingFigures
    calibration: CalibrationFigures
    uncalibrated: CalibrationFigures | None
    promises: tuple[Outcome, ...]
    test_set: ScoredSet
    slices: tuple[SliceFigures, ...] = field(default=())

    def calibration_words(self) -> str:
        """The plain calibration error of the test images, and how much of it is chance."""
        plain, few = self.test.ece, self.calibration
        true = self.intervals.get("ece_debiased")
        chance = plain if true is None or true.value is None else plain - true.value
        return (
            f"{plain:.4f}, of which about {chance:.4f} is chance at {few.images:,} images"
            f" (exact probabilities show {few.ece_by_chance:.4f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single images, ready for JSON."""
        return {
            "thresholds": asdict(self.thresholds),
            "prevalence": self.prevalence,
            "label_prevalence": self.label_prevalence,
            "validation": None if self.validation is None else self.validation.to_dict(),
            "test": self.test.to_dict(),
            "intervals": {name: value.to_dict() for name, value in self.intervals.items()},
            "curve": self.curve.to_dict(),
            "recall_at": [item.to_dict() for item in self.recall_at],
            "operating": self.operating.to_dict(),
            "calibration": asdict(self.calibration),
            "uncalibrated": None if self.uncalibrated is None else asdict(self.uncalibrated),
            "promises": [asdict(item) for item in self.promises],
            "slices": [asdict(item) for item in self.slices],
        }
