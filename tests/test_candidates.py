"""Copies are among the candidates, and candidates are few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.alignment import TURNS, Turn, turned
from keshikaran.candidates import find_candidates
from keshikaran.types import Float32Array, UInt8Array

DIM = 256


def made_up(n: int, copies: int, seed: int = 0) -> tuple[Float32Array, UInt8Array]:
    """Features in which few directions count most; the last `copies` are like the first ones."""
    rng = np.random.default_rng(seed)
    strengths = 1 / np.sqrt(np.arange(1, DIM + 1))
    mixing = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    plain = rng.normal(size=(n, DIM)) * strengths
    noise = rng.normal(size=(copies, DIM)) * strengths * 0.3
    features = np.concatenate([plain, plain[:copies] + noise]) @ mixing + 3
    sketches = rng.integers(0, 256, (n + copies, 16, 16)).astype(np.uint8)
    return features.astype(np.float32), sketches


@pytest.mark.parametrize("n", [20, 100, 500, 2000])
def test_copies_are_candidates_in_stores_of_any_size(n: int) -> None:
    copies = n // 10
    features, sketches = made_up(n, copies)
    found = find_candidates(features, sketches, np.ones(len(features), dtype=bool))
    pairs = {(one.first, one.second) for one in found}
    expected = {(number, n + number) for number in range(copies)}
    assert len(expected & pairs) >= 0.98 * copies
    assert len(pairs) <= copies + 0.2 * n
    assert all("none" in one.turns and "mirror" in one.turns for one in found)


@pytest.mark.parametrize("turn", [turn for turn in TURNS if turn not in {"none", "mirror"}])
def test_turned_copies_are_found_by_their_sketch(turn: Turn) -> None:
    features, sketches = made_up(200, 0)
    sketches[150] = turned(sketches[20], turn)
    found = find_candidates(features, sketches, np.ones(200, dtype=bool))
    (one,) = (one for one in found if (one.first, one.second) == (20, 150))
    assert any(np.array_equal(turned(sketches[150], way), sketches[20]) for way in one.turns)


def test_only_pairs_with_a_fresh_image_come_up() -> None:
    features, sketches = made_up(300, 30)
    fresh = np.zeros(330, dtype=bool)
    assert find_candidates(features, sketches, fresh) == []
    fresh[300:305] = True
    pairs = {(one.first, one.second) for one in find_candidates(features, sketches, fresh)}
    assert {(number, 300 + number) for number in range(5)} <= pairs
    assert all(second >= 300 for _, second in pairs)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.booleans(), min_size=110, max_size=110))
def test_what_came_first_does_not_matter(fresh_first: list[bool]) -> None:
    """Some images, then the others: the same candidates as all at once."""
    features, sketches = made_up(100, 10)
    sketches[50] = turned(sketches[51], "left")
    late = np.array(fresh_first)
    pairs = set()
    if not late.all():
        early = np.flatnonzero(~late)
        # The whitening is that of all images: what is there, not when it came, decides.
        pairs |= {
            (one.first, one.second)
            for one in find_candidates(features, sketches, ~late)
            if one.first in early and one.second in early
        }
    if late.any():
        pairs |= {(one.first, one.second) for one in find_candidates(features, sketches, late)}
    everything = find_candidates(features, sketches, np.ones(110, dtype=bool))
    assert pairs == {(one.first, one.second) for one in everything}


def test_a_thousand_copies_of_one_image_stay_few_pairs() -> None:
    features, sketches = made_up(400, 0)
    features[100:] = features[0]
    found = find_candidates(features, sketches, np.ones(400, dtype=bool))
    assert len(found) < 20 * 400
    linked = {one.second for one in found} | {one.first for one in found}
    assert linked >= set(range(101, 400))


def test_images_that_are_all_the_same_do_no_harm() -> None:
    features = np.ones((5, DIM), dtype=np.float32)
    sketches = np.full((5, 16, 16), 7, dtype=np.uint8)
    assert find_candidates(features, sketches, np.ones(5, dtype=bool)) == []


def test_the_size_of_a_block_does_not_change_what_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, sketches = made_up(100, 10)
    fresh = np.ones(110, dtype=bool)
    fresh[::7] = False
    whole = find_candidates(features, sketches, fresh)
    monkeypatch.setattr("keshikaran.candidates._BLOCK_ROWS", 3)
    pieces = find_candidates(features, sketches, fresh)
    assert [(one.first, one.second, one.turns) for one in pieces] == [
        (one.first, one.second, one.turns) for one in whole
    ]
    assert whole
