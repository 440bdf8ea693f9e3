"""The trained part: features → probability. One weight for each feature, and a bias.

With a frozen backbone, one sigmoid unit trained on cross-entropy is logistic regression: a
convex problem with one answer. It is solved exactly here (`logistic`), instead of being
approached by a few epochs of gradient descent (`seed_recipe` keeps that for comparison).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from keshikaran.logistic import LogisticRegression, load_minimizer, one_thread, softplus
from keshikaran.logistic import sigmoid as sigmoid
from keshikaran.metrics import log_loss
from keshikaran.rows import (
    Features,
    StandardRows,
    TableRows,
    is_large,
    pieces,
    product,
    standardised,
    standardised_roughly,
)
from keshikaran.types import BoolArray, Float32Array, Float64Array, LabelArray

# Half-decades of the inverse regularisation strength, weakest model first.
C_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-5.0, 1.0, 13))
_PATIENCE = 2
_PATH_TOLERANCE = 1e-4
_NEAR_TOLERANCE = 3e-6
_FINAL_TOLERANCE = 1e-8
_CONSTANT = 1e-7
_ROWS = 512  # as many as stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Bend:
    """A logit map with two slopes: `above · softplus(x) - below · softplus(-x) + shift`.

    Attributes:
        below: slope far below 0, not negative.
        above: slope far above 0, not negative.
        shift: what is added.
    """

    below: float
    above: float
    shift: float


@dataclass(frozen=True, slots=True)
class Head:
    """A linear classifier on raw features.

    Attributes:
        weights: float64 [D].
        bias: the logit of an all-zero feature vector, before it is bent.
        bend: how logits are calibrated where no slope and shift will do; usually None.
    """

    weights: Float64Array
    bias: float
    bend: Bend | None = None


@dataclass(frozen=True, slots=True)
class FitStep:
    """One point of the way to a head; what TensorBoard shows as a step.

    Attributes:
        step: counts from 0.
        c: inverse regularisation strength at this step; None where the recipe has none.
        train_loss: log-loss in nats.
        validation_loss: the same on validation images.
        train_accuracy: at 0.5.
        validation_accuracy: at 0.5.
    """

    step: int
    c: float | None
    train_loss: float
    validation_loss: float
    train_accuracy: float
    validation_accuracy: float


@dataclass(frozen=True, slots=True, eq=False)
class Groundwork:
    """What a fit found out about its rows: it makes more fits on the same rows cheaper.

    Attributes:
        mean: of each feature, float64 [D].
        scale: of each feature, float64 [D].
        rows: centred and scaled, in single precision [n, D].
        shape: of the loss around the head (`LogisticRegression.shape`); None if not known.
    """

    mean: Float64Array
    scale: Float64Array
    rows: Float32Array | StandardRows
    shape: Float64Array | None = None


@dataclass(frozen=True, slots=True)
class FitResult:
    """A fitted head and how it came about.

    Attributes:
        head: centring and scaling are folded in.
        c: the regularisation chosen; None where the recipe has none.
        steps: in order.
        ground: as large as the rows: for who fits again at once, and not to be kept.
    """

    head: Head
    c: float | None
    steps: tuple[FitStep, ...]
    ground: Groundwork | None = field(default=None, compare=False, repr=False)


def fit_head(
    x_train: Features,
    y_train: LabelArray,
    x_validation: Features,
    y_validation: LabelArray,
    grid: Sequence[float] = C_GRID,
    *,
    exact: bool = True,
    keep_ground: bool = False,
) -> FitResult:
    """Fit by exact L2-regularised logistic regression on centred and scaled features.

    The regularisation is the one with the least validation log-loss; the search goes from
    strong to weak and ends when two steps in a row brought nothing. Classes are not weighted:
    that would distort the probabilities. Deterministic for the same rows in the same order.

    Args:
        x_train: features [n, D].
        y_train: labels 0 or 1, both present, [n].
        x_validation: features [m, D].
        y_validation: labels 0 or 1, [m].
        grid: inverse regularisation strengths in ascending order.
        exact: whether the head is solved to the last digits, or good to three of a score.
        keep_ground: whether the result holds what more fits on the same rows begin with.
    """
    with ThreadPoolExecutor(1) as beside:
        beside.submit(load_minimizer)  # a third of a second, beside work that waits for memory
        ground = _groundwork(x_train)
    mean, scale = ground.mean, ground.scale
    with one_thread():
        problem = LogisticRegression(ground.rows, y_train)
        z_validation = standardised(x_validation, mean, scale)
        steps, found = _search((problem, y_train), (z_validation, y_validation), grid)
        chosen = grid[best_step(steps)]
        if exact:
            ground = replace(ground, shape=problem.shape(chosen, found))
            whole = LogisticRegression(_in_full(x_train, ground), y_train)
            found = whole.solve(chosen, found, _FINAL_TOLERANCE, ground.shape)
    kept = ground if keep_ground else None
    return FitResult(_fold(_head(found), mean, scale), chosen, steps, kept)


def fit_roughly(x: Features, y: LabelArray, c: float) -> Head:
    """Fit in single precision with a given regularisation: good to three digits of a score.

    For questions that take many fits. The rest is as in `fit_head`.

    Args:
        x: features [n, D].
        y: labels 0 or 1, both present, [n].
        c: inverse regularisation strength.
    """
    ground = _groundwork(x)
    with one_thread():
        problem = LogisticRegression(ground.rows, y)
        start = np.append(np.zeros(x.shape[1]), _log_odds(y))
        found = problem.solve(c, start, _PATH_TOLERANCE)
    return _fold(_head(found), ground.mean, ground.scale)


class RoughFits:
    """Fits on parts of the same images with one regularisation: good to three digits of a score.

    Centring and scaling are those of all images, which says nothing of anybody's label. Searches
    start from a head for all of them: where a search ends does not depend on that, but for the
    tolerance, which is ten times finer than that of `fit_roughly`.

    Args:
        x: features of all images [n, D].
        y: labels 0 or 1, both present, [n].
        c: inverse regularisation strength.
        near: a head that fits all of them; None starts from nothing.
        ground: what the fit of `near` found out, if it was one of all these images.
    """

    def __init__(
        self,
        x: Features,
        y: LabelArray,
        c: float,
        near: Head | None = None,
        ground: Groundwork | None = None,
    ) -> None:
        self._ground = ground = ground or _groundwork(x)
        self._y, self._c = y, c
        self._shape = ground.shape
        if near is None:
            self._start = np.append(np.zeros(x.shape[1]), _log_odds(y))
            return
        self._start = _unfold(near, ground.mean, ground.scale)
        if self._shape is None:
            self._shape = LogisticRegression(ground.rows, y).shape(c, self._start)

    def fit(self, rows: BoolArray) -> Head:
        """A head for the images in `rows`, bool [n]; both labels are among them."""
        ground = self._ground
        problem = LogisticRegression(ground.rows, self._y, rows)
        found = problem.solve(self._c, self._start, _NEAR_TOLERANCE, self._shape)
        return _fold(_head(found), ground.mean, ground.scale)


def _search(
    train: tuple[LogisticRegression, LabelArray],
    validation: tuple[Float64Array | StandardRows, LabelArray],
    grid: Sequence[float],
) -> tuple[tuple[FitStep, ...], Float64Array]:
    """Walk the grid in single precision, each step starting where the ones before point to.

    Returns:
        The steps walked, and weights and bias of the best one.
    """
    (problem, y), (z_validation, y_validation) = train, validation
    start = np.append(np.zeros(z_validation.shape[1]), _log_odds(y))
    steps: list[FitStep] = []
    found: list[Float64Array] = []
    for index, c in enumerate(grid):
        found.append(problem.solve(c, start, _PATH_TOLERANCE))
        scores = predict_proba(_head(found[-1]), z_validation)
        own = problem.probabilities(found[-1])
        steps.append(measure_step(index, c, (y, own), (y_validation, scores)))
        if index - best_step(steps) >= _PATIENCE:
            break
        start = 2 * found[-1] - found[-2] if index else found[-1]
    return tuple(steps), found[best_step(steps)]


def _head(values: Float64Array) -> Head:
    return Head(values[:-1].copy(), float(values[-1]))


def _log_odds(labels: LabelArray) -> float:
    """The bias that fits best while all weights are zero."""
    ones = int(labels.sum())
    return float(np.log(ones / (len(labels) - ones)))


def best_step(steps: Sequence[FitStep]) -> int:
    """Index of the step with the least validation loss; the first of equals."""
    return int(np.argmin([step.validation_loss for step in steps]))


def decision_function(head: Head, features: TableRows) -> Float64Array:
    """Logits, float64 [n], of features [n, D]."""
    logits = product(features, head.weights) + head.bias
    return logits if head.bend is None else bent(logits, head.bend)


def bent(logits: Float64Array, bend: Bend) -> Float64Array:
    """Logits after a map with two slopes, float64 [n]."""
    return bend.above * softplus(logits) - bend.below * softplus(-logits) + bend.shift


def predict_proba(head: Head, features: TableRows) -> Float64Array:
    """Probability of class 1, float64 [n], of features [n, D]."""
    return sigmoid(decision_function(head, features))


def measure_step(
    step: int,
    c: float | None,
    train: tuple[LabelArray, Float64Array],
    validation: tuple[LabelArray, Float64Array],
) -> FitStep:
    """A `FitStep` from pairs of labels and probabilities."""
    return FitStep(
        step=step,
        c=c,
        train_loss=log_loss(*train),
        validation_loss=log_loss(*validation),
        train_accuracy=float(np.mean((train[1] >= 0.5) == train[0])),
        validation_accuracy=float(np.mean((validation[1] >= 0.5) == validation[0])),
    )


def _mean(x: Features) -> Float64Array:
    if isinstance(x, np.ndarray) and not is_large(x):
        mean: Float64Array = x.mean(axis=0, dtype=np.float64)
        return mean
    total = np.zeros(x.shape[1])
    for _, rows in pieces(x, _ROWS):
        total += rows.sum(axis=0, dtype=np.float64)
    return total / len(x)


def _scaling(x: Features) -> tuple[Float64Array, Float64Array]:
    """Centre and scale of each feature.

    Pareto scaling (van den Berg et al. 2006, "Centering, scaling, and transformations"): the
    square root of the standard deviation, so that features that hardly ever change do not count
    as much as those that do. Constant features count for nothing: they change no other's scale.
    """
    mean = _mean(x)
    squares = np.zeros(x.shape[1])
    for _, rows in pieces(x, _ROWS):
        squares += ((rows - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / len(x))
    constant = deviation < _CONSTANT
    typical = 1.0 if constant.all() else float(deviation[~constant].mean())
    deviation[constant] = typical
    return mean, np.sqrt(deviation * typical)


def _groundwork(x: Features) -> Groundwork:
    mean, scale = _scaling(x)
    return Groundwork(mean, scale, standardised_roughly(x, mean, scale))


def _in_full(x: Features, ground: Groundwork) -> Float64Array | StandardRows:
    """Rows in double precision; made anew at each look where that will be a handful."""
    if ground.shape is None:
        return standardised(x, ground.mean, ground.scale)
    return StandardRows(x, ground.mean, ground.scale, np.float64)


def _fold(head: Head, mean: Float64Array, scale: Float64Array) -> Head:
    """Move centring and scaling into weights and bias."""
    weights = head.weights / scale
    return Head(weights, head.bias - float(mean @ weights))


def _unfold(head: Head, mean: Float64Array, scale: Float64Array) -> Float64Array:
    """Weights and bias on centred and scaled features, float64 [D + 1]."""
    return np.append(head.weights * scale, head.bias + float(mean @ head.weights))
