"""Two models on the same test images: which is better, and what would change for whom.

Pure: labels, scores and thresholds in, a comparison out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from keshikaran.bootstrap import Statistic, bootstrap_estimate, difference, plan_resampling
from keshikaran.calibration import logits_of, prior_shift
from keshikaran.curves import weighted_recall_at
from keshikaran.head import sigmoid
from keshikaran.intervals import Estimate
from keshikaran.metrics import log_losses
from keshikaran.paired import Pair, joined, paired_means, paired_shares
from keshikaran.policy import Costs
from keshikaran.types import (
    Float64Array,
    GroupId,
    ImageId,
    LabelArray,
    Thresholds,
    Verdict,
    verdict_of,
)
from keshikaran.weighted_figures import (
    weighted_average_precision,
    weighted_mean,
    weighted_roc_auc,
)

FigureVerdict = Literal["better", "no clear difference", "significant loss"]

_HIGHER = frozenset({"roc_auc", "average_precision", "recall_at_review", "recall_at_rate"})
"""Figures of which more is better; of all others less is."""


@dataclass(frozen=True, slots=True)
class ModelScores:
    """What one model says about the test images.

    Attributes:
        model_id: of the model.
        scores: in [0, 1], [n].
        thresholds: its two cuts.
        prevalence: share of objectionable images that its scores assume, in (0, 1).
    """

    model_id: str
    scores: Float64Array
    thresholds: Thresholds
    prevalence: float


@dataclass(frozen=True, slots=True)
class JudgedImages:
    """The images that both are judged on.

    Attributes:
        image_ids: [n].
        labels: int8 [n], both present.
        groups: of near-duplicates, [n].
    """

    image_ids: Sequence[ImageId]
    labels: LabelArray
    groups: Sequence[GroupId]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the operator cares about.

    Attributes:
        rate: false-positive rate that `recall_at_rate` is at, in (0, 1).
        prevalence: share of objectionable images among uploads, for the cost.
        costs: of a miss, a false alarm and a review; None where the policy has none.
    """

    rate: float
    prevalence: float
    costs: Costs | None = None


@dataclass(frozen=True, slots=True)
class FigureDifference:
    """One figure of both models.

    Attributes:
        name: of the figure.
        old: of the model in use.
        new: of the model that would replace it.
        difference: new - old, with its 95% interval.
        more_is_better: whether a positive difference is a gain.
        verdict: a gain or a loss only where the whole interval is on that side of 0.
    """

    name: str
    old: float | None
    new: float | None
    difference: Estimate
    more_is_better: bool
    verdict: FigureVerdict


@dataclass(frozen=True, slots=True)
class Transition:
    """An image whose verdict would change.

    Attributes:
        image_id: the image.
        label: what a person said.
        old: verdict of the model in use.
        new: verdict of the other.
        old_score: score by the model in use.
        new_score: score by the other.
    """

    image_id: ImageId
    label: int
    old: Verdict
    new: Verdict
    old_score: float
    new_score: float

    @property
    def harm(self) -> int:
        """2 for an acceptable image newly blocked or an objectionable one newly passed.

        1 for any other step the wrong way, 0 for one the right way.
        """
        step = _STEPS.index(self.new) - _STEPS.index(self.old)
        wrong = step < 0 if self.label else step > 0
        return wrong + (wrong and self.new == ("pass" if self.label else "block"))


_STEPS: tuple[Verdict, ...] = ("pass", "review", "block")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same test images.

    Attributes:
        old: id of the model in use.
        new: id of the model that would replace it.
        images: test images.
        positives: how many of them are objectionable.
        rate: false-positive rate that `recall_at_rate` is at.
        figures: each with its difference.
        transitions: images whose verdict would change, the gravest first.
        verdict: `significant loss` if any figure has one; else `better` if any is; else neither.
    """

    old: str
    new: str
    images: int
    positives: int
    rate: float
    figures: tuple[FigureDifference, ...]
    transitions: tuple[Transition, ...]
    verdict: FigureVerdict

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the figures that got significantly worse."""
        return tuple(one.name for one in self.figures if one.verdict == "significant loss")

    def moves(self) -> dict[str, dict[str, int]]:
        """Old verdict, arrow, new verdict → label as text → images; only what occurs."""
        counts = Counter((f"{one.old} → {one.new}", str(one.label)) for one in self.transitions)
        names = sorted({name for name, _ in counts})
        return {name: {label: counts[name, label] for label in ("0", "1")} for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self) | {"losses": list(self.losses), "moves": self.moves()}


def compare_models(
    images: JudgedImages, old: ModelScores, new: ModelScores, asked: Asked
) -> Comparison:
    """Differences of all figures with 95% intervals, a verdict, and the images concerned.

    What depends on the order of scores alone, and errors of probabilities, are resampled in pairs:
    both models are counted on the same resample. Shares and costs have closed intervals
    (`paired_shares`, `paired_means`). Brier score and log-loss are of probabilities under the test
    images' own mix of labels, whatever prevalence each model assumes.
    """
    figures = (*_resampled(images, old, new, asked), *_decided(images, old, new, asked))
    verdicts = {figure.verdict for figure in figures}
    order: tuple[FigureVerdict, ...] = ("significant loss", "better", "no clear difference")
    return Comparison(
        old=old.model_id,
        new=new.model_id,
        images=len(images.labels),
        positives=int(images.labels.sum()),
        rate=asked.rate,
        figures=figures,
        transitions=_transitions(images, old, new),
        verdict=next(verdict for verdict in order if verdict in verdicts),
    )


def _resampled(
    images: JudgedImages, old: ModelScores, new: ModelScores, asked: Asked
) -> list[FigureDifference]:
    labels = images.labels
    plan = plan_resampling(labels, images.groups)
    whole = np.ones((1, len(labels)))
    share = float(labels.mean())

    def statistics(model: ModelScores) -> dict[str, Statistic]:
        shift = prior_shift(model.prevalence, share)
        probabilities = sigmoid(logits_of(model.scores) + shift)
        return {
            "roc_auc": weighted_roc_auc(labels, model.scores),
            "average_precision": weighted_average_precision(labels, model.scores),
            "recall_at_rate": weighted_recall_at(labels, model.scores, asked.rate),
            "log_loss": weighted_mean(log_losses(labels, probabilities)),
            "brier_score": weighted_mean((probabilities - labels) ** 2),
        }

    before, after = statistics(old), statistics(new)
    gaps = {
        name: bootstrap_estimate(difference(after[name], before[name]), plan) for name in before
    }
    return [
        _figure(name, Pair(float(before[name](whole)[0]), float(after[name](whole)[0]), gap))
        for name, gap in gaps.items()
    ]


def _decided(
    images: JudgedImages, old: ModelScores, new: ModelScores, asked: Asked
) -> list[FigureDifference]:
    """Figures of verdicts: means over one class, or over both as common as among uploads."""
    shown, blocked = [
        [
            (model.scores >= getattr(model.thresholds, cut)).astype(np.float64)
            for model in (old, new)
        ]
        for cut in ("review", "block")
    ]

    def among(
        label: int, before: Float64Array, after: Float64Array, step: float | None = None
    ) -> Pair:
        rows = np.flatnonzero(images.labels == label)
        groups = [images.groups[int(row)] for row in rows]
        if step is None:
            return paired_shares(before[rows], after[rows], groups)
        return paired_means(before[rows], after[rows], groups, step=step)

    figures = {
        "recall_at_review": among(1, *shown),
        "false_positive_rate_at_block": among(0, *blocked),
    }
    if asked.costs is not None:
        price = asked.costs
        looked = [(above - over) * price.review for above, over in zip(shown, blocked, strict=True)]
        missed = [(1 - above) * price.miss for above in shown]
        wrong = [over * price.false_alarm for over in blocked]
        ones = among(1, missed[0] + looked[0], missed[1] + looked[1], price.miss)
        zeros = among(0, wrong[0] + looked[0], wrong[1] + looked[1], price.false_alarm)
        share = asked.prevalence
        figures["expected_cost"] = joined([(share, ones), (1 - share, zeros)])
    return [_figure(name, pair) for name, pair in figures.items()]


def _figure(name: str, pair: Pair) -> FigureDifference:
    more_is_better, gap = name in _HIGHER, pair.difference
    verdict: FigureVerdict = "no clear difference"
    if gap.low > 0 or gap.high < 0:
        verdict = "better" if (gap.low > 0) == more_is_better else "significant loss"
    return FigureDifference(name, pair.old, pair.new, gap, more_is_better, verdict)


def _transitions(
    images: JudgedImages, old: ModelScores, new: ModelScores
) -> tuple[Transition, ...]:
    found = []
    rows = zip(images.image_ids, images.labels, old.scores, new.scores, strict=True)
    for image_id, label, before, after in rows:
        was, will = verdict_of(before, old.thresholds), verdict_of(after, new.thresholds)
        if was != will:
            scores = float(before), float(after)
            found.append(Transition(image_id, int(label), was, will, *scores))
    return tuple(sorted(found, key=_gravity))


def _gravity(one: Transition) -> tuple[int, float, ImageId]:
    return -one.harm, -abs(one.new_score - one.old_score), one.image_id
