import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keshikaran import similarity
from keshikaran.similarity import centred, nearest


def _rows(seed: int, count: int, dim: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def test_centred_rows_have_length_one_whatever_their_scale() -> None:
    features = _rows(1, 20) * np.float32(100)
    rows = centred(features, features.mean(axis=0))
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)


def test_a_row_that_is_the_mean_is_like_nothing() -> None:
    features = np.array([[1, 1], [3, 3], [2, 2]], dtype=np.float32)
    rows = centred(features, features.mean(axis=0))
    assert rows[2].tolist() == [0, 0]
    assert (rows @ rows.T)[0].round(5).tolist() == [1, -1, 0]


def test_centring_leaves_the_features_as_they_are() -> None:
    features = _rows(2, 5)
    before = features.copy()
    centred(features, features.mean(axis=0))
    assert np.array_equal(features, before)


@given(st.integers(0, 99), st.integers(0, 40), st.integers(0, 5), st.integers(1, 50))
def test_nearest_is_what_sorting_all_cosines_gives(
    seed: int, rows: int, queries: int, count: int
) -> None:
    # Few different values, so that many cosines are equal.
    table = np.random.default_rng(seed).integers(0, 2, (rows, 3)).astype(np.float32)
    asked = np.random.default_rng(seed + 1).integers(0, 2, (queries, 3)).astype(np.float32)
    places, cosines = nearest(table, asked, count)
    every = asked @ table.T
    order = np.argsort(-every, axis=1, kind="stable")[:, :count]
    assert np.array_equal(places, order)
    assert np.array_equal(cosines, np.take_along_axis(every, order, axis=1))


def test_many_queries_are_answered_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, queries = _rows(3, 10), _rows(4, 7)
    whole = nearest(rows, queries, 3)
    monkeypatch.setattr(similarity, "_CELLS", 25)
    parts = nearest(rows, queries, 3)
    assert np.array_equal(whole[0], parts[0])
    assert np.allclose(whole[1], parts[1])
