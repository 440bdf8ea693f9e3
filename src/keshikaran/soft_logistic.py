"""Logistic regression on two or three inputs with soft targets, for maps of scores."""

from __future__ import annotations

import numpy as np

from keshikaran.logistic import sigmoid, softplus
from keshikaran.types import Float64Array

_ROUNDS = 100
_TOLERANCE = 1e-10
_RIDGE = 1e-9
_STEEPEST = 100.0


def fit_logistic(inputs: Float64Array, targets: Float64Array, start: Float64Array) -> list[float]:
    """Weights of least cross-entropy: Newton's method, each step halved until it helps.

    Lin, Lin and Weng 2007, "A note on Platt's probabilistic outputs for support vector machines".
    """
    weights, loss = start, _cross_entropy(inputs @ start, targets)
    for _ in range(_ROUNDS):
        chances = sigmoid(inputs @ weights)
        slope = inputs.T @ (chances - targets) / len(targets)
        if np.abs(slope).max() < _TOLERANCE:
            break
        curvature: Float64Array = (
            (inputs * (chances * (1 - chances))[:, None]).T @ inputs / len(targets)
        )
        ridge = _RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature + ridge, slope).astype(np.float64)
        better = _halved(inputs, targets, weights, step, loss)
        if better is None:
            break
        weights, loss = better
    return [float(value) for value in np.clip(weights, -_STEEPEST, _STEEPEST)]


def _halved(
    inputs: Float64Array,
    targets: Float64Array,
    weights: Float64Array,
    step: Float64Array,
    loss: float,
) -> tuple[Float64Array, float] | None:
    """Weights a step further with a smaller loss; None where no part of the step helps."""
    for halvings in range(30):
        tried = weights - step * 0.5**halvings
        found = _cross_entropy(inputs @ tried, targets)
        if found < loss:
            return tried, found
    return None


def _cross_entropy(logits: Float64Array, targets: Float64Array) -> float:
    return float(np.mean(softplus(logits) - targets * logits))
