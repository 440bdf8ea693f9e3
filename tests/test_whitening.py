"""Whitened features: copies stand out, whatever the number of images."""

from __future__ import annotations

import numpy as np
import pytest

from keshikaran.types import Float32Array, Float64Array
from keshikaran.whitening import Index, fit_whitening


def _features(count: int, seed: int = 0, dims: int = 200) -> Float32Array:
    """Features of which most images share the most, as those of photographs of one kind."""
    rng = np.random.default_rng(seed)
    values = 5 + rng.normal(size=(count, dims)) * _strength(dims)
    return np.asarray(values, dtype=np.float32)


def _strength(dims: int) -> Float64Array:
    strength: Float64Array = 1 / np.sqrt(np.arange(1, dims + 1))
    return strength


def _noisy(features: Float32Array, amount: float) -> Float32Array:
    noise = np.random.default_rng(9).normal(size=features.shape) * _strength(features.shape[1])
    return np.asarray(features + amount * noise, dtype=np.float32)


@pytest.mark.parametrize("count", [20, 100, 500, 3000])
def test_copies_are_found_and_strangers_are_not(count: int) -> None:
    features = _features(count)
    whitening = fit_whitening(features)
    index = Index(whitening, whitening.apply(features))
    found = index.alike(_noisy(features, 0.2), 3)
    assert np.mean([number in rows for number, rows in enumerate(found)]) >= 0.95
    strangers = index.alike(_features(300, seed=1), 3)
    assert np.mean([len(rows) for rows in strangers]) <= 0.2


def test_the_most_similar_come_first_and_no_more_than_asked() -> None:
    features = _features(200)
    features[1], features[2] = _noisy(features[:1], 0.1), _noisy(features[:1], 0.3)
    whitening = fit_whitening(features)
    (found,) = Index(whitening, whitening.apply(features)).alike(features[:1], 2)
    assert found == [0, 1]


def test_a_glance_loses_nothing_that_all_components_would_find() -> None:
    features = _features(1000)
    whitening = fit_whitening(features)
    index = Index(whitening, whitening.apply(features))
    queries = _noisy(features[:100], 0.3)
    cosines = whitening.apply(queries) @ index.rows.T
    expected = [np.flatnonzero(row >= whitening.cut).tolist() for row in cosines]
    assert [sorted(rows) for rows in index.alike(queries, 1000)] == expected


@pytest.mark.parametrize("count", [1, 2])
def test_very_few_images_are_enough(count: int) -> None:
    features = _features(count)
    whitening = fit_whitening(features)
    assert np.isfinite(whitening.apply(features)).all()
    assert 0.1 <= whitening.cut <= 1.0


def test_equal_images_are_no_accident() -> None:
    features = np.ones((5, 8), dtype=np.float32)
    whitening = fit_whitening(features)
    assert Index(whitening, whitening.apply(features)).alike(features, 3) == [[]] * 5
