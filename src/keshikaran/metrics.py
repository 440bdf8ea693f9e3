"""True labels and scores → figures. Arrays in, numbers out.

Every figure is over all images given. Names and definitions are scikit-learn's where it has
them, and tests hold the figures against its answers; it is not called here because loading it
takes a second, more than everything else that a training on cached features does. The
calibration error is the usual one with bins of equal width (Guo et al. 2017, "On Calibration of
Modern Neural Networks").
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keshikaran.types import Float64Array, ImageId, IntArray, LabelArray

_ECE_BINS = 10
_SMALLEST = 1e-15


@dataclass(frozen=True, slots=True)
class Metrics:
    """How well scores fit labels on one set of images.

    Attributes:
        images: number of images.
        positives: how many of them are objectionable.
        roc_auc: area under the ROC curve; None when one class is missing.
        average_precision: area under the precision-recall curve; None without positives.
        log_loss: mean negative log-likelihood in nats.
        brier_score: mean squared error of the probability.
        ece: expected calibration error, 10 bins.
        threshold: scores of at least this count as objectionable in the figures below.
        accuracy: share of right answers.
        balanced_accuracy: mean of the recalls of both classes.
        precision: right among those called objectionable; 0 if none is.
        recall: found among the objectionable.
        f1: harmonic mean of precision and recall.
        confusion_matrix: [[true negatives, false positives], [false negatives, true positives]].
    """

    images: int
    positives: int
    roc_auc: float | None
    average_precision: float | None
    log_loss: float
    brier_score: float
    ece: float
    threshold: float
    accuracy: float
    balanced_accuracy: float
    precision: float
    recall: float
    f1: float
    confusion_matrix: list[list[int]]

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Curves:
    """Points of the ROC and precision-recall curves, float64 each."""

    false_positive_rate: Float64Array
    true_positive_rate: Float64Array
    precision: Float64Array
    recall: Float64Array


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """Images of one split with what people and the model say.

    Attributes:
        image_ids: one for each row.
        y_true: labels, int8 [n].
        y_score: probabilities in [0, 1], float64 [n].
    """

    image_ids: list[ImageId]
    y_true: LabelArray
    y_score: Float64Array


def compute_metrics(
    y_true: LabelArray,
    y_score: Float64Array,
    threshold: float,
    probabilities: Float64Array | None = None,
) -> Metrics:
    """All figures of `Metrics`.

    Args:
        y_true: labels 0 or 1, shape [n], n >= 1.
        y_score: scores in [0, 1], shape [n].
        threshold: where the score becomes a yes.
        probabilities: what log-loss, Brier score and calibration error judge, shape [n], where
            scores assume another mix of labels than these images have; None: the scores.
    """
    probabilities = y_score if probabilities is None else probabilities
    cells = np.bincount(2 * y_true + (y_score >= threshold), minlength=4)
    tn, fp, fn, tp = cells.tolist()
    positives = fn + tp
    both = 0 < positives < len(y_true)
    ranked = _rank(y_true, y_score)
    recalls = [part / whole for part, whole in ((tn, tn + fp), (tp, tp + fn)) if whole]
    return Metrics(
        images=len(y_true),
        positives=positives,
        roc_auc=_roc_auc(ranked) if both else None,
        average_precision=_average_precision(ranked) if positives else None,
        log_loss=log_loss(y_true, probabilities),
        brier_score=float(np.mean((probabilities - y_true) ** 2)),
        ece=expected_calibration_error(y_true, probabilities),
        threshold=float(threshold),
        accuracy=(tn + tp) / len(y_true),
        balanced_accuracy=sum(recalls) / len(recalls),
        precision=_share(tp, tp + fp),
        recall=_share(tp, tp + fn),
        f1=_share(2 * tp, 2 * tp + fp + fn),
        confusion_matrix=[[tn, fp], [fn, tp]],
    )


def compute_curves(y_true: LabelArray, y_score: Float64Array) -> Curves:
    """ROC and precision-recall curves; both classes must be there."""
    ranked = _rank(y_true, y_score)
    found, false = ranked.found, ranked.false
    corners = _corners(false, found)
    return Curves(
        false_positive_rate=np.append(0.0, false[corners] / false[-1]),
        true_positive_rate=np.append(0.0, found[corners] / found[-1]),
        precision=np.append((found / (found + false))[::-1], 1.0),
        recall=np.append((found / found[-1])[::-1], 0.0),
    )


def log_loss(y_true: LabelArray, y_score: Float64Array) -> float:
    """Mean negative log-likelihood in nats; probabilities are kept 1e-15 away from 0 and 1."""
    return float(np.mean(log_losses(y_true, y_score)))


def log_losses(y_true: LabelArray, y_score: Float64Array) -> Float64Array:
    """Negative log-likelihood of each image in nats, float64 [n]; as `log_loss`."""
    p = np.clip(y_score, _SMALLEST, 1 - _SMALLEST)
    losses: Float64Array = -np.where(y_true == 1, np.log(p), np.log1p(-p))
    return losses


def expected_calibration_error(
    y_true: LabelArray, y_score: Float64Array, bins: int = _ECE_BINS
) -> float:
    """Mean gap between score and observed share over bins of equal width, by bin size."""
    index = calibration_bins(y_score, bins)
    score_sums = np.bincount(index, weights=y_score, minlength=bins)
    label_sums = np.bincount(index, weights=y_true, minlength=bins)
    return float(np.abs(score_sums - label_sums).sum() / len(y_true))


def calibration_bins(y_score: Float64Array, bins: int = _ECE_BINS) -> IntArray:
    """Which of the bins of equal width each probability falls into, int64 [n]."""
    numbers: IntArray = np.minimum((y_score * bins).astype(np.int64), bins - 1)
    return numbers


@dataclass(frozen=True, slots=True)
class _Ranked:
    """What is called objectionable at each cut, from the strictest to the loosest.

    Attributes:
        scores: the distinct scores in descending order, float64 [k].
        found: objectionable images with at least that score, int64 [k].
        false: acceptable ones, int64 [k].
    """

    scores: Float64Array
    found: IntArray
    false: IntArray


def _rank(y_true: LabelArray, y_score: Float64Array) -> _Ranked:
    order = np.argsort(-y_score, kind="stable")
    scores = y_score[order]
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    found = np.cumsum(y_true[order], dtype=np.int64)[ends]
    return _Ranked(scores[ends], found, ends + 1 - found)


def _roc_auc(ranked: _Ranked) -> float:
    """Share of pairs of both classes in the right order; a tie is half right.

    Counted in whole numbers: Hanley and McNeil 1982, "The meaning and use of the area under a
    receiver operating characteristic (ROC) curve".
    """
    found = np.append(0, ranked.found)
    twice = int(np.sum(np.diff(ranked.false, prepend=0) * (found[1:] + found[:-1])))
    return twice / (2 * int(ranked.found[-1]) * int(ranked.false[-1]))


def _average_precision(ranked: _Ranked) -> float:
    """Precision at each cut, weighted by the recall it adds."""
    gained = np.diff(ranked.found, prepend=0)
    precision = ranked.found / (ranked.found + ranked.false)
    return float(np.sum(gained * precision) / ranked.found[-1])


def _corners(x: IntArray, y: IntArray) -> npt.NDArray[np.bool_]:
    """Which points of a staircase are needed to draw it; the last is."""
    if len(x) < 2:
        return np.ones(len(x), dtype=bool)
    dx, dy = np.diff(x, prepend=0), np.diff(y, prepend=0)
    bends = dx[1:] * dy[:-1] != dx[:-1] * dy[1:]
    return np.append(bends, True)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
