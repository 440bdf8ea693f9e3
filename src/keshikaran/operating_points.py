"""Policy + calibrated scores → the two thresholds, and what each demand is worth.

A false-positive rate or recall is promised only as far as the labels carry it: the cut lies where
the exact bound of Clopper and Pearson, not the observed share, keeps to what was asked. Since cuts
lie at order statistics of one class, the bound holds although the cut was chosen on the same images
(Wilks 1941; Tong, Feng and Li 2018, "Neyman-Pearson classification algorithms and NP receiver
operating characteristics"). Where the labels are too few, the observed share decides, no promise is
made, and it is said how many are missing.

Demands never contradict each other as long as people look at what lies between the two cuts. A
review budget limits that: then the false-positive rate is kept first, the budget second, and recall
gives way, which is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keshikaran.curves import cut_counts
from keshikaran.intervals import Estimate, lower_bound, upper_bound
from keshikaran.operating_figures import band_shares, costs_thresholds
from keshikaran.policy import Policy, labels_needed
from keshikaran.promises import (
    Outcome,
    judge_budget,
    judge_false_positive_rate,
    judge_recall,
    percent,
)
from keshikaran.types import Float64Array, GroupId, IntArray, LabelArray, Thresholds

_ALMOST = 1e-9


@dataclass(frozen=True, slots=True)
class OperatingPoints:
    """Two thresholds and how they came about.

    Attributes:
        thresholds: the cuts.
        outcomes: one for each demand of the policy.
        chosen_for: what the thresholds are chosen for, in words.
    """

    thresholds: Thresholds
    outcomes: tuple[Outcome, ...]
    chosen_for: str

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Scored images, and every cut that makes a difference."""

    labels: LabelArray
    scores: Float64Array
    cuts: Float64Array
    found: IntArray
    false: IntArray
    prevalence: float

    @property
    def objectionable(self) -> int:
        return int(self.found[-1])

    @property
    def acceptable(self) -> int:
        return int(self.false[-1])

    def above(self, label: int, cut: float) -> int:
        return int(np.count_nonzero((self.labels == label) & (self.scores >= cut)))


def choose_operating_points(
    labels: LabelArray,
    scores: Float64Array,
    policy: Policy,
    prevalence: float,
    groups: Sequence[GroupId] | None = None,
) -> OperatingPoints:
    """Thresholds that do what the policy asks, as far as can be promised.

    Args:
        labels: int8 [n], both classes present, of images the model was not fitted on.
        scores: calibrated probabilities under `prevalence`, [n].
        policy: what is asked.
        prevalence: share of objectionable images among uploads, in (0, 1): the policy's, or the
            labels' if it has none.
        groups: of near-duplicates, [n]. They are no independent witnesses: the first image of each
            group and label counts. None: each image stands for itself.
    """
    if policy.costs is not None:
        words = f"the least expected cost of {_cost_words(policy)}"
        return OperatingPoints(costs_thresholds(policy.costs), (), words)
    if groups is not None:
        kept = _first_of_each(groups, labels)
        labels, scores = labels[kept], scores[kept]
    sample = _Sample(labels, scores, *cut_counts(labels, scores), prevalence)
    block = _block(sample, policy)
    review = min(_review(sample, policy, block), block)
    thresholds = Thresholds(review, block)
    return OperatingPoints(thresholds, _outcomes(sample, policy, thresholds), _words(policy))


def _first_of_each(groups: Sequence[GroupId], labels: LabelArray) -> list[int]:
    """Numbers of the images that stand for their group and label, ascending."""
    first: dict[tuple[GroupId, int], int] = {}
    for number, (group, label) in enumerate(zip(groups, labels, strict=True)):
        first.setdefault((group, int(label)), number)
    return sorted(first.values())


def _block(sample: _Sample, policy: Policy) -> float:
    """The lowest cut that keeps to the false-positive rate, or else the best F1."""
    rate = policy.max_false_positive_rate
    if rate is None:
        return _best_f1(sample)
    n, counts = sample.acceptable, np.unique(sample.false)
    bounds = np.array([upper_bound(int(k), n, policy.confidence) for k in counts])
    allowed = counts[bounds <= rate]
    if len(allowed):
        most = int(allowed[-1])
    elif n < labels_needed(rate, policy.confidence):
        most = max(int(rate * n + _ALMOST), int(counts[0]))
    else:
        most = int(counts[0])
    return float(sample.cuts[np.flatnonzero(sample.false <= most)[-1]])


def _best_f1(sample: _Sample) -> float:
    """The cut with the best F1 under the declared prevalence."""
    recall = sample.found / sample.objectionable
    rate = sample.false / sample.acceptable
    pi = sample.prevalence
    f1 = 2 * pi * recall / (pi + pi * recall + (1 - pi) * rate)
    return float(sample.cuts[int(np.argmax(f1))])


def _review(sample: _Sample, policy: Policy, block: float) -> float:
    """The highest cut with the recall asked for; no lower than the budget allows."""
    cut = block
    if policy.min_recall is not None:
        cut = min(block, _recall_cut(sample, policy.min_recall, policy.confidence))
    if policy.review_budget_per_day is None or policy.uploads_per_day is None:
        return cut
    share = policy.review_budget_per_day / policy.uploads_per_day
    lowest = _budget_cut(sample, share, block)
    return lowest if policy.min_recall is None else max(cut, lowest)


def _recall_cut(sample: _Sample, recall: float, confidence: float) -> float:
    m = sample.objectionable
    counts = np.unique(sample.found)
    bounds = np.array([lower_bound(int(k), m, confidence) for k in counts])
    allowed = counts[bounds >= recall]
    least = int(allowed[0]) if len(allowed) else int(np.ceil(recall * m - _ALMOST))
    return float(sample.cuts[int(np.argmax(sample.found >= least))])


def _budget_cut(sample: _Sample, share: float, block: float) -> float:
    """The lowest cut below which no more than `share` of the uploads go to review."""
    at_block = int(np.argmax(sample.cuts <= block))
    found = (sample.found - sample.found[at_block]) / sample.objectionable
    false = (sample.false - sample.false[at_block]) / sample.acceptable
    reviewed = sample.prevalence * found + (1 - sample.prevalence) * false
    return float(sample.cuts[np.flatnonzero(reviewed <= share + _ALMOST)[-1]])


def _outcomes(sample: _Sample, policy: Policy, thresholds: Thresholds) -> tuple[Outcome, ...]:
    """Every demand held against the thresholds as they are in the end."""
    outcomes: list[Outcome] = []
    confidence = policy.confidence
    reviewed = _reviewed(sample, policy, thresholds)
    if policy.max_false_positive_rate is not None:
        counts = (sample.above(0, thresholds.block), sample.acceptable)
        rate = policy.max_false_positive_rate
        outcomes.append(judge_false_positive_rate(*counts, rate, confidence))
    if policy.min_recall is not None:
        counts = (sample.above(1, thresholds.review), sample.objectionable)
        cut = min(_recall_cut(sample, policy.min_recall, confidence), thresholds.block)
        wanted = _reviewed(sample, policy, Thresholds(cut, thresholds.block)).value or 0.0
        outcomes.append(judge_recall(*counts, policy.min_recall, confidence, wanted))
    if policy.review_budget_per_day is not None:
        outcomes.append(judge_budget(reviewed, policy.review_budget_per_day))
    return tuple(outcomes)


def _reviewed(sample: _Sample, policy: Policy, thresholds: Thresholds) -> Estimate:
    """Reviews a day."""
    shares = band_shares(sample.labels, sample.scores, thresholds, sample.prevalence)
    return shares.reviewed.times(policy.uploads_per_day or 0)


def _words(policy: Policy) -> str:
    if policy.max_false_positive_rate is None:
        block = "the best F1"
    else:
        block = f"at most {percent(policy.max_false_positive_rate)} of acceptable images"
    parts = []
    if policy.min_recall is not None:
        parts.append(f"at least {percent(policy.min_recall)} of objectionable images found")
    if policy.review_budget_per_day is not None:
        parts.append(f"at most {policy.review_budget_per_day:,} reviews a day")
    return f"block: {block}; review: {', '.join(parts) or 'no images'}"


def _cost_words(policy: Policy) -> str:
    costs = policy.costs
    if costs is None:
        return ""
    return f"miss {costs.miss:g}, false alarm {costs.false_alarm:g}, review {costs.review:g}"
