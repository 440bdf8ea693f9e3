"""Near-duplicates go to one side; what was dealt stays; training twins are set aside."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.dealing import Dealt, deal, hash_side, leaks_in
from keshikaran.store import LabelledImage, SetAside
from keshikaran.types import GroupId, ImageId, Label, Split
from store_support import an_id

_IDS = [an_id(str(number)) for number in range(400)]
_ON: dict[Split, list[ImageId]] = {"train": [], "validation": [], "test": []}
for _id in sorted(_IDS):
    _ON[hash_side(_id)].append(_id)
_NUMBERS = st.integers(0, 39)


def _images(ids: Sequence[ImageId], label: Label = 0) -> list[LabelledImage]:
    return [LabelledImage(image_id, image_id[:40], label) for image_id in ids]


def _together(*groups: Sequence[ImageId]) -> dict[ImageId, GroupId]:
    return {member: GroupId(group[0]) for group in groups for member in group}


def _connected(pairs: Sequence[tuple[int, int]]) -> dict[ImageId, GroupId]:
    """Groups that follow from pairs of numbers."""
    groups: dict[int, set[int]] = {}
    for first, second in pairs:
        if first != second:
            joined = groups.get(first, {first}) | groups.get(second, {second})
            groups.update(dict.fromkeys(joined, joined))
    return {_IDS[n]: GroupId(_IDS[max(members)]) for n, members in groups.items()}


def _dealt(
    ids: Sequence[ImageId], groups: Mapping[ImageId, GroupId], past: Dealt | None = None
) -> Dealt:
    return deal(_images(ids), groups, past or Dealt())


def test_images_without_twins_go_where_their_hash_says() -> None:
    assert _dealt(_IDS, {}).sides == {image_id: hash_side(image_id) for image_id in _IDS}


def test_a_new_group_goes_where_the_hash_of_its_smallest_id_says() -> None:
    test, train = _ON["test"][0], _ON["train"][-1]
    assert test < train
    found = _dealt([train, test], _together([train, test]))
    assert found == Dealt({train: "test", test: "test"}, [])


def test_the_smallest_id_counts_even_if_it_has_no_label() -> None:
    """So a group stays where it is when one of its labels is taken back and given again."""
    test, train = _ON["test"][0], _ON["train"][-1]
    assert _dealt([train], _together([train, test])).sides == {train: "test"}


@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_a_new_image_joins_its_twin(side: Split) -> None:
    old = _ON[side][0]
    for new in (_ON["train"][5], _ON["validation"][5], _ON["test"][5]):
        past = _dealt([old], {})
        assert _dealt([old, new], _together([old, new]), past) == Dealt({old: side, new: side}, [])


@pytest.mark.parametrize("judging", ["validation", "test"])
def test_where_groups_become_one_the_training_twins_are_set_aside(judging: Split) -> None:
    kept, first, second, new = _ON[judging][0], *_ON["train"][:2], _ON["train"][2]
    past = _dealt([kept, first, second], _together([first, second]))
    found = _dealt([kept, first, second, new], _together([first, second, kept, new]), past)
    assert found.sides == {kept: judging, new: judging}
    assert list(found.set_aside) == [
        SetAside(image_id, kept, judging) for image_id in sorted([first, second])
    ]


def test_validation_and_test_images_stay_though_they_are_twins() -> None:
    test, validation, train = _ON["test"][0], _ON["validation"][0], _ON["train"][0]
    ids = [test, validation, train]
    found = _dealt([*ids, _ON["train"][1]], _together([*ids, _ON["train"][1]]), _dealt(ids, {}))
    assert found.sides == {test: "test", validation: "validation", _ON["train"][1]: "test"}
    assert found.set_aside == [SetAside(train, test, "test")]


def test_what_was_set_aside_stays_so_as_long_as_its_twin_judges() -> None:
    test, train = _ON["test"][0], _ON["train"][0]
    groups = _together([test, train])
    aside = _dealt([test, train], groups, _dealt([test, train], {}))
    assert _dealt([test, train], groups, aside) == aside
    back = _dealt([train], groups, aside)  # the test image's label was taken back
    assert back == Dealt({train: "train"}, [])


def test_a_group_that_is_wholly_set_aside_trains_again() -> None:
    test, *train = _ON["test"][0], *_ON["train"][:3]
    groups = _together([test, *train])
    aside = _dealt([test, *train[:2]], groups, _dealt([test, *train[:2]], {}))
    assert len(aside.set_aside) == 2
    assert _dealt(train, groups, aside).sides == dict.fromkeys(train, "train")


def test_leaks_are_training_images_with_a_judging_twin() -> None:
    test, validation = _ON["test"][0], _ON["validation"][0]
    first, second, third = _ON["train"][:3]
    groups = _together([test, first], [validation, second], [third, _ON["train"][3]])
    sides = _dealt([test, validation, *_ON["train"][:4]], {}).sides
    assert leaks_in(sides, groups) == sorted([first, second])
    assert leaks_in(sides, {}) == []


@settings(max_examples=100, deadline=None)
@given(
    batches=st.lists(
        st.tuples(
            st.lists(_NUMBERS, max_size=12),
            st.lists(st.tuples(_NUMBERS, _NUMBERS), max_size=6),
        ),
        max_size=6,
    ),
    salt=st.text(max_size=3),
    balance=st.booleans(),
    rng=st.randoms(use_true_random=False),
)
def test_no_image_moves_and_nothing_leaks_whatever_arrives_when(
    batches: list[tuple[list[int], list[tuple[int, int]]]],
    salt: str,
    balance: bool,
    rng: random.Random,
) -> None:
    there: list[LabelledImage] = []
    pairs: list[tuple[int, int]] = []
    past = Dealt()
    for numbers, more in batches:
        there += [
            LabelledImage(_IDS[n], f"{n:040x}", 1 if n % 3 else 0)
            for n in dict.fromkeys(numbers)
            if _IDS[n] not in {image.image_id for image in there}
        ]
        rng.shuffle(there)
        pairs += more
        groups = _connected(pairs)
        now = deal(there, groups, past, salt=salt, balance=balance)
        aside = {item.image_id for item in now.set_aside}
        assert now.sides.keys() | aside == {image.image_id for image in there}
        assert not now.sides.keys() & aside
        assert leaks_in(now.sides, groups) == []
        for image_id, side in past.sides.items():
            if image_id in aside:
                assert side == "train"
            else:
                assert now.sides[image_id] == side
        assert {item.image_id for item in past.set_aside} <= aside
        for item in now.set_aside:
            assert now.sides[item.twin] == item.side
            assert groups[item.twin] == groups[item.image_id]
        assert now == deal(there, groups, now, salt=salt, balance=balance)
        past = now


@settings(max_examples=100, deadline=None)
@given(
    numbers=st.lists(_NUMBERS, unique=True),
    pairs=st.lists(st.tuples(_NUMBERS, _NUMBERS), max_size=20),
    balance=st.booleans(),
    rng=st.randoms(use_true_random=False),
)
def test_groups_known_from_the_start_are_dealt_alike_in_any_order(
    numbers: list[int], pairs: list[tuple[int, int]], balance: bool, rng: random.Random
) -> None:
    images = [LabelledImage(_IDS[n], f"{n:040x}", 1 if n % 2 else 0) for n in numbers]
    shuffled = rng.sample(images, len(images))
    others = [pair[::-1] for pair in rng.sample(pairs, len(pairs))]
    first = deal(images, _connected(pairs), Dealt(), balance=balance)
    assert first == deal(shuffled, _connected(others), Dealt(), balance=balance)
    assert first.set_aside == []


# Balancing whole groups


def _even(found: Dealt, images: Sequence[LabelledImage], side: Split) -> tuple[int, int]:
    sizes = Counter(image.label for image in images if found.sides[image.image_id] == side)
    return sizes[0], sizes[1]


def test_balancing_cuts_whole_groups() -> None:
    zeros, ones = _ON["test"][:3], _ON["test"][3:20]
    images = _images(zeros) + _images(ones, 1)
    found = deal(images, _together(ones[:2], ones[2:6]), Dealt(), balance=True)
    assert _even(found, images, "test") == (3, 3)
    for group in (ones[:2], ones[2:6]):
        assert len({found.sides[image_id] for image_id in group}) == 1


def test_balancing_never_cuts_what_was_dealt_before() -> None:
    zeros, ones = _ON["test"][:10], _ON["test"][10:]
    images = _images(zeros[:4]) + _images(ones[:4], 1)
    past = deal(images, {}, Dealt(), balance=True)
    assert _even(past, images, "test") == (4, 4)
    more = images + _images(zeros[4:6]) + _images(ones[4:9], 1)
    found = deal(more, {}, past, balance=True)
    assert _even(found, more, "test") == (6, 6)
    assert past.sides.items() <= found.sides.items()


def test_balancing_makes_up_for_twins_that_had_to_join() -> None:
    zeros, ones = _ON["test"][:10], _ON["test"][10:]
    images = _images(zeros[:2]) + _images(ones[:2], 1)
    past = deal(images, {}, Dealt(), balance=True)
    joined = _images([_ON["train"][0], _ON["train"][1]], 1)
    groups = _together([ones[0], *(image.image_id for image in joined)])
    more = images + joined + _images(zeros[2:9]) + _images(ones[2:3], 1)
    found = deal(more, groups, past, balance=True)
    assert _even(found, more, "test") == (5, 5)
    assert _even(deal(images + joined, groups, past, balance=True), images + joined, "test") == (
        2,
        4,
    )
