"""How common objectionable images are, with an interval that means something."""

from __future__ import annotations

import numpy as np
import pytest

from keshikaran.prevalence import estimate_prevalence
from keshikaran.types import Label


def test_share_and_wilson_interval_by_hand() -> None:
    labels: list[Label] = [1 if number < 10 else 0 for number in range(100)]
    found = estimate_prevalence(labels)
    assert found is not None
    assert (found.images, found.objectionable, found.share) == (100, 10, 0.1)
    assert found.low == pytest.approx(0.0552, abs=1e-4)
    assert found.high == pytest.approx(0.1744, abs=1e-4)


def test_none_found_does_not_mean_that_there_are_none() -> None:
    labels: list[Label] = [0] * 50
    found = estimate_prevalence(labels)
    assert found is not None
    assert found.share == 0.0
    assert found.low == 0.0
    assert 0.05 < found.high < 0.1


def test_without_labels_nothing_is_known() -> None:
    assert estimate_prevalence([]) is None


@pytest.mark.parametrize("truth", [0.02, 0.2, 0.5])
def test_interval_contains_the_truth_nineteen_times_in_twenty(truth: float) -> None:
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(400):
        labels: list[Label] = [1 if drawn else 0 for drawn in rng.random(150) < truth]
        found = estimate_prevalence(labels)
        assert found is not None
        kept += found.low <= truth <= found.high
    assert 0.92 <= kept / 400 <= 0.99
