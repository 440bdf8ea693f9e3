"""A power law is found again, and goes on where it was measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keshikaran.power_law import extrapolated

_SIZES = np.array([100, 200, 400, 800])


@given(st.floats(0.0, 0.2), st.floats(0.01, 0.5), st.sampled_from([0.1, 0.5, 1.0, 1.5]))
def test_a_power_law_is_found_again(level: float, slope: float, power: float) -> None:
    ahead = np.array([800.0, 3_200.0])
    errors = (level + slope * (_SIZES / 800) ** -power)[:, None]
    found = extrapolated(_SIZES, errors, ahead)
    assert found[:, 0] == pytest.approx(level + slope * (ahead / 800) ** -power, abs=1e-6)


def test_errors_that_rise_are_no_reason_to_expect_more_of_them() -> None:
    """More labels do no harm: by luck alone heads may look worse; then the curve is level."""
    found = extrapolated(_SIZES, np.array([[0.1], [0.1], [0.12], [0.12]]), np.array([8_000.0]))
    assert 0.1 <= found[0, 0] <= 0.12


def test_no_error_is_foretold_below_zero() -> None:
    found = extrapolated(_SIZES, np.array([[0.4], [0.2], [0.05], [0.0]]), np.array([1e6]))
    assert found[0, 0] >= 0.0
