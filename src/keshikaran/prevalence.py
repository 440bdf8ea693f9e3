"""How common objectionable images are, from images that nobody chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from keshikaran.intervals import wilson
from keshikaran.types import Label


@dataclass(frozen=True, slots=True)
class Prevalence:
    """A share and how sure it is.

    Attributes:
        images: number of random images that were labelled.
        objectionable: how many of them are.
        share: the one over the other.
        low: lower end of the share's 95% interval.
        high: upper end.
    """

    images: int
    objectionable: int
    share: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """The fields in order, ready for JSON."""
        return asdict(self)


def estimate_prevalence(labels: Sequence[Label]) -> Prevalence | None:
    """The share of objectionable images among all, from a random sample of them.

    The interval is Wilson's (1927, "Probable Inference, the Law of Succession, and Statistical
    Inference"), which holds also for small samples and shares near 0.

    Args:
        labels: of images that were chosen at random.

    Returns:
        None if there are none.
    """
    if not labels:
        return None
    found = wilson(sum(labels), len(labels))
    return Prevalence(len(labels), sum(labels), sum(labels) / len(labels), found.low, found.high)
