"""Two models on the same images: differences by hand, verdicts, and who is concerned."""

from __future__ import annotations

import json
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import xlogy

from keshikaran.intervals import Estimate
from keshikaran.paired import Pair, joined, paired_means, paired_shares
from keshikaran.policy import Costs
from keshikaran.promotion import (
    Asked,
    Comparison,
    JudgedImages,
    ModelScores,
    Transition,
    compare_models,
)
from keshikaran.types import Float64Array, GroupId, ImageId, Thresholds

_CUTS = Thresholds(0.3, 0.7)


def _images(ones: int, zeros: int) -> JudgedImages:
    labels = np.r_[np.ones(ones), np.zeros(zeros)].astype(np.int8)
    names = [f"{number:04}" for number in range(ones + zeros)]
    return JudgedImages([ImageId(n) for n in names], labels, [GroupId(n) for n in names])


def _noisy(images: JudgedImages, apart: float, seed: int = 0) -> Float64Array:
    noise = np.random.default_rng(seed).normal(size=len(images.labels))
    logits = apart * (images.labels - 0.5) + noise
    return 1 / (1 + np.exp(-2 * logits))


def _compare(
    images: JudgedImages, old: Float64Array, new: Float64Array, costs: Costs | None = None
) -> Comparison:
    return compare_models(
        images,
        ModelScores("old", old, _CUTS, 0.5),
        ModelScores("new", new, _CUTS, 0.5),
        Asked(0.05, 0.01, costs),
    )


def _named(found: Comparison) -> dict[str, tuple[float | None, float | None, str]]:
    return {one.name: (one.old, one.new, one.verdict) for one in found.figures}


def test_model_is_no_better_than_itself() -> None:
    images = _images(60, 140)
    scores = _noisy(images, 2.0)
    found = _compare(images, scores, scores)
    assert (found.verdict, found.losses, found.transitions) == ("no clear difference", (), ())
    assert all(one.difference.value == 0.0 for one in found.figures)
    assert (found.images, found.positives) == (200, 60)


def test_clearly_better_model_is_called_so_and_its_reverse_is_a_loss() -> None:
    images = _images(100, 300)
    weak, strong = _noisy(images, 1.0), _noisy(images, 4.0)
    better, worse = _compare(images, weak, strong), _compare(images, strong, weak)
    assert (better.verdict, better.losses) == ("better", ())
    assert worse.verdict == "significant loss"
    assert {"roc_auc", "average_precision", "log_loss", "brier_score"} <= set(worse.losses)
    for one, other in zip(better.figures, worse.figures, strict=True):
        assert one.difference.value == pytest.approx(-(other.difference.value or 0.0))


def test_one_significant_loss_outweighs_gains() -> None:
    images = _images(100, 300)
    old = _noisy(images, 3.0)
    new = np.where((images.labels == 0) & (np.arange(400) % 8 == 0), 0.71, _noisy(images, 6.0))
    found = _compare(images, old, new)
    verdicts = {one.verdict for one in found.figures}
    assert {"better", "significant loss"} <= verdicts
    assert found.verdict == "significant loss"
    assert "false_positive_rate_at_block" in found.losses


def test_shares_at_the_cuts_by_hand() -> None:
    images = _images(4, 4)
    old = np.array([0.9, 0.5, 0.2, 0.2, 0.1, 0.1, 0.8, 0.4])
    new = np.array([0.9, 0.9, 0.5, 0.1, 0.1, 0.8, 0.8, 0.1])
    figures = _named(_compare(images, old, new))
    assert figures["recall_at_review"][:2] == (0.5, 0.75)
    assert figures["false_positive_rate_at_block"][:2] == (0.25, 0.5)
    assert "expected_cost" not in figures


def test_cost_of_an_upload_by_hand() -> None:
    images = _images(4, 4)
    old = np.array([0.9, 0.5, 0.2, 0.2, 0.1, 0.1, 0.8, 0.4])  # 2 missed, 2 reviewed, 1 wrong
    new = np.array([0.9, 0.9, 0.5, 0.1, 0.1, 0.8, 0.8, 0.1])  # 1 missed, 1 reviewed, 2 wrong
    figures = _named(_compare(images, old, new, Costs(miss=50, false_alarm=5, review=1)))
    before = 0.01 * (2 * 50 + 1) / 4 + 0.99 * (5 + 1) / 4
    after = 0.01 * (1 * 50 + 1) / 4 + 0.99 * (2 * 5) / 4
    assert figures["expected_cost"][:2] == pytest.approx((before, after))


def test_probabilities_are_compared_under_one_mix_whatever_each_model_assumes() -> None:
    images = _images(100, 100)
    usual = _noisy(images, 3.0)
    odds = usual / (1 - usual) / 99
    rare = odds / (1 + odds)
    found = compare_models(
        images,
        ModelScores("old", usual, _CUTS, 0.5),
        ModelScores("new", rare, _CUTS, 0.01),
        Asked(0.05, 0.01),
    )
    figures = _named(found)
    for name in ("log_loss", "brier_score", "roc_auc"):
        assert figures[name][0] == pytest.approx(figures[name][1])


def test_images_concerned_come_with_their_labels_the_gravest_first() -> None:
    images = _images(4, 4)
    old = np.array([0.9, 0.9, 0.2, 0.5, 0.1, 0.1, 0.8, 0.4])
    new = np.array([0.2, 0.5, 0.9, 0.5, 0.1, 0.75, 0.15, 0.5])
    found = _compare(images, old, new)
    assert [(one.image_id, one.label, one.old, one.new) for one in found.transitions] == [
        ("0000", 1, "block", "pass"),
        ("0005", 0, "pass", "block"),
        ("0001", 1, "block", "review"),
        ("0002", 1, "pass", "block"),
        ("0006", 0, "block", "pass"),
    ]
    assert [one.harm for one in found.transitions] == [2, 2, 1, 0, 0]
    assert found.moves() == {
        "block → pass": {"0": 1, "1": 1},
        "block → review": {"0": 0, "1": 1},
        "pass → block": {"0": 1, "1": 1},
    }
    raw = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert raw["moves"] == found.moves()
    assert raw["transitions"][0]["old_score"] == 0.9


@pytest.mark.parametrize(
    ("label", "old", "new", "harm"),
    [(0, "pass", "review", 1), (0, "review", "block", 2), (1, "review", "pass", 2),
     (1, "review", "block", 0), (0, "block", "review", 0)],
)  # fmt: skip
def test_harm_of_a_change(label: int, old: str, new: str, harm: int) -> None:
    assert Transition(ImageId("a"), label, old, new, 0.0, 1.0).harm == harm  # type: ignore[arg-type]


# Means of the same images


def test_four_images_that_all_went_one_way_prove_nothing_and_many_do() -> None:
    old = np.zeros(100)
    few, many = (paired_means(old, (np.arange(100) < n).astype(np.float64)) for n in (4, 12))
    assert few.difference.low < 0 < few.difference.high
    assert few.difference.value == pytest.approx(0.04)
    assert many.difference.low > 0


def test_no_change_at_all_is_not_certainty() -> None:
    found = paired_means(np.ones(50), np.ones(50)).difference
    assert found.low < found.value == 0.0 < found.high  # type: ignore[operator]


def test_copies_do_not_make_a_difference_surer() -> None:
    rng = np.random.default_rng(0)
    old, new = (rng.random((2, 100)) < 0.5).astype(np.float64)
    once = paired_means(old, new).difference
    groups = [GroupId(str(number // 4)) for number in range(400)]
    grouped = paired_means(np.repeat(old, 4), np.repeat(new, 4), groups).difference
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low, rel=0.1)


def test_difference_of_nothing_is_unknown() -> None:
    nothing = np.zeros(0)
    assert paired_means(nothing, nothing) == Pair(None, None, Estimate(None, -1.0, 1.0))
    assert joined([(2.0, paired_means(nothing, nothing))]).difference == Estimate(0.0, -2.0, 2.0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_interval_of_a_difference_holds_it_and_turns_with_the_models(
    pairs: list[tuple[bool, bool]],
) -> None:
    old, new = np.array(pairs, dtype=np.float64).T
    one, other = paired_means(old, new).difference, paired_means(new, old).difference
    assert -1.0 <= one.low <= (one.value or 0.0) <= one.high <= 1.0
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


# Shares of the same images


@pytest.mark.parametrize(("up", "down"), [(5, 1), (1, 5), (0, 4), (9, 12)])
def test_limits_of_a_difference_are_where_the_likeliest_shares_just_allow_it(
    up: int, down: int
) -> None:
    """Tango's statistic, with the likeliest share looked for among very many."""
    images = 60
    moves = np.r_[np.ones(up), -np.ones(down), np.zeros(images - up - down)]
    found = paired_shares((moves < 0).astype(np.float64), (moves > 0).astype(np.float64))
    for limit in (found.difference.low, found.difference.high):
        back = np.linspace(max(0.0, -limit), (1 - limit) / 2, 200_001)[1:-1]
        likely = xlogy(up, back + limit) + xlogy(down, back)
        likely += xlogy(images - up - down, 1 - 2 * back - limit)
        best = back[np.argmax(likely)]
        variance = images * (2 * best + limit * (1 - limit))
        assert abs(up - down - images * limit) / np.sqrt(variance) == pytest.approx(1.96, abs=2e-3)


def test_share_that_did_not_change_may_have_changed_a_little() -> None:
    found = paired_shares(np.ones(72), np.ones(72)).difference
    z = NormalDist().inv_cdf(0.975) ** 2
    assert found.value == 0.0
    assert found.low == pytest.approx(-z / (72 + z))
    assert found.high == pytest.approx(z / (72 + z))


def test_share_needs_four_images_that_all_went_one_way() -> None:
    old = np.zeros(100)
    few, some = (paired_shares(old, (np.arange(100) < n).astype(np.float64)) for n in (3, 4))
    assert few.difference.low < 0 < some.difference.low < 0.01


def test_copies_do_not_make_a_difference_of_shares_surer() -> None:
    rng = np.random.default_rng(0)
    old, new = (rng.random((2, 100)) < 0.5).astype(np.float64)
    groups = [GroupId(str(number // 4)) for number in range(400)]
    for other in (new, old):
        once = paired_shares(old, other).difference
        grouped = paired_shares(np.repeat(old, 4), np.repeat(other, 4), groups).difference
        assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high))


def test_difference_of_shares_of_nothing_is_unknown() -> None:
    nothing = np.zeros(0)
    assert paired_shares(nothing, nothing) == Pair(None, None, Estimate(None, -1.0, 1.0))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_interval_of_shares_holds_the_difference_and_turns_with_the_models(
    pairs: list[tuple[bool, bool]],
) -> None:
    old, new = np.array(pairs, dtype=np.float64).T
    one, other = paired_shares(old, new).difference, paired_shares(new, old).difference
    assert -1.0 <= one.low <= (one.value or 0.0) <= one.high <= 1.0
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)


def test_interval_of_a_difference_of_shares_covers_the_truth() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(1_000):
        draw = rng.random(80)
        old = (draw < 0.93).astype(np.float64)
        new = np.where(rng.random(80) < 0.05, 0.0, old)
        found = paired_means(old, new).difference
        covered += found.low <= -0.05 * 0.93 <= found.high
    assert 0.93 <= covered / 1_000 <= 0.98
