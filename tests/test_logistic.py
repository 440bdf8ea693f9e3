"""The quick way and the plain way to the weights end at the same place."""

from __future__ import annotations

import numpy as np
import pytest

from keshikaran import logistic
from keshikaran.logistic import LogisticRegression
from keshikaran.types import Float64Array, LabelArray


def _rows(count: int, dim: int) -> tuple[Float64Array, LabelArray]:
    """Columns that are anything but independent."""
    rng = np.random.default_rng(count)
    mixed = rng.normal(size=(dim, dim)) * np.logspace(0, -2, dim)[:, None]
    x = rng.normal(size=(count, dim)) @ mixed
    y = (x @ rng.normal(size=dim) + rng.logistic(size=count) > 0.5).astype(np.int8)
    return x, y


@pytest.mark.parametrize("c", [1e-4, 1e-2, 10.0])
def test_even_curvature_changes_the_way_and_not_the_end(
    c: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = _rows(600, 40)
    start = np.zeros(41)
    quick = LogisticRegression(x, y).solve(c, start, 1e-9)
    monkeypatch.setattr("keshikaran.logistic._TALL", 10**9)
    plain = LogisticRegression(x, y).solve(c, start, 1e-9)
    np.testing.assert_allclose(x @ quick[:-1] + quick[-1], x @ plain[:-1] + plain[-1], 1e-4, 1e-4)


def test_quick_way_looks_at_the_rows_much_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _rows(2_000, 80)
    looks: list[int] = []
    original = LogisticRegression._loss_and_gradient

    def counted(self: LogisticRegression, *args: float) -> tuple[float, Float64Array]:
        looks[-1] += 1
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(LogisticRegression, "_loss_and_gradient", counted)
    for tall in (4, 10**9):
        monkeypatch.setattr("keshikaran.logistic._TALL", tall)
        looks.append(0)
        LogisticRegression(x, y).solve(1.0, np.zeros(81), 1e-7)
    assert looks[0] < looks[1] / 2


def test_rows_that_do_not_count_might_as_well_not_be_there() -> None:
    x, y = _rows(600, 20)
    counted = np.random.default_rng(0).random(600) < 0.7
    start = np.zeros(21)
    found = LogisticRegression(x, y, counted).solve(0.1, start, 1e-9)
    alone = LogisticRegression(x[counted], y[counted]).solve(0.1, start, 1e-9)
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)


def test_probabilities_are_those_of_the_weights() -> None:
    x, y = _rows(300, 6)
    values = np.linspace(-1.0, 1.0, 7)
    found = LogisticRegression(x, y).probabilities(values)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(x @ values[:-1] + values[-1]))))


def test_flat_columns_and_separable_rows_do_not_break_it() -> None:
    x = np.zeros((50, 5))
    x[:25, 0] = 1.0
    y = (np.arange(50) < 25).astype(np.int8)
    found = LogisticRegression(x, y).solve(10.0, np.zeros(6), 1e-8)
    assert np.isfinite(found).all()
    assert (found[1:5] == 0.0).all()
    assert ((x @ found[:-1] + found[-1] > 0) == y).all()


def test_a_shape_that_single_precision_cannot_take_the_root_of_is_taken_in_double(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = np.linalg.cholesky

    def of_double(whole: Float64Array) -> Float64Array:
        if whole.dtype == np.float32:
            raise np.linalg.LinAlgError
        return usual(whole).astype(np.float64)

    half = np.random.default_rng(0).normal(size=(40, 40))
    curvature = half @ half.T
    single = logistic._root(curvature, 0.5)
    monkeypatch.setattr(np.linalg, "cholesky", of_double)
    double = logistic._root(curvature, 0.5)
    assert np.abs(single - double).max() < 1e-4
    penalised = curvature + np.diag([0.5] * 39 + [0.0])
    assert np.abs(double @ double.T - penalised).max() < 1e-3
