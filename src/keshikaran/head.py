"""The trained part: features → probability. One weight for each feature, and a bias.

With a frozen backbone, one sigmoid unit trained on cross-entropy is logistic regression: a
convex problem with one answer. It is solved exactly here, by SciPy's L-BFGS-B, instead of being
approached by a few epochs of gradient descent (`seed_recipe` keeps that for comparison).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from threadpoolctl import threadpool_limits

from keshikaran.metrics import log_loss
from keshikaran.types import Float32Array, Float64Array, FloatArray, LabelArray

_Minimizer = Callable[..., Any]

# Half-decades of the inverse regularisation strength, weakest model first.
C_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-5.0, 1.0, 13))
_PATIENCE = 2
_PATH_TOLERANCE = 1e-4
_FINAL_TOLERANCE = 1e-8
_MAX_ITERATIONS = 5_000
_NEGLIGIBLE = 64 * float(np.finfo(np.float64).eps)  # relative gain of a step
_CONSTANT = 1e-7


@dataclass(frozen=True, slots=True)
class Head:
    """A linear classifier on raw features.

    Attributes:
        weights: float64 [D].
        bias: the logit of an all-zero feature vector.
    """

    weights: Float64Array
    bias: float


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


@dataclass(frozen=True, slots=True)
class FitResult:
    """A fitted head and how it came about.

    Attributes:
        head: centring and scaling are folded in.
        c: the regularisation chosen; None where the recipe has none.
        steps: in order.
    """

    head: Head
    c: float | None
    steps: tuple[FitStep, ...]


def fit_head(
    x_train: Float32Array,
    y_train: LabelArray,
    x_validation: Float32Array,
    y_validation: LabelArray,
    grid: Sequence[float] = C_GRID,
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
    """
    mean, scale = _scaling(x_train)
    z_train = _scaled(x_train, mean, scale)
    z_validation = _scaled(x_validation, mean, scale)
    minimize = _minimizer()  # before the limit is set: it holds for libraries loaded by then
    # One thread: the work is bound by memory, a second one was three times slower on two cores,
    # and sums do not depend on how many processors there are.
    with threadpool_limits(limits=1):
        steps, start = _search(minimize, (z_train, y_train), (z_validation, y_validation), grid)
        chosen = grid[best_step(steps)]
        head = _solve(minimize, (z_train, y_train), chosen, start, _FINAL_TOLERANCE)
    return FitResult(_fold(head, mean, scale), chosen, steps)


def _search(
    minimize: _Minimizer,
    train: tuple[Float64Array, LabelArray],
    validation: tuple[Float64Array, LabelArray],
    grid: Sequence[float],
) -> tuple[tuple[FitStep, ...], Head]:
    """Walk the grid in single precision, each step starting from the one before.

    Returns:
        The steps walked, and the head of the best one.
    """
    narrow = train[0].astype(np.float32)
    head = Head(np.zeros(narrow.shape[1]), 0.0)
    steps: list[FitStep] = []
    heads: list[Head] = []
    for index, c in enumerate(grid):
        head = _solve(minimize, (narrow, train[1]), c, head, _PATH_TOLERANCE)
        heads.append(head)
        scored = [(labels, predict_proba(head, z)) for z, labels in (train, validation)]
        steps.append(measure_step(index, c, *scored))
        if index - best_step(steps) >= _PATIENCE:
            break
    return tuple(steps), heads[best_step(steps)]


def _solve(
    minimize: _Minimizer,
    train: tuple[FloatArray, LabelArray],
    c: float,
    start: Head,
    tolerance: float,
) -> Head:
    """Minimise ½|w|² + c · Σ log-loss, divided by c · n so that the tolerance fits any n and c.

    The bias is not regularised. Ends when no slope is steeper than `tolerance`.
    """
    x, y = train
    strength = 1.0 / (c * len(y))
    signs = np.where(y == 1, -1.0, 1.0)

    def loss_and_gradient(values: Float64Array) -> tuple[float, Float64Array]:
        weights, bias = values[:-1], values[-1]
        products: Float64Array = (x @ weights.astype(x.dtype)).astype(np.float64)
        margins = signs * (products + bias)
        loss = np.logaddexp(0.0, margins).mean() + 0.5 * strength * (weights @ weights)
        slopes = signs * sigmoid(margins) / len(y)
        gradient = np.append(slopes.astype(x.dtype) @ x + strength * weights, slopes.sum())
        return float(loss), gradient

    settings = {"gtol": tolerance, "ftol": _NEGLIGIBLE, "maxiter": _MAX_ITERATIONS, "maxls": 50}
    values = np.append(start.weights, start.bias)
    found = minimize(loss_and_gradient, values, jac=True, method="L-BFGS-B", options=settings).x
    return Head(found[:-1].copy(), float(found[-1]))


def _minimizer() -> _Minimizer:
    """SciPy's, loaded only by what fits: it takes a third of a second."""
    from scipy.optimize import minimize

    return cast("_Minimizer", minimize)


def best_step(steps: Sequence[FitStep]) -> int:
    """Index of the step with the least validation loss; the first of equals."""
    return int(np.argmin([step.validation_loss for step in steps]))


def decision_function(head: Head, features: Float32Array | Float64Array) -> Float64Array:
    """Logits, float64 [n], of features [n, D]."""
    logits: Float64Array = features.astype(np.float64, copy=False) @ head.weights + head.bias
    return logits


def predict_proba(head: Head, features: Float32Array | Float64Array) -> Float64Array:
    """Probability of class 1, float64 [n], of features [n, D]."""
    return sigmoid(decision_function(head, features))


def sigmoid(logits: Float64Array) -> Float64Array:
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(logits))
    result: Float64Array = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return result


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


def _scaling(x: Float32Array) -> tuple[Float64Array, Float64Array]:
    """Centre and scale of each feature.

    Pareto scaling (van den Berg et al. 2006, "Centering, scaling, and transformations"): the
    square root of the standard deviation, so that features that hardly ever change do not count
    as much as those that do. Constant features count for nothing: they change no other's scale.
    """
    deviation = x.std(axis=0, dtype=np.float64)
    constant = deviation < _CONSTANT
    typical = 1.0 if constant.all() else float(deviation[~constant].mean())
    deviation[constant] = typical
    return x.mean(axis=0, dtype=np.float64), np.sqrt(deviation * typical)


def _scaled(x: Float32Array, mean: Float64Array, scale: Float64Array) -> Float64Array:
    """One copy in double precision and no more: it is the largest array of the fit."""
    z = x.astype(np.float64)
    z -= mean
    z /= scale
    return z


def _fold(head: Head, mean: Float64Array, scale: Float64Array) -> Head:
    """Move centring and scaling into weights and bias."""
    weights = head.weights / scale
    return Head(weights, head.bias - float(mean @ weights))
