"""How common objectionable images are, from images that nobody chose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from keshikaran.types import Label

_QUANTILE = 1.959963984540054  # of the normal distribution, for 95%


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
    n = len(labels)
    if not n:
        return None
    share, z2 = sum(labels) / n, _QUANTILE**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _QUANTILE * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the formula gives 0 and 1 but for rounding.
    low = max(0.0, middle - half) if share > 0.0 else 0.0
    high = min(1.0, middle + half) if share < 1.0 else 1.0
    return Prevalence(n, sum(labels), share, low, high)
