"""Tables that are too large to copy: fitted piece by piece, with the same outcome."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keshikaran import rows
from keshikaran.calibrate import LabelledRows, calibrate
from keshikaran.dataset import Dataset, make_dataset
from keshikaran.dealing import hash_side
from keshikaran.head import FitResult, fit_head, fit_roughly, predict_proba
from keshikaran.policy import Policy
from keshikaran.rows import Key, Rows, StandardRows, standardised, standardised_roughly, take
from keshikaran.seed_recipe import fit_seed_recipe
from keshikaran.types import Float32Array, GroupId, ImageId, Label, Split

IMAGES, COLUMNS = 5_000, 24
FEW_CELLS = 2_100 * COLUMNS


def made_up() -> Dataset:
    """5,000 images of which one mixture of features makes the label likely."""
    rng = np.random.default_rng(8)
    ids = sorted(ImageId(rng.bytes(32).hex()) for _ in range(IMAGES))
    features = np.maximum(rng.normal(0.3, 0.5, (IMAGES, COLUMNS)), 0).astype(np.float32)
    logits = features @ rng.normal(0, 1.5, COLUMNS) - 1
    drawn = rng.random(IMAGES) < 1 / (1 + np.exp(-logits))
    labels: dict[ImageId, Label] = {i: 1 if one else 0 for i, one in zip(ids, drawn, strict=True)}
    return make_dataset(ids, features, labels, {i: hash_side(i) for i in ids})


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Made up once."""
    return made_up()


@pytest.fixture
def hardly_any_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 2,100 rows be too many to copy."""
    monkeypatch.setattr(rows, "COPIED_CELLS", FEW_CELLS)
    monkeypatch.setattr(rows, "LARGE_CELLS", FEW_CELLS)


def fitted(data: Dataset) -> FitResult:
    """A head fitted on the train side."""
    return fit_head(*data.part("train"), *data.part("validation"))


@pytest.fixture(scope="module")
def usual(data: Dataset) -> FitResult:
    """The head of a table that is copied."""
    return fitted(data)


@pytest.mark.usefixtures("hardly_any_room")
def test_a_large_table_is_not_copied(data: Dataset) -> None:
    train, _ = data.part("train")
    assert isinstance(train, Rows)
    assert take(data.features, np.arange(IMAGES)) is data.features


def test_a_head_does_not_depend_on_whether_chosen_rows_are_copied(
    data: Dataset, usual: FitResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "COPIED_CELLS", FEW_CELLS)
    assert isinstance(data.part("train")[0], Rows)
    viewed = fitted(data)
    assert viewed.c == usual.c
    assert np.abs(viewed.head.weights - usual.head.weights).max() < 1e-6


@pytest.mark.usefixtures("hardly_any_room")
def test_a_head_fitted_piece_by_piece_is_the_usual_one(data: Dataset, usual: FitResult) -> None:
    large = fitted(data)
    assert large.c == usual.c
    assert np.abs(large.head.weights - usual.head.weights).max() < 1e-6
    found, wanted = (predict_proba(fit.head, data.features) for fit in (large, usual))
    assert np.abs(found - wanted).max() < 1e-7
    losses = [[step.validation_loss for step in fit.steps] for fit in (large, usual)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.usefixtures("hardly_any_room")
def test_a_head_fitted_piece_by_piece_is_the_same_each_time(data: Dataset) -> None:
    one, other = fitted(data), fitted(made_up())
    assert one.head.weights.tobytes() == other.head.weights.tobytes()
    assert one.head.bias == other.head.bias


def test_calibration_does_not_depend_on_how_rows_are_held(
    data: Dataset, usual: FitResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calibrated() -> float:
        def labelled(side: Split) -> LabelledRows:
            groups = [GroupId(data.image_ids[row]) for row in data.rows(side)]
            return LabelledRows(*data.part(side), groups)

        found = calibrate(usual, labelled("train"), labelled("validation"), Policy())
        return float(predict_proba(found.head, data.features[:1])[0])

    wanted = calibrated()
    monkeypatch.setattr(rows, "COPIED_CELLS", FEW_CELLS)
    monkeypatch.setattr(rows, "LARGE_CELLS", FEW_CELLS)
    assert calibrated() == pytest.approx(wanted, abs=1e-4)


def test_rough_fits_and_the_seeds_recipe_take_large_tables(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def heads() -> list[np.ndarray]:
        train, validation = data.part("train"), data.part("validation")
        found = [fit_roughly(*train, c=0.01), fit_seed_recipe(*train, *validation).head]
        return [predict_proba(head, data.features) for head in found]

    wanted = heads()
    monkeypatch.setattr(rows, "COPIED_CELLS", FEW_CELLS)
    monkeypatch.setattr(rows, "LARGE_CELLS", FEW_CELLS)
    for found, usual in zip(heads(), wanted, strict=True):
        assert np.abs(found - usual).max() < 1e-3


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 1000))
def test_pieces_of_large_rows_are_those_of_a_copy(count: int, step: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table: Float32Array = rng.normal(1, 2, (60, 3)).astype(np.float32)
    numbers = rng.integers(0, 60, count)
    mean, scale = rng.normal(0, 1, 3), rng.uniform(0.5, 2, 3)
    keys: list[Key] = [slice(None, None, step), rng.random(count) < 0.5, slice(count // 3, count)]
    copied = np.asarray(standardised(table[numbers], mean, scale))
    roughly = np.asarray(standardised_roughly(table[numbers], mean, scale))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "COPIED_CELLS", 9)
        patch.setattr(rows, "LARGE_CELLS", 9)
        chosen = Rows(table, numbers)
        double = StandardRows(chosen, mean, scale, np.float64)
        single = double.astype(np.float32)
        for key in keys:
            assert np.array_equal(np.asarray(chosen[key]), table[numbers][key])
            assert np.array_equal(np.asarray(double[key]), copied[key])
            assert np.allclose(np.asarray(single[key]), roughly[key], atol=1e-5)
            first = np.asarray(double[key][slice(0, 2)])
            assert np.array_equal(first, copied[key][slice(0, 2)])
