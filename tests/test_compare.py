"""A rival is tuned as the model was, and held against it on the same images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.compare import compare
from keshikaran.comparison import Comparison, Entrant, Ground, Scale
from keshikaran.errors import NotEnoughImagesError
from keshikaran.head import sigmoid
from keshikaran.policy import Costs, Policy
from keshikaran.types import Float64Array, GroupId, LabelArray, Thresholds


def _labels(ones: int, zeros: int) -> LabelArray:
    return np.repeat(np.array([1, 0], dtype=np.int8), [ones, zeros])


def _apart(labels: LabelArray, distance: float, seed: int = 0) -> Float64Array:
    """Scores with some standard deviations between the classes."""
    noise = np.random.default_rng(seed).normal(size=len(labels))
    return sigmoid(distance * (labels - 0.5) + noise)


def _groups(count: int) -> list[GroupId]:
    return [GroupId(str(number)) for number in range(count)]


@dataclass(frozen=True)
class _World:
    """Images, and the scores of a model whose classes lie `distance` standard deviations apart."""

    ground: Ground
    yours: Entrant

    @property
    def labels(self) -> LabelArray:
        return self.ground.test_labels

    def against(self, rival: Entrant) -> Comparison:
        return compare(self.ground, self.yours, rival)


def _world(
    ones: int = 100,
    zeros: int = 300,
    distance: float = 5.0,
    policy: Policy | None = None,
    prevalence: float = 0.25,
    groups: Sequence[GroupId] | None = None,
) -> _World:
    labels = _labels(ones, zeros)
    groups = groups or _groups(len(labels))
    ground = Ground(labels, groups, labels, groups, policy or Policy(), prevalence)
    return _World(ground, _entrant(_apart(labels, distance, 0), _apart(labels, distance, 1)))


def _entrant(
    validation: Float64Array,
    test: Float64Array,
    scale: Scale = "probability",
    notes: tuple[str, ...] = (),
) -> Entrant:
    fields = ("rival", "1.0", "MIT", "a test's score")
    return Entrant(*fields, scale, validation, test, notes)


def _against(world: _World, distance: float, seed: int = 2) -> Comparison:
    labels = world.labels
    return world.against(
        _entrant(_apart(labels, distance, seed), _apart(labels, distance, seed + 1))
    )


def test_rival_that_knows_nothing_stops_nearly_everything_to_keep_its_recall() -> None:
    found = _against(_world(), 0.0)
    assert found.better == "yours"
    assert found.rival.roc_auc.low < 0.5 < found.rival.roc_auc.high
    assert found.rival.found.value is not None
    assert found.rival.found.value > 0.9
    assert found.rival.stopped.value is not None
    assert found.rival.stopped.value > 0.85
    assert found.difference.stopped.high < -0.5
    assert found.difference.roc_auc.low > 0.4
    assert "rival finds" in found.words
    assert "yours is better" in found.words


def test_rival_that_is_better_is_said_to_be() -> None:
    found = _against(_world(distance=1.5), 6.0)
    assert found.better == "rival"
    assert "rival is better" in found.words
    assert found.difference.recall_at.high < 0


def test_rival_that_says_the_same_differs_in_nothing() -> None:
    """Whatever the model's own thresholds rest on: both are tuned on the same images."""
    world = _world()
    found = world.against(_entrant(world.yours.validation, world.yours.test))
    assert found.better == "unclear"
    assert found.rival == found.yours
    assert found.thresholds == found.your_thresholds
    gaps = asdict(found.difference).values()
    assert list(gaps) == [{"value": 0.0, "low": 0.0, "high": 0.0}] * 5
    assert "do not tell which is better" in found.words


def test_figures_are_those_of_a_count_by_hand() -> None:
    labels = _labels(2, 4)
    groups = _groups(6)
    ground = Ground(labels, groups, labels, groups, Policy(), 0.3)
    yours = np.array([0.9, 0.4, 0.8, 0.1, 0.1, 0.1])
    theirs = np.array([5.0, 1.0, 4.0, 3.0, 0.0, 0.0])
    rival = _entrant(theirs, theirs, "number")
    found = compare(ground, _entrant(yours, yours), rival)
    assert found.yours.found.value == 1.0
    assert found.yours.stopped.value == 0.25
    assert found.yours.wrongly_blocked.value == 0.25  # the best F1 under 0.3: from 0.4 up
    assert found.rival.found.value == 1.0  # 95% of 2 is both: everything from 1 up
    assert found.rival.stopped.value == 0.5
    assert found.review_from == 0.5  # halfway between 0 and 1
    assert found.block_from == 4.5  # the best F1 under 0.3: 5 alone
    assert found.rival.wrongly_blocked.value == 0.0
    assert found.difference.stopped.value == -0.25
    assert found.difference.wrongly_blocked.value == 0.25
    assert found.rival.roc_auc.value == 6 / 8
    assert found.difference.roc_auc.value == 7 / 8 - 6 / 8


@settings(deadline=None, max_examples=8)
@given(
    factor=st.floats(1e-3, 1e3),
    offset=st.floats(-100, 100),
    power=st.sampled_from([1.0, 3.0]),
    distance=st.sampled_from([-1.0, 0.0, 2.0]),
)
def test_unit_of_a_score_does_not_matter(
    factor: float, offset: float, power: float, distance: float
) -> None:
    world = _world(20, 40)
    labels = world.labels
    scores = [np.round(_apart(labels, distance, seed), 3) for seed in (2, 3)]
    moved = [factor * score**power + offset for score in scores]
    plain = world.against(_entrant(scores[0], scores[1], "number"))
    other = world.against(_entrant(moved[0], moved[1], "number"))
    assert other.rival.roc_auc == plain.rival.roc_auc
    assert other.rival.found == plain.rival.found
    assert other.rival.stopped == plain.rival.stopped
    assert other.better == plain.better


def test_demands_of_the_policy_hold_for_the_rival_too() -> None:
    policy = Policy(min_recall=0.9, max_false_positive_rate=0.02)
    found = _against(_world(100, 400, policy=policy), 3.0)
    assert [promise.status for promise in found.promises] == ["supported", "supported"]
    rate = found.rival.wrongly_blocked
    assert rate.low <= 0.02


def test_scores_become_probabilities_before_costs_are_weighed() -> None:
    """Of least cost is 1/50 and 1 - 1/5 of a probability, not of whatever number a rival gives."""
    policy = Policy(min_recall=None, costs=Costs(miss=50, false_alarm=5, review=1))
    world = _world(200, 600, policy=policy)
    labels = world.labels
    raw = [100.0 * (3.0 * labels + np.random.default_rng(s).normal(size=800)) for s in (2, 3)]
    found = world.against(_entrant(raw[0], raw[1], "number"))
    assert found.thresholds == Thresholds(0.02, 0.8)
    assert found.review_from is not None
    assert found.block_from is not None
    # odds of normal classes 3 apart, one to three: 9 (z - 1.5) / 3 = logit + log 3
    review, block = (100 * ((np.log(p / (1 - p)) + np.log(3)) / 3.0 + 1.5) for p in (0.02, 0.8))
    assert found.review_from == pytest.approx(review, abs=25)
    assert found.block_from == pytest.approx(block, abs=25)


def test_cut_above_all_scores_is_no_number() -> None:
    policy = Policy(min_recall=None, costs=Costs(miss=1, false_alarm=1000, review=0.5))
    found = _against(_world(policy=policy), 0.0)
    assert found.block_from is None
    assert found.review_from is None
    assert found.rival.wrongly_blocked.value == 0.0


def test_image_without_a_score_is_neither_found_nor_blocked() -> None:
    world = _world()
    labels = world.labels
    scores = _apart(labels, 5.0, 3)
    holes = scores.copy()
    holes[:50] = np.nan  # half of the objectionable images
    holes[100:110] = np.nan
    found = world.against(_entrant(scores, holes))
    assert found.unscored_test == 60
    assert found.unscored_validation == 0
    assert found.rival.found.value is not None
    assert found.rival.found.value <= 0.5
    assert any("60 of 400 test images" in note for note in found.notes)


def test_validation_images_without_a_score_choose_nothing() -> None:
    world = _world()
    scores = _apart(world.labels, 5.0, 3)
    holes = scores.copy()
    holes[::2] = np.nan
    found = world.against(_entrant(holes, scores))
    assert (found.tuned_on, found.unscored_validation) == (200, 200)


def test_rival_without_scores_of_one_class_cannot_be_tuned() -> None:
    world = _world()
    scores = _apart(world.labels, 5.0, 3)
    holes = scores.copy()
    holes[:100] = np.nan
    with pytest.raises(NotEnoughImagesError, match=r"300 acceptable and 0 objectionable.*lost"):
        world.against(_entrant(holes, scores, notes=("They were lost.",)))


def test_rival_whose_scores_run_the_other_way_is_pointed_out() -> None:
    found = _against(_world(), -3.0)
    assert any("the opposite" in note for note in found.notes)
    assert not any("the opposite" in note for note in _against(_world(), 3.0).notes)


def test_rival_that_always_says_the_same_has_an_area_of_a_half() -> None:
    world = _world()
    same = np.full(400, 0.4)
    found = world.against(_entrant(same, same))
    assert found.rival.roc_auc.value == 0.5
    assert found.rival.found.value == 1.0
    assert found.rival.stopped.value == 1.0


def test_certain_scores_are_ranked_below_nothing() -> None:
    world = _world()
    scores = (world.labels == 1) * 1.0
    found = world.against(_entrant(scores, scores))
    assert found.rival.roc_auc.value == 1.0
    assert found.rival.stopped.value == 0.0


def test_few_acceptable_images_are_said_to_be_too_few() -> None:
    notes = _against(_world(50, 100), 2.0).notes
    assert any("100 acceptable test images are too few" in note for note in notes)


def test_copies_are_no_independent_witnesses() -> None:
    world = _world()
    copies = [GroupId(str(number // 10)) for number in range(400)]
    # one score for all copies: the interval must widen
    scores = np.repeat(_apart(world.labels, 2.0, 5)[::10], 10)
    alone = world.against(_entrant(scores, scores)).difference.roc_auc
    together = _world(groups=copies).against(_entrant(scores, scores)).difference.roc_auc
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_comparison_is_json() -> None:
    found = _against(_world(), 1.0)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["difference"]["roc_auc"]["value"] == found.difference.roc_auc.value
    assert told["yours"]["recall_at"]["rate"] == 0.01
