"""Splits of a workspace with near-duplicates: what the store keeps, and what the report says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from keshikaran.dealing import hash_side
from keshikaran.errors import UsageError
from keshikaran.split import (
    SplitReport,
    SplitScheme,
    plan_split,
    scheme_from_option,
    split_images,
    stored_scheme,
)
from keshikaran.store import DuplicatePair, SetAside, Store, check_store, rebuild_catalogue
from keshikaran.types import ImageId, Split
from store_support import add_rows, an_id

_NAMES = sorted((f"{number:040x}" for number in range(300)), key=an_id)
_ON: dict[Split, list[str]] = {"train": [], "validation": [], "test": []}
for _name in _NAMES:
    _ON[hash_side(an_id(_name))].append(_name)
_TEST, _VALIDATION, _TRAIN = _ON["test"][0], _ON["validation"][0], _ON["train"][0]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "w") as opened:
        yield opened


def pair_up(store: Store, *pairs: tuple[str, str]) -> None:
    """Record images, by their object ids, as copies of one photograph."""
    for names in pairs:
        first, second = sorted(map(an_id, names))
        store.groups.record([DuplicatePair(first, second, "none", 1.0, 0.9, 0.9, 0.97, 1)])


def _add(store: Store, names: Sequence[str]) -> list[ImageId]:
    return add_rows(store, [(name, 0) for name in names])


def test_training_twins_of_a_test_image_are_set_aside_and_told(store: Store) -> None:
    test, train, other = _add(store, [_TEST, _TRAIN, _ON["train"][1]])
    assert split_images(store).set_aside == 0
    pair_up(store, (_TEST, _TRAIN))
    report = split_images(store)
    assert store.splits() == {test: "test", other: "train"}
    assert store.set_aside() == [SetAside(train, test, "test")]
    assert (report.set_aside, report.leaks, report.unassigned, report.moved) == (1, 0, 0, 0)
    assert (report.groups, report.near_duplicates) == (1, 2)
    assert report.counts["train"] == {"0": 1, "1": 0}


def test_an_image_is_set_aside_only_as_long_as_its_twin_judges(store: Store) -> None:
    test, train = _add(store, [_TEST, _TRAIN])
    split_images(store)
    pair_up(store, (_TEST, _TRAIN))
    split_images(store)
    store.labels.say(test, 1, who="ada", why="other label, same side")
    assert split_images(store).set_aside == 1
    store.labels.retract_claim(
        test, "/synthetic/" + _TEST, who="ada", why="no word of anybody is left"
    )
    store.labels.say(test, None, who="ada", why="")
    assert test not in {image.image_id for image in store.labels.images()}
    report = split_images(store)
    assert (report.set_aside, store.set_aside()) == (0, [])
    assert store.splits() == {train: "train"}


def test_without_the_guard_images_go_one_by_one_and_leaks_are_counted(store: Store) -> None:
    test, train = _add(store, [_TEST, _TRAIN])
    pair_up(store, (_TEST, _TRAIN))
    guarded = split_images(store)
    assert len(set(store.splits().values())) == 1
    report = split_images(store, SplitScheme(guard=False))
    assert store.splits() == {test: "test", train: "train"}
    assert (report.leaks, report.set_aside, guarded.leaks) == (1, 0, 0)
    assert stored_scheme(store).guard is False
    assert split_images(store).leaks == 1  # it stays off until somebody asks for it
    report = split_images(store, SplitScheme())
    assert store.splits() == {test: "test"}
    assert (report.leaks, report.set_aside) == (0, 1)


@pytest.mark.parametrize("other", [SplitScheme(salt="s"), SplitScheme("seed")])
def test_another_rule_deals_everything_anew(store: Store, other: SplitScheme) -> None:
    test, train, validation = _add(store, [_TEST, _TRAIN, _VALIDATION])
    split_images(store)
    pair_up(store, (_TEST, _TRAIN))
    assert split_images(store).set_aside == 1
    report = split_images(store, other)
    assert report.set_aside == 0
    assert store.splits().keys() == {test, train, validation}
    back = split_images(store, SplitScheme())
    assert back.set_aside == 0
    assert store.splits()[test] == store.splits()[train] == hash_side(min(test, train))
    assert store.splits()[validation] == "validation"


def test_a_split_says_how_many_images_changed_sides(store: Store) -> None:
    ids = _add(store, _NAMES)
    assert split_images(store).moved == 0
    before = store.splits()
    report = split_images(store, SplitScheme(salt="s"))
    assert report.moved == sum(before[i] != store.splits()[i] for i in ids) > 0


@pytest.mark.parametrize("name", ["seed", "file"])
def test_rules_that_were_made_elsewhere_are_followed_and_their_leaks_counted(
    store: Store, tmp_path: Path, name: str
) -> None:
    names = [f"{number:038x}00" for number in range(2)] + [f"{5:038x}ff", f"{6:038x}ff"]
    for label, part in ((0, names[:1]), (1, names[1:])):
        add_rows(store, [(text, 1 if label else 0) for text in part])
    pair_up(store, (names[0], names[2]))
    file = tmp_path / "split.csv"
    sides = ("test", "test", "train", "train")
    rows = [f"{text},1,{side}" for text, side in zip(names, sides, strict=True)]
    file.write_text("\n".join(["objectId,value,type", *rows]))
    report = split_images(store, scheme_from_option("seed" if name == "seed" else str(file)))
    assert store.splits() == {an_id(t): side for t, side in zip(names, sides, strict=True)}
    assert (report.leaks, report.set_aside, report.groups) == (1, 0, 1)


def test_leaks_into_validation_count_too(store: Store, tmp_path: Path) -> None:
    _add(store, [_VALIDATION, _TRAIN])
    pair_up(store, (_VALIDATION, _TRAIN))
    assert split_images(store, SplitScheme(guard=False)).leaks == 1


@pytest.mark.parametrize("name", ["seed", "x.csv"])
def test_no_guard_is_refused_where_there_is_none(name: str) -> None:
    with pytest.raises(UsageError, match=r"--no-guard changes nothing under --scheme"):
        scheme_from_option(name, guard=False)


def test_a_workspace_of_an_older_version_keeps_its_sides_and_gets_the_guard(store: Store) -> None:
    test, train = _add(store, [_TEST, _TRAIN])
    settings = '{"balance": false, "file": "", "name": "hash", "salt": ""}'
    store.assign_splits([(test, "test"), (train, "train")], settings)
    assert stored_scheme(store) == SplitScheme()
    pair_up(store, (_TEST, _TRAIN))
    assert split_images(store).set_aside == 1
    assert store.splits() == {test: "test"}


def test_a_plan_stores_nothing(store: Store) -> None:
    _add(store, _NAMES[:20])
    plan = plan_split(store, SplitScheme(salt="s"))
    assert len(plan.dealt.sides) == 20
    assert (store.splits(), store.split_scheme()) == ({}, {})
    assert asdict(plan.report) == asdict(split_images(store, SplitScheme(salt="s")))


def test_splitting_again_writes_nothing(store: Store) -> None:
    _add(store, [_TEST, _TRAIN, _VALIDATION])
    split_images(store)
    pair_up(store, (_TEST, _TRAIN), (_VALIDATION, _TRAIN))
    report = split_images(store)
    journal = (store.folder / "journal.jsonl").read_bytes()
    assert split_images(store) == report
    assert (store.folder / "journal.jsonl").read_bytes() == journal


def test_the_journal_brings_back_what_was_set_aside(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        _add(store, [_TEST, _TRAIN])
        split_images(store)
        pair_up(store, (_TEST, _TRAIN))
        split_images(store)
        before = (store.splits(), store.set_aside(), store.groups.pairs())
    rebuild_catalogue(tmp_path)
    with Store(tmp_path) as store:
        assert (store.splits(), store.set_aside(), store.groups.pairs()) == before
        assert isinstance(split_images(store), SplitReport)
        assert (store.splits(), store.set_aside(), store.groups.pairs()) == before
    kinds = {finding.kind for finding in check_store(tmp_path, full=True).findings}
    assert kinds <= {"missing_object"}
