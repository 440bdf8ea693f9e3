"""What came of holding a rival against a model, and what the two are compared on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from keshikaran.curves import RecallAtRate
from keshikaran.intervals import Estimate
from keshikaran.operating_figures import OperatingFigures
from keshikaran.policy import Policy
from keshikaran.promises import Outcome
from keshikaran.types import Float64Array, GroupId, LabelArray, Thresholds

Scale = Literal["probability", "number"]
"""Whether scores are meant as probabilities, so that their logits are what Platt scaling gets."""

Better = Literal["yours", "rival", "unclear"]
"""Whose area under the ROC curve is larger, as far as the interval of the difference says."""

LOW_RATE = 0.01
"""The false-positive rate at which recalls are compared."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """What is to be compared.

    Attributes:
        name: what it is called.
        version: of it.
        licence: of it.
        meaning: what its score is, in words.
        scale: whether scores are meant as probabilities.
        validation: its scores, float64 [v]; NaN where it has none.
        test: the same, float64 [t].
        notes: what a person should know about the scores.
    """

    name: str
    version: str
    licence: str
    meaning: str
    scale: Scale
    validation: Float64Array
    test: Float64Array
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ground:
    """What both are judged on, and for.

    Attributes:
        validation_labels: int8 [v].
        validation_groups: of near-duplicates, [v].
        test_labels: int8 [t].
        test_groups: [t].
        policy: what is asked.
        prevalence: share of objectionable images among uploads, in (0, 1).
    """

    validation_labels: LabelArray
    validation_groups: Sequence[GroupId]
    test_labels: LabelArray
    test_groups: Sequence[GroupId]
    policy: Policy
    prevalence: float


@dataclass(frozen=True, slots=True)
class SideFigures:
    """What one of the two is worth on the test images.

    Attributes:
        roc_auc: area under the ROC curve.
        recall_at: recall at 1% false positives.
        operating: what its thresholds do: recall and false-positive rate at both, counts a day.
    """

    roc_auc: Estimate
    recall_at: RecallAtRate
    operating: OperatingFigures

    @property
    def found(self) -> Estimate:
        """Share of the objectionable images at or above `review`."""
        return self.operating.review.recall

    @property
    def stopped(self) -> Estimate:
        """Share of the acceptable images at or above `review`: what people look at in vain."""
        return self.operating.review.false_positive_rate

    @property
    def wrongly_blocked(self) -> Estimate:
        """Share of the acceptable images at or above `block`."""
        return self.operating.block.false_positive_rate


@dataclass(frozen=True, slots=True)
class Differences:
    """The model's figure minus the rival's, with the 95% interval of the paired difference.

    Attributes:
        roc_auc: area under the ROC curve.
        recall_at: recall at 1% false positives.
        found: share of the objectionable images at or above `review`.
        stopped: share of the acceptable images at or above `review`.
        wrongly_blocked: share of the acceptable images at or above `block`.
    """

    roc_auc: Estimate
    recall_at: Estimate
    found: Estimate
    stopped: Estimate
    wrongly_blocked: Estimate


@dataclass(frozen=True, slots=True)
class Comparison:
    """A rival against the model.

    Attributes:
        name: of the rival.
        version: of the rival.
        licence: of the rival.
        meaning: what its score is, in words.
        thresholds: its cuts on its calibrated score.
        your_thresholds: the model's, chosen in the same way.
        review_from: its `review` in its own numbers; None where no image is above it.
        block_from: the same for `block`.
        chosen_for: what its thresholds are chosen for, in words.
        promises: what became of each demand of the policy, on the validation images.
        tuned_on: validation images that it could score.
        unscored_validation: validation images that it could not score.
        unscored_test: test images that it could not score.
        yours: the model's figures.
        rival: the rival's.
        difference: the model's minus the rival's.
        better: whose area under the ROC curve is larger.
        words: all that in sentences.
        notes: what a person should know about the rival's scores.
    """

    name: str
    version: str
    licence: str
    meaning: str
    thresholds: Thresholds
    your_thresholds: Thresholds
    review_from: float | None
    block_from: float | None
    chosen_for: str
    promises: tuple[Outcome, ...]
    tuned_on: int
    unscored_validation: int
    unscored_test: int
    yours: SideFigures
    rival: SideFigures
    difference: Differences
    better: Better
    words: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)
