"""Groups of near-duplicates follow from pairs, and keep their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keshikaran.store import DuplicatePair, ImageRecord, Store, check_store, group_of
from keshikaran.types import GroupId, ImageId


def _id(number: int) -> ImageId:
    return ImageId(f"{number:064x}")


def _pair(first: int, second: int) -> DuplicatePair:
    return DuplicatePair(_id(first), _id(second), "none", 0.95, 0.9, 0.875, 0.97, 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as store:
        records = [ImageRecord(_id(n), f"{n:040x}", "jpeg", 1, 1, 1) for n in range(1, 9)]
        store.add(records, [], who="test")
        yield store


def _sets(store: Store) -> list[list[int]]:
    return sorted([int(i, 16) for i in ids] for ids in store.groups.members().values())


def test_pairs_make_groups(store: Store) -> None:
    assert store.groups.record([_pair(1, 2), _pair(2, 3), _pair(5, 6)]) == 3
    assert _sets(store) == [[1, 2, 3], [5, 6]]
    assert store.groups.pairs(_id(2)) == [_pair(1, 2), _pair(2, 3)]
    groups = store.groups.of_images()
    assert groups[_id(1)] == groups[_id(3)] == GroupId(_id(1))
    assert group_of(_id(4), groups) == GroupId(_id(4))


def test_the_same_pair_twice_is_one(store: Store) -> None:
    store.groups.record([_pair(1, 2)])
    assert store.groups.record([_pair(1, 2)]) == 0
    assert store.groups.pairs() == [_pair(1, 2)]


def test_a_group_keeps_its_name_as_it_grows(store: Store) -> None:
    store.groups.record([_pair(3, 4)])
    store.groups.record([_pair(1, 3)])
    store.groups.record([_pair(2, 4)])
    assert set(store.groups.of_images().values()) == {GroupId(_id(3))}
    assert _sets(store) == [[1, 2, 3, 4]]


def test_of_two_groups_that_become_one_the_larger_ones_name_stays(store: Store) -> None:
    store.groups.record([_pair(1, 2), _pair(6, 7), _pair(7, 8)])
    store.groups.record([_pair(2, 6)])
    assert set(store.groups.of_images().values()) == {GroupId(_id(6))}
    assert _sets(store) == [[1, 2, 6, 7, 8]]


def test_the_journal_knows_pairs_groups_and_what_was_set_aside(store: Store) -> None:
    from keshikaran.store import SetAside

    store.groups.record([_pair(1, 2)])
    aside = SetAside(_id(2), _id(1), "test")
    store.assign_splits([(_id(1), "test")], "{}", [aside])
    assert store.set_aside() == [aside]
    kinds = {finding.kind for finding in check_store(store.folder, full=True).findings}
    assert kinds <= {"missing_object"}
    store.assign_splits([(_id(1), "test")], "{}", [])
    assert store.set_aside() == []
