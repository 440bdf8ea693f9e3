"""A policy as a value: what is objectionable, how common it is, what is asked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

AS_IN_LABELS = "as in these labels"
"""What `prevalence` says in a policy file when the labels are as mixed as the uploads."""

DEFAULT_MIN_RECALL = 0.95


@dataclass(frozen=True, slots=True)
class Costs:
    """What each kind of mistake costs, in any one unit: only their ratios matter.

    Attributes:
        miss: an objectionable image passes.
        false_alarm: an acceptable image is blocked.
        review: a person looks at an image, and decides rightly.
    """

    miss: float
    false_alarm: float
    review: float


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as far as training and verdicts need it; None stands for "not asked".

    Attributes:
        objectionable: what is objectionable, in words.
        acceptable: what is not, in words.
        min_recall: share of objectionable images that must be blocked or reviewed.
        max_false_positive_rate: share of acceptable images that may be blocked.
        review_budget_per_day: images a day that people can look at.
        costs: of mistakes and reviews; they decide both thresholds by themselves.
        prevalence: share of objectionable images among uploads; None: as in the labels.
        uploads_per_day: images that arrive a day; None: unknown.
        confidence: how sure a promise must be, in (0.5, 1).
    """

    objectionable: str = "objectionable"
    acceptable: str = "acceptable"
    min_recall: float | None = DEFAULT_MIN_RECALL
    max_false_positive_rate: float | None = None
    review_budget_per_day: int | None = None
    costs: Costs | None = None
    prevalence: float | None = None
    uploads_per_day: int | None = None
    confidence: float = 0.95

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


def labels_needed(rate: float, confidence: float) -> int:
    """How many images of a class it takes to promise that at most `rate` of them go wrong.

    Even when none goes wrong, n images leave (1 - rate)^n as the chance that the true rate is
    higher after all (Wilks 1941, "Determination of sample sizes for setting tolerance limits").

    Args:
        rate: promised share of mistakes, in (0, 1).
        confidence: how sure the promise must be, in (0, 1).
    """
    return math.ceil(math.log1p(-confidence) / math.log1p(-rate))
