"""Two thresholds on real traffic: what is blocked, reviewed, missed and wrongly blocked a day.

Recall and false-positive rate are measured on labelled images and carried over to the declared
prevalence. All counts are expectations; their intervals say how well the labelled images know the
rates, not how much one day differs from another.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keshikaran.intervals import Estimate, precision_at, weighted_sum, wilson
from keshikaran.policy import Costs
from keshikaran.types import Float64Array, LabelArray, Thresholds

USUAL_UPLOADS = 1_000
"""What counts are of where the policy does not say how many uploads a day there are."""


@dataclass(frozen=True, slots=True)
class CutFigures:
    """One threshold.

    Attributes:
        cut: scores of at least this are above it.
        confusion_matrix: [[acceptable below, above], [objectionable below, above]], images.
        recall: share of objectionable images above it.
        false_positive_rate: share of acceptable images above it.
        precision: share of objectionable images among those above it, at the prevalence.
    """

    cut: float
    confusion_matrix: list[list[int]]
    recall: Estimate
    false_positive_rate: Estimate
    precision: Estimate


@dataclass(frozen=True, slots=True)
class BandShares:
    """Shares of all uploads, in [0, 1].

    Attributes:
        blocked: score of at least `block`.
        reviewed: at least `review`, below `block`.
        missed: objectionable and below `review`.
        wrongly_blocked: acceptable and at least `block`.
    """

    blocked: Estimate
    reviewed: Estimate
    missed: Estimate
    wrongly_blocked: Estimate


@dataclass(frozen=True, slots=True)
class OperatingFigures:
    """What two thresholds do.

    Attributes:
        prevalence: share of objectionable images that precision and counts assume.
        review: at the lower threshold.
        block: at the upper one.
        uploads: how many images the counts below are of: those of a day, or 1,000.
        a_day: whether they are those of a day.
        blocked: images.
        reviewed: images.
        missed: objectionable images that pass.
        wrongly_blocked: acceptable images that are blocked.
    """

    prevalence: float
    review: CutFigures
    block: CutFigures
    uploads: int
    a_day: bool
    blocked: Estimate
    reviewed: Estimate
    missed: Estimate
    wrongly_blocked: Estimate

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


def operating_figures(
    labels: LabelArray,
    scores: Float64Array,
    thresholds: Thresholds,
    prevalence: float,
    uploads_per_day: int | None = None,
) -> OperatingFigures:
    """Everything about two thresholds.

    Args:
        labels: int8 [n], of images that chose nothing.
        scores: in [0, 1], [n].
        thresholds: the cuts.
        prevalence: share of objectionable images among uploads, in (0, 1).
        uploads_per_day: None: counts are of 1,000 uploads.
    """
    uploads = USUAL_UPLOADS if uploads_per_day is None else uploads_per_day
    shares = band_shares(labels, scores, thresholds, prevalence)
    return OperatingFigures(
        prevalence=prevalence,
        review=cut_figures(labels, scores, thresholds.review, prevalence),
        block=cut_figures(labels, scores, thresholds.block, prevalence),
        uploads=uploads,
        a_day=uploads_per_day is not None,
        blocked=per_uploads(shares.blocked, uploads),
        reviewed=per_uploads(shares.reviewed, uploads),
        missed=per_uploads(shares.missed, uploads),
        wrongly_blocked=per_uploads(shares.wrongly_blocked, uploads),
    )


def cut_figures(
    labels: LabelArray, scores: Float64Array, cut: float, prevalence: float
) -> CutFigures:
    """One threshold; arguments as for `operating_figures`."""
    cells = np.bincount(2 * labels + (scores >= cut), minlength=4)
    tn, fp, fn, tp = cells.tolist()
    recall, rate = wilson(tp, fn + tp), wilson(fp, tn + fp)
    precision = precision_at(recall, rate, prevalence)
    return CutFigures(float(cut), [[tn, fp], [fn, tp]], recall, rate, precision)


def band_shares(
    labels: LabelArray, scores: Float64Array, thresholds: Thresholds, prevalence: float
) -> BandShares:
    """What happens to which share of the uploads; arguments as for `operating_figures`."""
    blocked = scores >= thresholds.block
    passed = scores < thresholds.review

    def among(label: int, chosen: np.ndarray) -> Estimate:
        return wilson(int(chosen[labels == label].sum()), int(np.count_nonzero(labels == label)))

    def mixed(chosen: np.ndarray) -> Estimate:
        terms = [(prevalence, among(1, chosen)), (1 - prevalence, among(0, chosen))]
        return weighted_sum(terms)

    return BandShares(
        blocked=mixed(blocked),
        reviewed=mixed(~blocked & ~passed),
        missed=among(1, passed).times(prevalence),
        wrongly_blocked=among(0, blocked).times(1 - prevalence),
    )


def per_uploads(share: Estimate, uploads: int) -> Estimate:
    """A share of uploads as a number of images."""
    return share.times(uploads)


def costs_thresholds(costs: Costs) -> Thresholds:
    """The thresholds of least expected cost for calibrated scores.

    An image of probability p costs p · miss if it passes, (1 - p) · false_alarm if it is blocked,
    and `review` if a person looks at it; each is cheapest where its line is lowest (Elkan 2001,
    "The Foundations of Cost-Sensitive Learning"; with review as a third way out, Chow 1970, "On
    Optimum Recognition Error and Reject Tradeoff"). Where review is dear, nothing is reviewed and
    both thresholds are false_alarm / (false_alarm + miss).
    """
    review = costs.review / costs.miss
    block = 1.0 - costs.review / costs.false_alarm
    if review >= block:
        review = block = costs.false_alarm / (costs.false_alarm + costs.miss)
    return Thresholds(review, block)


def expected_cost(
    labels: LabelArray,
    scores: Float64Array,
    thresholds: Thresholds,
    prevalence: float,
    costs: Costs,
) -> float:
    """Mean cost of an upload, in the unit of the costs."""
    shares = band_shares(labels, scores, thresholds, prevalence)
    return (
        (shares.missed.value or 0.0) * costs.miss
        + (shares.wrongly_blocked.value or 0.0) * costs.false_alarm
        + (shares.reviewed.value or 0.0) * costs.review
    )
