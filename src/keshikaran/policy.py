"""What is objectionable under the operator's policy, in the terms a model needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as far as training and verdicts need it.

    Attributes:
        objectionable: what is objectionable, in words.
        acceptable: what is not, in words.
        review_recall: share of objectionable images that the `review` cut must still find on
            the validation images.
    """

    objectionable: str = "objectionable"
    acceptable: str = "acceptable"
    review_recall: float = 0.95

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)

    @property
    def thresholds_chosen_for(self) -> str:
        """What the two thresholds are chosen for, in words."""
        return (
            "block: the best F1 on the validation images; review: the highest cut that still"
            f" finds {self.review_recall:.0%} of the objectionable ones there"
        )
