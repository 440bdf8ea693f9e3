"""Copies among too many images to compare all with all."""

from __future__ import annotations

import numpy as np
import pytest

from keshikaran import candidates, cells
from keshikaran.candidates import find_candidates
from keshikaran.types import Float32Array, UInt8Array

IMAGES, COLUMNS, COPIES = 1_500, 64, 40


def photographs(n: int, kinds: int = 20) -> Float32Array:
    """Features of photographs of some kinds of things."""
    rng = np.random.default_rng(4)
    things = rng.normal(0, 1, (kinds, COLUMNS))
    features = things[rng.integers(0, kinds, n)] + rng.normal(0, 1, (n, COLUMNS))
    return features.astype(np.float32)


def with_copies() -> tuple[Float32Array, UInt8Array, set[tuple[int, int]]]:
    """Features and sketches; the first images come again at the end, some of them turned."""
    rng = np.random.default_rng(5)
    features = photographs(IMAGES)
    features[-COPIES:] = features[:COPIES] + rng.normal(0, 0.15, (COPIES, COLUMNS))
    sketches = rng.integers(0, 256, (IMAGES, 16, 16), dtype=np.uint8)
    turned = IMAGES - COPIES // 2
    features[turned:] = rng.normal(0, 1.4, (COPIES // 2, COLUMNS))
    sketches[turned:] = np.rot90(sketches[COPIES // 2 : COPIES], axes=(1, 2))
    return features, sketches, {(number, IMAGES - COPIES + number) for number in range(COPIES)}


@pytest.fixture
def small_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every store be too large to compare all with all."""
    monkeypatch.setattr(candidates, "ALL_WITH_ALL", 0)
    monkeypatch.setattr(cells, "MEMBERS", 128)


def found(fresh: np.ndarray) -> set[tuple[int, int]]:
    """Pairs that are candidates."""
    features, sketches, _ = with_copies()
    return {(one.first, one.second) for one in find_candidates(features, sketches, fresh)}


@pytest.mark.usefixtures("small_cells")
def test_copies_are_found_upright_and_turned() -> None:
    assert with_copies()[2] <= found(np.ones(IMAGES, dtype=bool))


@pytest.mark.usefixtures("small_cells")
def test_only_pairs_with_a_new_image_are_looked_at() -> None:
    fresh = np.arange(IMAGES) >= IMAGES - COPIES
    pairs = found(fresh)
    assert with_copies()[2] <= pairs
    assert all(fresh[first] or fresh[second] for first, second in pairs)


def test_cells_find_nothing_that_comparing_all_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = found(np.ones(IMAGES, dtype=bool))
    monkeypatch.setattr(candidates, "ALL_WITH_ALL", 0)
    monkeypatch.setattr(cells, "MEMBERS", 10 * IMAGES)
    assert found(np.ones(IMAGES, dtype=bool)) == everything


def compared(features: Float32Array) -> int:
    """How many pairs meet."""
    drawn = cells.draw(features, cells.make_centres(features))
    return sum(len(own) * len(others) for own, others in cells.meetings(drawn, drawn))


def test_work_grows_as_the_number_of_images_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MEMBERS", 64)
    few, many = (compared(photographs(n)) / n for n in (2_000, 8_000))
    assert many < 1.5 * few
    assert many < 8_000 / 10


def test_very_many_blank_pictures_are_not_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MEMBERS", 64)
    features = photographs(4_000)
    features[1_000:] = features[0]
    features[-1] = features[-2]
    drawn = cells.draw(features, cells.make_centres(features))
    blocks = list(cells.meetings(drawn, drawn))
    assert max(len(own) * len(others) for own, others in blocks) <= (4 * 64) ** 2
    assert compared(features) < 4_000**2 / 5
    met = {(a, b) for own, others in blocks for a in own.tolist() for b in others.tolist()}
    assert all((number, number) in met for number in range(4_000))
    turned = cells.Drawn(drawn.cells.copy(), drawn.likeness.copy())
    others = list(cells.meetings(drawn, turned))
    assert max(len(own) * len(columns) for own, columns in others) <= (4 * 64) ** 2
    assert sum(len(own) * len(columns) for own, columns in others) < 4_000**2 / 5


def test_cells_are_the_same_each_time() -> None:
    one, other = (cells.make_centres(photographs(500)).directions for _ in range(2))
    assert one.tobytes() == other.tobytes()
