"""What is suggested is uncertain, spread, no copy of anything, and partly nobody's choice."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.head import Head, predict_proba
from keshikaran.suggest import Candidates, Known, in_random_order, suggest
from keshikaran.types import Float32Array, GroupId, ImageId

_NOTHING = Known(np.empty((0, 2), dtype=np.float32), [])
_HEAD = Head(np.array([4.0, 0.0]), 0.0)


def _ids(count: int) -> list[ImageId]:
    return sorted(ImageId(hashlib.sha256(str(n).encode()).hexdigest()) for n in range(count))


def _candidates(
    features: Float32Array, groups: list[str] | None = None, judging: list[int] | None = None
) -> Candidates:
    ids = _ids(len(features))
    judges = np.zeros(len(ids), dtype=bool)
    judges[judging or []] = True
    return Candidates(ids, features, [GroupId(g) for g in groups or ids], judges)


def _circle(count: int) -> Float32Array:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_uncertain_images_come_first() -> None:
    candidates = _candidates(_circle(16))
    found = suggest(candidates, _NOTHING, _HEAD, 2, random_share=0.0)
    # Half way between the classes are the top and the bottom of the circle.
    tops = {candidates.image_ids[4], candidates.image_ids[12]}
    assert {item.image_id for item in found} == tops
    assert [item.why for item in found] == ["uncertain"] * 2


def test_score_is_what_the_head_says() -> None:
    candidates = _candidates(_circle(10), judging=[1, 2, 3])
    row_of = {image_id: row for row, image_id in enumerate(candidates.image_ids)}
    found = suggest(candidates, _NOTHING, _HEAD, 5, random_share=0.4)
    for item in found:
        row = row_of[item.image_id]
        expected = predict_proba(_HEAD, candidates.features[row : row + 1])[0]
        assert item.score == pytest.approx(expected)


def test_equally_uncertain_images_are_spread() -> None:
    rng = np.random.default_rng(0)
    cluster = np.array([[0.0, 5.0]]) + rng.normal(0, 0.01, (20, 2))
    lonely = np.array([[0.3, -4.0], [-6.0, 0.3], [6.0, 0.3]])
    features = np.concatenate([cluster, lonely]).astype(np.float32)
    candidates = _candidates(features)
    found = suggest(candidates, _NOTHING, Head(np.zeros(2), 0.0), 4, random_share=0.0)
    assert set(candidates.image_ids[20:]) <= {item.image_id for item in found}


def test_copies_of_chosen_and_of_labelled_images_are_passed_over() -> None:
    directions = np.eye(6, dtype=np.float32) * 10
    features = np.concatenate([directions, directions + 0.01]).astype(np.float32)
    known = Known(directions[:2] + 0.02, [GroupId("x"), GroupId("y")])
    candidates = _candidates(features)
    found = suggest(candidates, known, Head(np.zeros(6), 0.0), 12, random_share=0.0)
    rows = [candidates.image_ids.index(item.image_id) % 6 for item in found]
    assert sorted(rows) == [2, 3, 4, 5]


@pytest.mark.parametrize("head", [None, _HEAD])
def test_one_image_of_each_group_and_none_of_a_labelled_group(head: Head | None) -> None:
    groups = [f"pair {n // 2}" for n in range(12)]
    known = Known(np.array([[100.0, 100.0]], dtype=np.float32), [GroupId("pair 0")])
    candidates = _candidates(_circle(12), groups)
    found = suggest(candidates, known, head, 12, random_share=0.0)
    named = [groups[candidates.image_ids.index(item.image_id)] for item in found]
    assert len(named) == len(set(named))
    assert found
    assert "pair 0" not in named


def test_random_ones_judge_and_the_others_teach() -> None:
    judging = list(range(0, 60, 3))
    candidates = _candidates(_circle(60) * 9, judging=judging)
    found = suggest(candidates, _NOTHING, _HEAD, 10, random_share=0.3)
    on_judging = {candidates.image_ids[row] for row in judging}
    assert [item.why for item in found] == sorted((item.why for item in found), reverse=True)
    assert sum(item.why == "random" for item in found) == 3
    for item in found:
        assert (item.why == "random") == (item.image_id in on_judging)


def test_random_ones_have_nothing_to_do_with_the_features() -> None:
    judging = list(range(40))
    rng = np.random.default_rng(1)
    chosen = []
    for _ in range(2):
        features = rng.normal(size=(40, 30)).astype(np.float32)
        candidates = _candidates(features, judging=judging)
        known = Known(np.empty((0, 30), dtype=np.float32), [])
        found = suggest(candidates, known, Head(rng.normal(size=30), 0.0), 10, random_share=1.0)
        chosen.append([item.image_id for item in found])
    assert chosen[0] == chosen[1]
    order = in_random_order(candidates.image_ids, np.arange(40))
    assert chosen[0] == [candidates.image_ids[row] for row in order[:10]]


def test_without_a_head_each_cluster_gets_its_turn() -> None:
    rng = np.random.default_rng(2)
    middles = np.eye(5) * 20
    features = np.repeat(middles, [40, 3, 3, 3, 3], axis=0) + rng.normal(0, 0.5, (52, 5))
    candidates = _candidates(features.astype(np.float32))
    known = Known(np.empty((0, 5), dtype=np.float32), [])
    found = suggest(candidates, known, None, 5, random_share=0.0)
    clusters = {
        int(np.argmax(candidates.features[candidates.image_ids.index(item.image_id)]))
        for item in found
    }
    assert clusters == {0, 1, 2, 3, 4}
    assert {(item.why, item.score) for item in found} == {("spread", None)}


def test_nothing_left_to_teach_leaves_more_to_chance() -> None:
    candidates = _candidates(_circle(6) * 5, judging=[0, 1, 2, 3, 4])
    found = suggest(candidates, _NOTHING, _HEAD, 5, random_share=0.2)
    assert sorted(item.why for item in found) == ["random"] * 4 + ["uncertain"]


def test_nothing_unlabelled_gives_nothing() -> None:
    empty = Candidates([], np.empty((0, 2), dtype=np.float32), [], np.zeros(0, dtype=bool))
    known = Known(_circle(3), [GroupId(str(n)) for n in range(3)])
    assert suggest(empty, known, _HEAD, 5) == []
    assert suggest(empty, known, None, 5) == []


def test_images_that_are_all_the_same_are_asked_for_once() -> None:
    candidates = _candidates(np.ones((30, 2), dtype=np.float32))
    assert len(suggest(candidates, _NOTHING, None, 8, random_share=0.0)) <= 8


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 30),
    wanted=st.integers(1, 12),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
    fitted=st.booleans(),
)
def test_same_images_give_the_same_list_in_any_number(
    count: int, wanted: int, share: float, seed: int, fitted: bool
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 4)).astype(np.float32)
    judging = np.flatnonzero(rng.random(count) < 0.3).tolist()
    candidates = _candidates(features, judging=judging)
    known = Known(rng.normal(size=(3, 4)).astype(np.float32), [GroupId(str(n)) for n in range(3)])
    head = Head(rng.normal(size=4), 0.0) if fitted else None
    found = suggest(candidates, known, head, wanted, share)
    ids = [item.image_id for item in found]
    assert len(ids) == len(set(ids)) <= wanted
    assert set(ids) <= set(candidates.image_ids)
    assert found == suggest(candidates, known, head, wanted, share)
