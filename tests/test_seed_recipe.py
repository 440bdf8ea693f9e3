"""`train --recipe seed`: ten epochs of Adam, as the original did it."""

from __future__ import annotations

import numpy as np
import pytest

from keshikaran import seed_recipe
from keshikaran.head import FitResult, predict_proba
from keshikaran.seed_recipe import BATCH_SIZE, EPOCHS, fit_seed_recipe
from keshikaran.types import Float32Array, Float64Array, LabelArray


def _data(rows: int, dim: int = 4, seed: int = 0) -> tuple[Float32Array, LabelArray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows).astype(np.int8)
    features = rng.normal(size=(rows, dim)) + labels[:, None]
    return features.astype(np.float32), labels


def _fit(rows: int) -> FitResult:
    return fit_seed_recipe(*_data(rows), *_data(40, seed=1))


def _count_steps(monkeypatch: pytest.MonkeyPatch) -> list[Float64Array]:
    gradients: list[Float64Array] = []
    original = seed_recipe._Adam.step

    def counted(self: seed_recipe._Adam, gradient: Float64Array) -> None:
        gradients.append(gradient)
        original(self, gradient)

    monkeypatch.setattr(seed_recipe._Adam, "step", counted)
    return gradients


def test_recipe_is_ten_epochs_in_batches_of_512() -> None:
    assert (EPOCHS, BATCH_SIZE) == (10, 512)


def test_one_step_is_reported_for_each_epoch_without_a_regularisation() -> None:
    result = _fit(100)
    assert [step.step for step in result.steps] == list(range(10))
    assert result.c is None
    assert {step.c for step in result.steps} == {None}


def test_same_rows_give_the_same_bytes() -> None:
    first, second = _fit(100), _fit(100)
    assert first.head.weights.tobytes() == second.head.weights.tobytes()
    assert first.head.bias == second.head.bias
    assert first.steps == second.steps


@pytest.mark.parametrize(
    ("rows", "updates"), [(5, 10), (512, 10), (513, 10), (1023, 10), (1024, 20), (1300, 20)]
)
def test_images_that_fill_no_last_batch_are_left_out(
    rows: int, updates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = _count_steps(monkeypatch)
    _fit(rows)
    assert len(gradients) == updates


def test_each_epoch_leaves_out_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feature i is 1 for image i alone, so a gradient says which images a batch held."""
    monkeypatch.setattr(seed_recipe, "BATCH_SIZE", 4)
    gradients = _count_steps(monkeypatch)
    labels = np.array([0, 1, 0, 1, 0, 1], dtype=np.int8)
    fit_seed_recipe(np.eye(6, dtype=np.float32), labels, np.eye(6, dtype=np.float32), labels)
    left_out = [frozenset(np.flatnonzero(gradient[:-1] == 0)) for gradient in gradients]
    assert [len(images) for images in left_out] == [2] * 10
    assert len(set(left_out)) > 1


def test_one_step_of_adam_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of Adam moves each parameter by the rate, against its gradient's sign."""
    x = np.array([[2.0], [-1.0]], dtype=np.float32)
    y = np.array([1, 0], dtype=np.int8)
    monkeypatch.setattr(seed_recipe, "EPOCHS", 1)
    head = fit_seed_recipe(x, y, x, y).head

    limit = np.sqrt(6.0 / 2.0)  # Glorot: one input, one output
    start = np.random.default_rng(seed_recipe._SEED).uniform(-limit, limit, 1)[0]
    errors = [1 / (1 + np.exp(-2 * start)) - 1, 1 / (1 + np.exp(start))]
    slope = (2 * errors[0] - 1 * errors[1]) / 2
    bias_slope = (errors[0] + errors[1]) / 2
    # Keras: rate·√(1-0.999)/(1-0.9) · 0.1·g / (√(0.001·g²) + 1e-7)
    for found, before, gradient in (
        (head.weights[0], start, slope),
        (head.bias, 0.0, bias_slope),
    ):
        step = 1e-3 * np.sqrt(0.001) / 0.1 * 0.1 * gradient
        step /= np.sqrt(0.001 * gradient**2) + 1e-7
        assert found == pytest.approx(before - step, abs=1e-12)
        assert before - found == pytest.approx(1e-3 * np.sign(gradient), rel=1e-3)


def test_whole_recipe_equals_a_plain_rewrite() -> None:
    x, y = _data(1200)
    rng = np.random.default_rng(seed_recipe._SEED)
    rows = [[*map(float, row), 1.0] for row in x]
    limit = np.sqrt(6.0 / 5.0)
    values = [*rng.uniform(-limit, limit, 4).tolist(), 0.0]
    mean, square, t = [0.0] * 5, [0.0] * 5, 0
    for _ in range(10):
        order = rng.permutation(1200)
        for batch in (order[:512], order[512:1024]):
            t += 1
            picked = np.array([rows[i] for i in batch])
            error = 1 / (1 + np.exp(-picked @ np.array(values))) - y[batch]
            gradient = (picked * error[:, None]).mean(axis=0)
            for k in range(5):
                mean[k] = 0.9 * mean[k] + 0.1 * gradient[k]
                square[k] = 0.999 * square[k] + 0.001 * gradient[k] ** 2
                rate = 1e-3 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
                values[k] -= rate * mean[k] / (np.sqrt(square[k]) + 1e-7)
    head = _fit(1200).head
    np.testing.assert_allclose([*head.weights, head.bias], values, atol=1e-10)


def test_training_loss_falls_and_the_last_step_is_the_heads() -> None:
    result = _fit(2000)
    losses = [step.train_loss for step in result.steps]
    assert losses == sorted(losses, reverse=True)
    x, y = _data(40, seed=1)
    scores = predict_proba(result.head, x)
    expected = -np.log(np.where(y == 1, scores, 1 - scores)).mean()
    assert result.steps[-1].validation_loss == pytest.approx(expected)
