"""The directions along which rows spread most."""

from __future__ import annotations

import numpy as np
import pytest

from keshikaran.principal import principal_directions


@pytest.mark.parametrize(("rows", "columns"), [(300, 40), (30, 200), (5, 3), (4, 9)])
def test_they_are_those_of_the_full_decomposition(rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    table = rng.normal(size=(rows, columns)) * 0.8 ** np.arange(columns)
    table -= table.mean(axis=0)
    places, spread, directions = principal_directions(table.astype(np.float32), 6)
    left, exact, right = np.linalg.svd(table, full_matrices=False)
    count = min(6, rows, columns)
    assert spread == pytest.approx(exact[:count], rel=1e-3, abs=1e-4)
    for number in range(min(count, rows - 1)):
        assert abs(directions[number] @ right[number]) == pytest.approx(1, abs=1e-3)
        along = abs(places[:, number] @ left[:, number])
        assert along == pytest.approx(exact[number], rel=1e-2)


def test_the_same_rows_give_the_same_directions() -> None:
    table = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    one, two = (principal_directions(table, 4)[2] for _ in range(2))
    assert one.tolist() == two.tolist()
