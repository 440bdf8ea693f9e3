"""Wrong labels come first, by evidence that did not learn from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.errors import NotEnoughImagesError
from keshikaran.label_doubt import LabelTable, doubt_labels, suspicious_labels
from keshikaran.out_of_fold import assign_folds, out_of_fold_scores
from keshikaran.review import Review, review_labels
from keshikaran.rows import Rows, take
from keshikaran.types import BoolArray, Float32Array, GroupId, ImageId, IntArray, LabelArray

_DIM = 8


def _ids(count: int) -> list[ImageId]:
    return [ImageId(f"{number:064x}") for number in range(count)]


def _clouds(count: int, seed: int = 0) -> tuple[Float32Array, LabelArray]:
    """Two clouds of `count` points each, label 0 and label 1 in turn, that hardly overlap."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.array([0, 1], dtype=np.int8), count)
    centres = np.where(labels[:, None] == 1, 1.0, -1.0)
    return (centres + rng.normal(0.0, 0.8, (2 * count, _DIM))).astype(np.float32), labels


def _table(
    features: Float32Array,
    labels: LabelArray,
    groups: dict[int, str] | None = None,
    unlabelled: IntArray | None = None,
) -> LabelTable:
    labelled: BoolArray = np.ones(len(labels), dtype=bool)
    if unlabelled is not None:
        labelled[unlabelled] = False
    named = [GroupId((groups or {}).get(row, f"own {row}")) for row in range(len(labels))]
    return LabelTable(features, labels, labelled, named)


def _review(table: LabelTable, settled: set[int] | None = None, top: int | None = None) -> Review:
    ids = _ids(len(table.labels))
    return review_labels(ids, table, {ids[row] for row in settled or ()}, top)


def _rows(review: Review) -> list[int]:
    return [int(item.image_id, 16) for item in review.items]


def test_flipped_labels_come_first_with_neighbours_that_say_so() -> None:
    features, right = _clouds(100)
    flipped = [3, 50, 77, 128, 199]
    labels = right.copy()
    labels[flipped] = 1 - labels[flipped]
    review = _review(_table(features, labels))
    assert set(_rows(review)[:5]) == set(flipped)
    assert len(review.items) == review.images == 200
    assert review.suspicious == 5
    for item in review.items[:5]:
        row = int(item.image_id, 16)
        assert item.reason == "doubtful"
        assert item.label == labels[row]
        assert item.suggested == right[row]
        assert item.doubt > 0.99
        assert (item.score > 0.5) == (right[row] == 1)
        assert [near.label for near in item.neighbours] == [right[row]] * 3
        cosines = [near.cosine or 0.0 for near in item.neighbours]
        assert cosines == sorted(cosines, reverse=True)


def test_a_table_too_large_to_copy_is_judged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = _clouds(100)
    labels[[3, 50, 77]] = 1 - labels[[3, 50, 77]]
    table = _table(features, labels, unlabelled=np.array([5, 9]))
    usual = doubt_labels(table)
    monkeypatch.setattr("keshikaran.rows.COPIED_CELLS", 9)
    monkeypatch.setattr("keshikaran.rows.LARGE_CELLS", 9)
    far = replace(table, features=take(features[::-1].copy(), np.arange(len(labels))[::-1]))
    assert isinstance(far.features, Rows)
    found = doubt_labels(far)
    assert found.scores == pytest.approx(usual.scores, abs=1e-3)
    assert found.doubt == pytest.approx(usual.doubt, abs=1e-3)
    rows = [[row for row, _ in near] for near in found.neighbours]
    assert rows == [[row for row, _ in near] for near in usual.neighbours]


def test_the_list_descends_by_doubt_and_can_be_cut() -> None:
    features, labels = _clouds(60, seed=1)
    whole = _review(_table(features, labels))
    doubts = [item.doubt for item in whole.items]
    assert doubts == sorted(doubts, reverse=True)
    assert _review(_table(features, labels), top=7).items == whole.items[:7]


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_every_label_that_is_not_settled_is_listed_once(data: st.DataObject) -> None:
    rows = st.integers(0, 39)
    features, labels = _clouds(20)
    labels[list(data.draw(st.sets(rows, max_size=3)))] ^= 1
    unlabelled = np.array(sorted(data.draw(st.sets(rows, max_size=3))), dtype=np.int64)
    groups = dict.fromkeys(data.draw(st.sets(rows, max_size=5)), "copies")
    settled = data.draw(st.sets(rows, max_size=5))
    review = _review(_table(features, labels, groups, unlabelled), settled)
    assert sorted(_rows(review)) == sorted(set(range(40)) - settled)
    ranks = [("same_file", "same_group", "doubtful").index(item.reason) for item in review.items]
    assert ranks == sorted(ranks)
    assert {int(item.image_id, 16) for item in review.items if item.label is None} == (
        set(unlabelled.tolist()) - settled
    )


def test_contradictions_come_before_what_is_only_doubtful() -> None:
    features, labels = _clouds(60)
    labels[10] = 1 - labels[10]  # doubtful
    features[21] = features[20]  # copies of one photograph, 0 and 1
    table = _table(features, labels, {20: "pair", 21: "pair"}, np.array([40]))
    review = _review(table)
    reasons = [item.reason for item in review.items]
    assert reasons[:4] == ["same_file", "same_group", "same_group", "doubtful"]
    both, first, second, doubtful = review.items[:4]
    assert (int(both.image_id, 16), both.label) == (40, None)
    assert both.suggested == 0
    assert both.doubt < 0.5
    # The one that other images speak against stands first; its copy is the evidence.
    assert (_rows(review)[1:3], first.label) == ([21, 20], 1)
    assert [near.image_id for near in first.neighbours[:1]] == [second.image_id]
    assert first.neighbours[0].cosine is None
    assert int(doubtful.image_id, 16) == 10


def test_copies_that_agree_are_no_contradiction_and_do_not_vouch_for_each_other() -> None:
    features, labels = _clouds(60)
    copies = range(0, 40, 2)  # twenty copies of a picture of the one cloud
    features[copies] = features[0]
    labels[copies] = 1
    table = _table(features, labels, dict.fromkeys(copies, "reposted"))
    review = _review(table)
    assert {item.reason for item in review.items} == {"doubtful"}
    assert set(_rows(review)[:20]) == set(copies)
    for item in review.items[:20]:
        assert not {int(near.image_id, 16) for near in item.neighbours} & set(copies)


def test_settled_labels_testify_and_are_not_listed() -> None:
    features, labels = _clouds(60)
    labels[10] = 1 - labels[10]
    features[21] = features[20]
    table = _table(features, labels, {20: "pair", 21: "pair"})
    review = _review(table, settled={10, 20})
    assert review.settled == 2
    assert review.suspicious == 1  # the other copy, not what was settled
    assert len(review.items) == 118
    assert not {10, 20} & set(_rows(review))
    assert review.items[0].reason == "same_group"
    assert int(review.items[0].neighbours[0].image_id, 16) == 20


def test_in_a_large_store_the_most_doubtful_are_compared_and_contradictions_always(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keshikaran.label_doubt._LEAST_ASKED", 10)
    features, labels = _clouds(100)
    labels[[3, 50]] ^= 1
    table = _table(features, labels, {120: "pair", 121: "pair"}, np.array([199]))
    doubts = doubt_labels(table, 5, [199])
    assert len(doubts.rows) in {40, 41}
    assert {3, 50, 199} <= set(doubts.rows.tolist())
    review = _review(table, top=5)
    assert set(_rows(review)) == {199, 120, 121, 3, 50}


def test_an_image_that_no_other_resembles_is_judged_by_the_head_alone() -> None:
    labels = np.tile(np.array([0, 1], dtype=np.int8), 20)
    features = np.zeros((40, _DIM), dtype=np.float32)
    features[:20, 0], features[20:, 0] = 3.0, -3.0  # two scenes, opposite to each other
    features[:, 1] = np.where(labels == 1, 1.0, -1.0)
    scenes = {row: "first scene" if row < 20 else "second scene" for row in range(40)}
    doubts = doubt_labels(_table(features, labels, scenes))
    expected = np.where(labels == 1, 1.0 - doubts.scores, doubts.scores)
    assert np.allclose(doubts.doubt, np.clip(expected, 1e-3, 1 - 1e-3))
    assert doubts.doubt.max() < 0.5


@pytest.mark.parametrize("ones", [[], [5], [5, 6]])
def test_too_few_images_of_one_label_are_refused(ones: list[int]) -> None:
    features, _ = _clouds(20)
    labels = np.zeros(40, dtype=np.int8)
    labels[ones] = 1
    table = _table(features, labels, dict.fromkeys(ones, "one photograph"))
    with pytest.raises(NotEnoughImagesError, match=r"cannot be reviewed.*Label more"):
        _review(table)


def test_confident_joint_counts_by_what_is_usual_for_each_label() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=np.int8)
    scores = np.array([0.05, 0.1, 0.1, 0.7, 0.6, 0.5, 0.65, 0.02])
    # Means of the own label's probability: 0.7625 and 0.4425. The fourth (0.7) is confidently 1,
    # the last (0.98 acceptable) confidently 0; 0.5 is usual for a 1 here.
    assert suspicious_labels(labels, scores).tolist() == [False] * 3 + [True] + [False] * 3 + [True]


def test_images_without_a_label_are_scored_and_teach_nothing() -> None:
    features, labels = _clouds(40)
    taught = np.ones(80, dtype=bool)
    taught[[6, 7]] = False
    groups = [GroupId(str(row)) for row in range(80)]
    folds = assign_folds(groups, labels)
    scores = out_of_fold_scores(features, labels, folds, 0.01, taught=taught)
    lied = labels.copy()
    lied[[6, 7]] ^= 1
    assert np.array_equal(scores, out_of_fold_scores(features, lied, folds, 0.01, taught=taught))
    assert scores[6] < 0.5 < scores[7]
    assert not np.array_equal(scores, out_of_fold_scores(features, lied, folds, 0.01))


def test_a_fold_of_images_without_labels_is_scored_by_the_others() -> None:
    features, labels = _clouds(40)
    folds = np.zeros(80, dtype=np.int64)
    folds[40:] = 1
    folds[[0, 1]] = -1
    taught = folds >= 0
    scores = out_of_fold_scores(features, labels, folds, taught=taught)
    assert scores[0] < 0.5 < scores[1]
