import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.dataset import Dataset, SplitCounts, check_counts, make_dataset
from keshikaran.errors import NotEnoughImagesError
from keshikaran.head import Head
from keshikaran.types import SPLITS, ImageId, Label, Split
from store_support import an_id

_Rows = Sequence[tuple[ImageId, Label, Split]]

_ROWS: _Rows = sorted(
    [
        (an_id("a"), 1, "train"),
        (an_id("b"), 0, "train"),
        (an_id("c"), 1, "train"),
        (an_id("d"), 1, "train"),
        (an_id("e"), 0, "test"),
        (an_id("f"), 1, "validation"),
    ]
)


def _make(rows: _Rows) -> Dataset:
    ids = [image_id for image_id, _, _ in rows]
    return make_dataset(
        sorted(ids),
        np.array([[int(image_id[:4], 16), 1] for image_id in sorted(ids)], dtype=np.float32),
        {image_id: label for image_id, label, _ in rows},
        {image_id: side for image_id, _, side in rows},
    )


def _counts(
    train: tuple[int, int], validation: tuple[int, int], test: tuple[int, int]
) -> SplitCounts:
    sides = zip(SPLITS, (train, validation, test), strict=True)
    return {side: {"0": zero, "1": one} for side, (zero, one) in sides}


def test_counts_are_by_side_and_label() -> None:
    assert _make(_ROWS).counts() == _counts((1, 3), (0, 1), (1, 0))


def test_every_side_is_counted_even_without_images() -> None:
    assert _make([]).counts() == _counts((0, 0), (0, 0), (0, 0))


def test_a_part_has_the_features_and_labels_of_its_images() -> None:
    data = _make(_ROWS)
    rows = [row for row in _ROWS if row[2] == "train"]
    part, labels = data.part("train")
    features = np.asarray(part)
    assert features.dtype == np.float32
    assert features[:, 0].tolist() == [int(image_id[:4], 16) for image_id, _, _ in rows]
    assert labels.dtype == np.int8
    assert labels.tolist() == [label for _, label, _ in rows]
    assert [data.image_ids[row] for row in data.rows("train")] == [row[0] for row in rows]


def test_a_part_without_images_is_empty() -> None:
    data = _make([row for row in _ROWS if row[2] == "train"])
    features, labels = data.part("test")
    assert features.shape == (0, 2)
    assert labels.shape == (0,)


def test_prevalence_is_that_of_the_images_that_train() -> None:
    assert _make(_ROWS).prevalence() == 0.75


def test_labels_and_sides_of_other_images_are_ignored() -> None:
    ids = [_ROWS[0][0]]
    data = make_dataset(
        ids,
        np.zeros((1, 2), dtype=np.float32),
        {image_id: label for image_id, label, _ in _ROWS},
        {image_id: side for image_id, _, side in _ROWS},
    )
    assert (data.image_ids, data.labels.tolist(), data.sides) == (
        ids,
        [_ROWS[0][1]],
        [_ROWS[0][2]],
    )


def test_scores_stand_beside_their_images() -> None:
    data = _make(_ROWS)
    scored = data.scored("train", Head(weights=np.array([0.0, 2.0]), bias=1.0))
    assert list(scored.image_ids) == [row[0] for row in _ROWS if row[2] == "train"]
    assert scored.y_true.tolist() == [row[1] for row in _ROWS if row[2] == "train"]
    assert scored.y_score == pytest.approx(np.full(4, 1 / (1 + np.exp(-3.0))))


def test_an_image_scores_as_its_highest_view_and_trains_by_its_first() -> None:
    ids = [an_id("a"), an_id("b"), an_id("c")]
    sides: dict[ImageId, Split] = dict.fromkeys(ids, "test")
    views = np.array([[1], [5], [2], [4], [3], [-6]], dtype=np.float32)
    labels: dict[ImageId, Label] = dict.fromkeys(ids, 1)
    data = make_dataset(sorted(ids), views, labels, sides, np.array([0, 1, 4]))
    head = Head(weights=np.array([1.0]), bias=0.0)
    assert np.asarray(data.part("test")[0]).tolist() == [[1], [5], [3]]
    highest = 1 / (1 + np.exp(-np.array([1.0, 5.0, 3.0])))
    assert data.scored("test", head).y_score == pytest.approx(highest)
    assert data.scores(head, np.array([2, 1])) == pytest.approx(highest[[2, 1]])
    assert len(data.scores(head, np.array([], dtype=np.int64))) == 0
    assert data.counts()["test"] == {"0": 0, "1": 3}


@settings(max_examples=50, deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order_of_arrival(rng: random.Random) -> None:
    shuffled = rng.sample(list(_ROWS), len(_ROWS))
    assert _make(shuffled).digest() == _make(_ROWS).digest()


def test_the_digest_changes_with_each_image_label_and_side() -> None:
    image_id, label, side = _ROWS[0]
    others: list[_Rows] = [
        _ROWS,
        _ROWS[1:],
        [*_ROWS[1:], (an_id("new"), label, side)],
        [*_ROWS[1:], (image_id, 0 if label else 1, side)],
        [*_ROWS[1:], (image_id, label, "validation" if side != "validation" else "test")],
    ]
    assert len({_make(rows).digest() for rows in others}) == len(others)


def test_the_digest_is_the_same_for_ever() -> None:
    rows: _Rows = [(ImageId("00"), 1, "train"), (ImageId("ff"), 0, "test")]
    # printf '00 1 train\nff 0 test\n' | sha256sum
    expected = "22503b6127b8071aed7c74594a2d4e5e36add39650e40c8dab29e6355d7d30a7"
    assert _make_plain(rows).digest() == expected


def _make_plain(rows: _Rows) -> Dataset:
    return Dataset(
        [row[0] for row in rows],
        np.zeros((len(rows), 1), dtype=np.float32),
        np.arange(len(rows)),
        np.array([row[1] for row in rows], dtype=np.int8),
        [row[2] for row in rows],
    )


@pytest.mark.parametrize(
    "counts",
    [
        _counts((5, 5), (1, 1), (1, 1)),
        _counts((5000, 5), (600, 1), (1, 600)),
    ],
)
def test_enough_images_pass(counts: SplitCounts) -> None:
    check_counts(counts)


def test_no_labelled_images_at_all() -> None:
    counts = _counts((0, 0), (0, 0), (0, 0))
    with pytest.raises(NotEnoughImagesError) as caught:
        check_counts(counts)
    assert str(caught.value) == (
        "There are no labelled images."
        " Import a folder of class folders and say which with --positive NAME."
    )
    with pytest.raises(NotEnoughImagesError, match=r"no labelled images\. Try --positive red"):
        check_counts(counts, "Try --positive red.")


@pytest.mark.parametrize(
    ("counts", "what", "advice"),
    [
        (
            _counts((80, 0), (10, 0), (10, 0)),
            "All 100 labelled images are acceptable.",
            "Add images that are objectionable; a classifier needs both.",
        ),
        (
            _counts((0, 7), (0, 0), (0, 1)),
            "All 8 labelled images are objectionable.",
            "Add images that are acceptable; a classifier needs both.",
        ),
    ],
)
def test_images_of_one_class_only(counts: SplitCounts, what: str, advice: str) -> None:
    with pytest.raises(NotEnoughImagesError) as caught:
        check_counts(counts)
    assert (caught.value.what, caught.value.hint) == (what, advice)
    with pytest.raises(NotEnoughImagesError) as caught:
        check_counts(counts, "Try --positive red.")
    assert (caught.value.what, caught.value.hint) == (what, "Try --positive red.")


def test_three_images() -> None:
    with pytest.raises(NotEnoughImagesError) as caught:
        check_counts(_counts((2, 1), (0, 0), (0, 0)), "Not this hint.")
    assert str(caught.value) == (
        "Too few images: 2 acceptable on the train side, at least 5 needed"
        " (2 acceptable and 1 objectionable in all)."
        " Label more: some 50 of each class make a start, 500 a good model."
    )


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (_counts((4, 9), (1, 1), (1, 1)), "4 acceptable on the train side, at least 5 needed"),
        (_counts((9, 4), (1, 1), (1, 1)), "4 objectionable on the train side, at least 5"),
        (_counts((9, 9), (0, 1), (1, 1)), "0 acceptable on the validation side, at least 1"),
        (_counts((9, 9), (1, 0), (1, 1)), "0 objectionable on the validation side"),
        (_counts((9, 9), (1, 1), (0, 1)), "0 acceptable on the test side"),
        (_counts((9, 9), (1, 1), (1, 0)), "0 objectionable on the test side"),
    ],
)
def test_each_side_needs_both_classes(counts: SplitCounts, words: str) -> None:
    with pytest.raises(NotEnoughImagesError, match=words):
        check_counts(counts)
