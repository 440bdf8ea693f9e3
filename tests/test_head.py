"""The head is the exact optimum, on raw features, the same every time."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from keshikaran.head import (
    C_GRID,
    FitResult,
    FitStep,
    Head,
    best_step,
    decision_function,
    fit_head,
    predict_proba,
)
from keshikaran.logistic import sigmoid
from keshikaran.types import Float32Array, Float64Array, LabelArray

Sides = tuple[Float32Array, LabelArray, Float32Array, LabelArray]


def _noisy(rows: int = 400, dim: int = 6, seed: int = 0) -> Sides:
    """Features of different size and place, labels that overlap; half train, half validate."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, dim))
    labels = (z @ np.linspace(2.0, -1.0, dim) + rng.logistic(size=rows) > 0.3).astype(np.int8)
    x = (z * np.logspace(-0.5, 0.5, dim) + np.linspace(-5.0, 20.0, dim)).astype(np.float32)
    half = rows // 2
    return x[:half], labels[:half], x[half:], labels[half:]


@pytest.fixture(scope="module")
def sides() -> Sides:
    return _noisy()


@pytest.fixture(scope="module")
def fitted(sides: Sides) -> FitResult:
    return fit_head(*sides)


def _scaled(sides: Sides) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Centred, and divided by the square root of the deviation (Pareto scaling)."""
    wide = sides[0].astype(np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    scale = np.sqrt(deviation * deviation.mean())
    return (wide - mean) / scale, mean, scale


def _strength(result: FitResult) -> float:
    assert result.c is not None
    return result.c


def test_gradient_of_the_penalised_loss_is_zero_at_the_solution(
    sides: Sides, fitted: FitResult
) -> None:
    z, mean, scale = _scaled(sides)
    weights = fitted.head.weights * scale
    bias = fitted.head.bias + float(mean @ fitted.head.weights)
    error = 1 / (1 + np.exp(-(z @ weights + bias))) - sides[1]
    c = _strength(fitted)
    gradient = np.append(c * (z.T @ error) + weights, c * error.sum())
    # As a share of the forces that must cancel.
    assert np.abs(gradient).max() < 1e-5 * c * np.abs(z).sum()


def test_head_equals_an_independent_optimiser(sides: Sides, fitted: FitResult) -> None:
    z, _, _ = _scaled(sides)
    signs = 2.0 * sides[1] - 1.0
    c = _strength(fitted)

    def loss(parameters: Float64Array) -> float:
        margins = signs * (z @ parameters[:-1] + parameters[-1])
        penalty = 0.5 * parameters[:-1] @ parameters[:-1]
        return float(c * np.logaddexp(0.0, -margins).sum() + penalty)

    start = np.zeros(z.shape[1] + 1)
    found = minimize(loss, start, method="Powell", options={"xtol": 1e-10, "ftol": 1e-15}).x
    expected = 1 / (1 + np.exp(-(z @ found[:-1] + found[-1])))
    np.testing.assert_allclose(predict_proba(fitted.head, sides[0]), expected, atol=1e-5)


def test_scores_on_raw_features_are_those_of_scaling_then_regression(
    sides: Sides, fitted: FitResult
) -> None:
    z, mean, scale = _scaled(sides)
    model = LogisticRegression(C=_strength(fitted), tol=1e-10, max_iter=10_000).fit(z, sides[1])
    expected = model.predict_proba((sides[2].astype(np.float64) - mean) / scale)[:, 1]
    np.testing.assert_allclose(predict_proba(fitted.head, sides[2]), expected, atol=1e-6)


@pytest.mark.parametrize("unit", [1 / 1024, 64.0])
def test_unit_of_features_does_not_matter(sides: Sides, fitted: FitResult, unit: float) -> None:
    factor = np.float32(unit)
    other = fit_head(sides[0] * factor, sides[1], sides[2] * factor, sides[3])
    assert other.c == fitted.c
    expected = predict_proba(fitted.head, sides[2])
    np.testing.assert_allclose(predict_proba(other.head, sides[2] * factor), expected, atol=1e-6)


def test_constant_features_change_no_score(sides: Sides, fitted: FitResult) -> None:
    def padded(x: Float32Array) -> Float32Array:
        still = np.tile(np.array([0.0, 0.1, -1e6], dtype=np.float32), (len(x), 1))
        return np.hstack([still, x])

    other = fit_head(padded(sides[0]), sides[1], padded(sides[2]), sides[3])
    np.testing.assert_allclose(
        predict_proba(other.head, padded(sides[2])),
        predict_proba(fitted.head, sides[2]),
        atol=1e-6,
    )
    # A feature that never changed in training says nothing about an image where it does.
    moved = padded(sides[2])
    moved[:, :3] = 7.0
    np.testing.assert_allclose(
        predict_proba(other.head, moved), predict_proba(fitted.head, sides[2]), atol=1e-5
    )


def test_regularisation_has_the_least_validation_loss_of_those_tried(
    sides: Sides, fitted: FitResult
) -> None:
    losses = [step.validation_loss for step in fitted.steps]
    assert fitted.c == fitted.steps[int(np.argmin(losses))].c
    assert [step.c for step in fitted.steps] == list(C_GRID[: len(losses)])


@pytest.mark.parametrize("seed", range(3))
def test_regularisation_chosen_is_the_best_of_the_whole_grid(seed: int) -> None:
    sides = _noisy(rows=160, seed=seed)
    z, mean, scale = _scaled(sides)
    z_validation = (sides[2].astype(np.float64) - mean) / scale
    losses = []
    for c in C_GRID:
        model = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(z, sides[1])
        right = model.predict_proba(z_validation)[np.arange(len(sides[3])), sides[3]]
        losses.append(float(-np.log(right).mean()))
    chosen = fit_head(*sides)
    assert losses[C_GRID.index(_strength(chosen))] == pytest.approx(min(losses), abs=1e-3)


def test_search_ends_when_two_weaker_settings_brought_nothing() -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(200, 40)).astype(np.float32)
    labels = rng.integers(0, 2, 200).astype(np.int8)
    result = fit_head(noise[:100], labels[:100], noise[100:], labels[100:])
    losses = [step.validation_loss for step in result.steps]
    assert len(losses) < len(C_GRID)
    assert len(losses) - 1 - int(np.argmin(losses)) == 2


def test_first_of_equally_good_settings_wins() -> None:
    steps = [FitStep(i, 1.0, 0.0, loss, 1.0, 1.0) for i, loss in enumerate([0.4, 0.2, 0.2])]
    assert best_step(steps) == 1


def test_losses_and_accuracies_of_a_step_are_those_of_its_head(sides: Sides) -> None:
    result = fit_head(*sides, grid=[0.1])
    (step,) = result.steps
    scores = predict_proba(result.head, sides[2])
    right = np.where(sides[3] == 1, scores, 1 - scores)
    assert step.validation_loss == pytest.approx(float(-np.log(right).mean()), abs=1e-4)
    assert step.validation_accuracy == pytest.approx(float((right > 0.5).mean()), abs=0.011)
    assert step.train_loss < step.validation_loss + 0.2
    assert 0.5 < step.train_accuracy <= 1.0


def test_mean_score_in_training_is_the_share_of_objectionable_images(
    sides: Sides, fitted: FitResult
) -> None:
    assert predict_proba(fitted.head, sides[0]).mean() == pytest.approx(sides[1].mean(), abs=1e-5)


def test_features_that_never_change_give_every_image_the_share_of_the_class() -> None:
    still = np.full((12, 3), 0.1, dtype=np.float32)
    labels = np.array([1, 0, 0] * 4, dtype=np.int8)
    result = fit_head(still, labels, still, labels)
    np.testing.assert_allclose(predict_proba(result.head, still), 1 / 3, atol=1e-4)


def test_same_rows_give_the_same_bytes(sides: Sides, fitted: FitResult) -> None:
    again = fit_head(*sides)
    assert again.head.weights.tobytes() == fitted.head.weights.tobytes()
    assert again.head.bias == fitted.head.bias
    assert again.steps == fitted.steps


def test_more_features_than_images_and_no_overlap_fit_without_a_warning() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 300)).astype(np.float32)
    y = np.tile(np.array([0, 1], dtype=np.int8), 30)
    x[:, :200] += 2 * y[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = fit_head(x[:40], y[:40], x[40:], y[40:])
    assert np.isfinite(result.head.weights).all()
    assert ((predict_proba(result.head, x[40:]) >= 0.5) == y[40:]).all()


def test_score_by_hand() -> None:
    head = Head(np.array([1.0, -2.0]), 0.5)
    features = np.array([[0.0, 0.0], [1.5, 1.0]], dtype=np.float32)
    assert decision_function(head, features).tolist() == [0.5, 0.0]
    assert predict_proba(head, features).tolist() == [1 / (1 + np.exp(-0.5)), 0.5]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_sigmoid_stays_in_range_rises_and_is_symmetric(values: list[float]) -> None:
    logits = np.sort(np.array(values))
    scores = sigmoid(logits)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores) >= 0).all()
    np.testing.assert_allclose(scores + sigmoid(-logits), 1.0, atol=1e-12)
