"""The recipe this project grew out of: one dense unit, ten epochs of Adam on batches of 512.

Kept so that anyone can see the difference to the exact fit on the same features: `train
--recipe seed`. As in the original, each epoch shuffles, and the images that do not fill a last
batch are left out of that epoch. Adam is that of Kingma and Ba (2015) with Keras' defaults.
"""

from __future__ import annotations

import numpy as np

from keshikaran.head import FitResult, FitStep, Head, measure_step, predict_proba
from keshikaran.logistic import sigmoid
from keshikaran.rows import Features
from keshikaran.types import Float64Array, LabelArray

EPOCHS = 10
BATCH_SIZE = 512
_LEARNING_RATE = 1e-3
_BETA_1 = 0.9
_BETA_2 = 0.999
_EPSILON = 1e-7
_SEED = 20


def fit_seed_recipe(
    x_train: Features,
    y_train: LabelArray,
    x_validation: Features,
    y_validation: LabelArray,
) -> FitResult:
    """Fit by the seed's recipe on raw features. Deterministic.

    Args:
        x_train: features [n, D].
        y_train: labels 0 or 1, [n].
        x_validation: features [m, D]; only measured.
        y_validation: labels 0 or 1, [m].
    """
    rng = np.random.default_rng(_SEED)
    rows = np.hstack([np.asarray(x_train, dtype=np.float64), np.ones((len(x_train), 1))])
    limit = np.sqrt(6.0 / (x_train.shape[1] + 1))  # Glorot's uniform initialisation
    adam = _Adam(np.append(rng.uniform(-limit, limit, x_train.shape[1]), 0.0))
    batch = min(BATCH_SIZE, len(rows))
    steps: list[FitStep] = []
    for epoch in range(EPOCHS):
        order = rng.permutation(len(rows))
        for start in range(0, len(rows) - batch + 1, batch):
            chosen = order[start : start + batch]
            error = sigmoid(rows[chosen] @ adam.values) - y_train[chosen]
            adam.step(rows[chosen].T @ error / batch)
        head = Head(adam.values[:-1], float(adam.values[-1]))
        train = (y_train, predict_proba(head, x_train))
        steps.append(
            measure_step(epoch, None, train, (y_validation, predict_proba(head, x_validation)))
        )
    return FitResult(head, None, tuple(steps))


class _Adam:
    """Adam on one vector of parameters."""

    def __init__(self, values: Float64Array) -> None:
        self.values = values
        self._mean = np.zeros_like(values)
        self._square = np.zeros_like(values)
        self._count = 0

    def step(self, gradient: Float64Array) -> None:
        self._count += 1
        self._mean = _BETA_1 * self._mean + (1 - _BETA_1) * gradient
        self._square = _BETA_2 * self._square + (1 - _BETA_2) * gradient**2
        rate = _LEARNING_RATE * np.sqrt(1 - _BETA_2**self._count) / (1 - _BETA_1**self._count)
        self.values = self.values - rate * self._mean / (np.sqrt(self._square) + _EPSILON)
