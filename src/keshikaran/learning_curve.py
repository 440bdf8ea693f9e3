"""How much better more labels would make the head, and how sure that is.

Heads are fitted on parts of the labelled images and judged on images that they never saw; a
`power_law` says how it goes on. Intervals come from resampling the images that judge, group by
group (Efron 1979), with a curve fitted to each sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keshikaran.head import decision_function, fit_roughly
from keshikaran.logistic import sigmoid
from keshikaran.out_of_fold import assign_folds
from keshikaran.power_law import extrapolated
from keshikaran.rows import Features, take
from keshikaran.types import (
    BoolArray,
    Float64Array,
    GroupId,
    IntArray,
    LabelArray,
    chunks_of,
)

RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""False-positive rates at which recall may be told."""

_LEAST_FALSE = 10  # acceptable images that the rate must allow above the cut
_LEAST_POSITIVES = 10
_PARTS = (0.2, 0.35, 0.5, 0.7, 1.0)  # of the images that may teach
_LEAST_PART = 20
_MANY = 2_000  # images from which fewer repeats do
_VERY_MANY = 100_000  # and one fold that judges
_CELLS = 1 << 22  # of numbers that are looked at together
_SAMPLES = 200
_QUANTILE = 1.959963984540054  # of the normal distribution, for 95%
_EDGE = 1e-4

_Counts = npt.NDArray[np.uint16]
_Error = Callable[[float], float]
"""Value of a figure → its standard error on the images that judge."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Labelled images, each with what it may be used for.

    Attributes:
        features: float32 [n, D], one row an image; need not be in memory.
        labels: int8 [n].
        groups: of near-duplicates, [n].
        teaches: bool [n], whether a head may be fitted on it.
        judges: bool [n], whether figures may be taken from it: a fair sample of all images.
    """

    features: Features
    labels: LabelArray
    groups: Sequence[GroupId]
    teaches: BoolArray
    judges: BoolArray


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A figure of heads that were fitted on some of the images.

    Attributes:
        labels: number of labelled images, those included that do not teach.
        value: mean over the heads.
        low: lower end of its 95% interval.
        high: upper end.
    """

    labels: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What more labels would do to a figure.

    Attributes:
        more: how many labels.
        now: the figure with the labels there are.
        then: the figure with `more` of them.
        low: lower end of the 95% interval of `then`.
        high: upper end.
    """

    more: int
    now: float
    then: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FigureCurve:
    """One figure by number of labels.

    Attributes:
        points: in ascending order of labels.
        forecasts: in ascending order of labels.
    """

    points: tuple[CurvePoint, ...]
    forecasts: tuple[Forecast, ...]


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """How good heads are by number of labels.

    Attributes:
        labels: number of labelled images there are now.
        judged_on: number of images the figures are taken from.
        positives: how many of them are objectionable.
        false_positive_rate: share of acceptable images above the cut at which recall is told.
        recall: share of objectionable images above that cut.
        roc_auc: area under the ROC curve.
    """

    labels: int
    judged_on: int
    positives: int
    false_positive_rate: float
    recall: FigureCurve
    roc_auc: FigureCurve

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


def learning_curve(sample: Sample, c: float, more: Sequence[int]) -> LearningCurve | None:
    """Measure the curve and look ahead along it.

    Args:
        sample: the labelled images.
        c: inverse regularisation strength, as the head has it.
        more: numbers of further labels, ascending.

    Returns:
        None if there are too few images for any honest figure.
    """
    if not _can_teach(sample):
        return None
    plan = _planned(sample)
    truth = sample.labels[plan.judges]
    rate = _affordable_rate(truth)
    if rate is None:
        return None
    sizes, scores = _scores_by_size(sample, plan, c)
    drawn = _resampled([g for g, j in zip(sample.groups, plan.judges, strict=True) if j])
    figures = np.array(
        [[_figures(rate, truth, row, drawn) for row in repeats] for repeats in scores]
    )
    scale = len(sample.labels) / int(sample.teaches.sum())

    def curve(values: Float64Array, error: _Error) -> FigureCurve:
        mean, now, later = _along(sizes, values, scale, len(sample.labels), more)
        return FigureCurve(
            tuple(
                CurvePoint(round(size * scale), float(row[0]), *_interval(row, error))
                for size, row in zip(sizes, mean, strict=True)
            ),
            tuple(
                Forecast(number, float(now[0]), float(then[0]), *_interval(then, error))
                for number, then in zip(more, later, strict=True)
            ),
        )

    positives, negatives = int(truth.sum()), int((1 - truth).sum())
    return LearningCurve(
        labels=len(sample.labels),
        judged_on=len(truth),
        positives=positives,
        false_positive_rate=rate,
        recall=curve(figures[:, :, 0], lambda share: _binomial_error(share, positives)),
        roc_auc=curve(figures[:, :, 1], lambda area: _area_error(area, positives, negatives)),
    )


def recall_at(rate: float, labels: LabelArray, scores: Float64Array) -> float:
    """Recall at the cut that lets `rate` of the acceptable images through.

    Between two images, the ROC curve is drawn as a line.

    Args:
        rate: in (0, 1).
        labels: int8 [n], both there.
        scores: float64 [n].
    """
    return float(_figures(rate, labels, scores, np.ones((1, len(labels)), dtype=np.uint16))[0, 0])


def _figures(rate: float, labels: LabelArray, scores: Float64Array, drawn: _Counts) -> Float64Array:
    """Recall at a rate, and area under the ROC curve, as often as images were drawn.

    Args:
        rate: of false positives, in (0, 1).
        labels: int8 [n].
        scores: float64 [n], taken to be all different.
        drawn: uint16 [B, n], how often each image counts.

    Returns:
        Float64 [2, B].
    """
    order = np.argsort(-scores, kind="stable")
    ones = labels[order] == 1
    result = np.empty((2, len(drawn)))
    for part in chunks_of(len(drawn), max(1, _CELLS // len(labels))):
        ranked = drawn[part][:, order].astype(np.float64)
        found, false = np.cumsum(ranked * ones, axis=1), np.cumsum(ranked * ~ones, axis=1)
        result[0, part] = [
            np.interp(rate * below[-1], below, above / max(above[-1], 1))
            for below, above in zip(false, found, strict=True)
        ]
        steps = np.diff(false, axis=1, prepend=0.0)
        whole = np.maximum(false[:, -1] * found[:, -1], 1.0)
        result[1, part] = (steps * found).sum(axis=1) / whole
    return result


def _along(
    sizes: IntArray, values: Float64Array, scale: float, labels: int, more: Sequence[int]
) -> tuple[Float64Array, Float64Array, list[Float64Array]]:
    """A figure at the sizes measured, with the labels there are, and with more.

    Args:
        sizes: images taught on, [S].
        values: float64 [S, repeats, B]; the first of B counts every image once.
        scale: labelled images for each that teaches.
        labels: labelled images.
        more: how many labels to look ahead.

    Returns:
        Float64 [S, B], [B], and [B] for each of `more`.
    """
    mean = values.mean(axis=1)
    # Each sample of images sees heads as they come, not their mean: luck is a part of life.
    rng = np.random.default_rng(0)
    lucky = np.take_along_axis(
        values, rng.integers(values.shape[1], size=(len(sizes), 1, values.shape[2])), axis=1
    )[:, 0]
    lucky[:, 0] = mean[:, 0]
    ahead = np.array([labels, *(labels + number for number in more)]) / scale
    now, *later = 1.0 - extrapolated(sizes, 1.0 - lucky, ahead)
    return mean, now, later


def _affordable_rate(truth: LabelArray) -> float | None:
    """The smallest rate that the images can speak about; None if there is none."""
    zeros = len(truth) - int(truth.sum())
    rates = [rate for rate in RATES if rate * zeros >= _LEAST_FALSE]
    return rates[0] if rates and truth.sum() >= _LEAST_POSITIVES else None


def _can_teach(sample: Sample) -> bool:
    taught = sample.labels[sample.teaches]
    return len(taught) >= _LEAST_PART / _PARTS[0] and min(np.bincount(taught, minlength=2)) >= 10


@dataclass(frozen=True, slots=True)
class _Plan:
    """Who is taught and judged when.

    Attributes:
        folds: int64 [n].
        held: the folds that judge, one after the other.
        repeats: how often.
        judges: bool [n], the images that judge.
    """

    folds: IntArray
    held: Sequence[int]
    repeats: int
    judges: BoolArray


def _planned(sample: Sample) -> _Plan:
    """The more images, the less often: many say precisely enough what few must be asked twice."""
    count = len(sample.labels)
    repeats, folds = (1, 3) if count > _MANY else (3, 5)
    assigned = assign_folds(sample.groups, sample.labels, folds)
    if count > _VERY_MANY:
        return _Plan(assigned, range(1), repeats, sample.judges & (assigned == 0))
    return _Plan(assigned, range(folds), repeats, sample.judges)


def _scores_by_size(sample: Sample, plan: _Plan, c: float) -> tuple[IntArray, Float64Array]:
    """Logits of the judging images by heads fitted on parts of the images of other folds.

    Returns:
        Mean sizes of the parts, [S], and logits, float64 [S, repeats, judging].
    """
    logits = np.empty((len(_PARTS), plan.repeats, len(sample.labels)))
    sizes = np.zeros(len(_PARTS))
    for repeat in range(plan.repeats):
        rng = np.random.default_rng(repeat)
        for fold in plan.held:
            held = np.flatnonzero((plan.folds == fold) & sample.judges)
            rows = rng.permutation(np.flatnonzero((plan.folds != fold) & sample.teaches))
            for number, part in enumerate(_PARTS):
                some = np.sort(_with_both(rows, sample.labels, round(part * len(rows))))
                head = fit_roughly(take(sample.features, some), sample.labels[some], c)
                logits[number, repeat, held] = decision_function(head, take(sample.features, held))
                sizes[number] += len(some) / (plan.repeats * len(plan.held))
    return np.round(sizes).astype(np.int64), logits[:, :, plan.judges]


def _with_both(rows: IntArray, labels: LabelArray, size: int) -> IntArray:
    """The first `size` rows, and as many more as bring the second label in."""
    first = labels[rows] != labels[rows[0]]
    return rows[: max(size, int(np.argmax(first)) + 1)]


def _resampled(groups: Sequence[GroupId]) -> _Counts:
    """How often each image counts: once in the first row, as groups were drawn in the others."""
    _, number = np.unique(np.array(groups), return_inverse=True)
    total = int(number.max()) + 1
    rng = np.random.default_rng(0)
    alike = np.full(total, 1.0 / total)
    result = np.ones((1 + _SAMPLES, len(groups)), dtype=np.uint16)
    for row in result[1:]:
        row[:] = rng.multinomial(total, alike)[number]
    return result


def _interval(values: Float64Array, error: _Error) -> tuple[float, float]:
    """Around the first value, by the spread of the others, and at least by `error`.

    The spread is taken on the logit, since shares end at 1. Of few images that are nearly all in
    the right order every sample is, too: there the formula knows more than the samples.
    """
    value = float(values[0])
    inside = values.clip(_EDGE, 1 - _EDGE)
    logits = np.log(inside / (1 - inside))
    reach = _QUANTILE * float(logits[1:].std())
    low, high = sigmoid(logits[0] + np.array([-reach, reach])).tolist()
    least = _QUANTILE * error(value)
    return max(0.0, min(low, value - least)), min(1.0, max(high, value + least))


def _binomial_error(share: float, count: int) -> float:
    """Standard error of a share."""
    return math.sqrt(share * (1 - share) / count)


def _area_error(area: float, positives: int, negatives: int) -> float:
    """Standard error of an area under the ROC curve: Hanley and McNeil 1982."""
    both_positive = area / (2 - area) - area**2
    both_negative = 2 * area**2 / (1 + area) - area**2
    spread = area * (1 - area) + (positives - 1) * both_positive + (negatives - 1) * both_negative
    return math.sqrt(max(0.0, spread) / (positives * negatives))
