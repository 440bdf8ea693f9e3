"""What an audit finds: leaks with their evidence, copies, contradictions, tiny slices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from keshikaran.audit import TINY, Findings, Leak, TinySlice, find_issues, read_facts
from keshikaran.auditing import (
    AS_SPLIT,
    GUARD_OFF,
    TEST_CUT,
    TRAIN_CUT,
    audit,
    compare_leaks,
)
from keshikaran.dealing import Dealt
from keshikaran.errors import NotEnoughImagesError
from keshikaran.featurize import FeatureTable
from keshikaran.ingest import import_source, scan_folder
from keshikaran.split import SplitScheme, split_images
from keshikaran.store import DuplicatePair, SetAside, Store, Workspace
from keshikaran.training import TrainingOptions
from keshikaran.types import GroupId, ImageId, Label, Split
from store_support import add_rows, an_id

_A, _B, _C, _D, _E = sorted((f"{number:040x}" for number in range(5)), key=an_id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "w") as opened:
        yield opened


def _pair(first: ImageId, second: ImageId) -> DuplicatePair:
    first, second = sorted([first, second])
    return DuplicatePair(first, second, "flip", 0.95, 0.9, 0.875, 0.97, 1)


def _find(store: Store, sides: dict[ImageId, Split], *aside: SetAside) -> Findings:
    return find_issues(read_facts(store, Dealt(sides, aside)))


def test_a_training_copy_of_a_test_image_is_a_leak_with_its_evidence(store: Store) -> None:
    a, b, c = add_rows(store, [(_A, 0), (_B, 0), (_C, 1)])
    store.groups.record([_pair(a, b)])
    found = _find(store, {a: "train", b: "test", c: "train"})
    assert found.leaks == (Leak(a, "train", b, "test", (_pair(a, b),)),)
    assert not found.clean
    assert _find(store, {a: "train", b: "train", c: "test"}).leaks == ()


def test_copies_of_copies_leak_and_the_way_is_shown(store: Store) -> None:
    a, b, c = add_rows(store, [(_A, 0), (_B, None), (_C, 0)])
    store.groups.record([_pair(a, b), _pair(b, c)])
    (leak,) = _find(store, {a: "train", c: "validation"}).leaks
    assert leak == Leak(a, "train", c, "validation", (_pair(a, b), _pair(b, c)))


def test_validation_images_with_a_test_twin_leak_too(store: Store) -> None:
    a, b, c = add_rows(store, [(_A, 0), (_B, 0), (_C, 0)])
    store.groups.record([_pair(a, b), _pair(b, c)])
    found = _find(store, {a: "train", b: "validation", c: "test"}).leaks
    assert [(leak.image_id, leak.twin, leak.twin_side) for leak in found] == [
        (a, c, "test"),
        (b, c, "test"),
    ]
    assert [len(leak.evidence) for leak in found] == [2, 1]


def test_groups_come_with_members_labels_sides_and_places(store: Store) -> None:
    a, b, c, d, e = add_rows(store, [(_A, 0), (_B, None), (_C, 1), (_D, 1), (_E, 1)])
    store.groups.record([_pair(a, b), _pair(b, c), _pair(d, e)])
    found = _find(store, {c: "test", d: "train", e: "train"}, SetAside(a, c, "test"))
    large, small = found.groups
    assert [(m.image_id, m.label, m.side, m.set_aside) for m in large.members] == [
        (a, 0, None, True),
        (b, None, None, False),
        (c, 1, "test", False),
    ]
    assert large.members[0].places == (f"/synthetic/{_A}",)
    assert (large.contradictory, small.contradictory) == (True, False)
    assert found.contradictory_groups == (large,)
    assert found.set_aside == (SetAside(a, c, "test"),)
    assert (found.leaks, found.clean, found.unsplit) == ((), False, 0)


def test_the_same_bytes_under_two_labels_are_a_contradiction(store: Store) -> None:
    add_rows(store, [(_A, 0), (_B, 1)])
    add_rows(store, [(_A, 1)], root="/elsewhere")
    found = _find(store, {an_id(_B): "train"})
    (item,) = found.contradictions
    assert item.image_id == an_id(_A)
    assert not found.clean
    assert found.images == 1


def test_labelled_images_without_a_side_are_counted(store: Store) -> None:
    a, b, _ = add_rows(store, [(_A, 0), (_B, 1), (_C, 1)])
    assert _find(store, {a: "train"}, SetAside(b, a, "test")).unsplit == 1


def test_tiny_slices_are_classes_formats_and_folders_of_the_test_set(store: Store) -> None:
    names = [f"{number:040x}" for number in range(TINY + 4)]
    ids = add_rows(store, [(name, 1) for name in names[:TINY]], root="/data/many")
    ids += add_rows(store, [(name, 0) for name in names[TINY:]], root="/data/few")
    sides: dict[ImageId, Split] = dict.fromkeys(ids, "test")
    assert _find(store, sides).tiny == (
        TinySlice("class", "acceptable", 4),
        TinySlice("folder", "few", 4),
    )
    sides[ids[-1]] = sides[ids[0]] = "train"
    assert _find(store, sides).tiny == (
        TinySlice("class", "acceptable", 3),
        TinySlice("folder", "few", 3),
        TinySlice("class", "objectionable", TINY - 1),
        TinySlice("folder", "many", TINY - 1),
    )


def test_a_class_that_is_not_tested_at_all_is_tiny(store: Store) -> None:
    (a,) = add_rows(store, [(_A, 0)])
    assert _find(store, {a: "train"}).tiny == (
        TinySlice("class", "acceptable", 0),
        TinySlice("class", "objectionable", 0),
    )


# Figures with and without the leak


def _table(count: int) -> tuple[FeatureTable, dict[ImageId, Label], dict[ImageId, Split]]:
    """Labels that features tell nothing about: what is right on test was learnt by heart."""
    ids = sorted(an_id(str(number)) for number in range(count))
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(count, 40)).astype(np.float32)
    labels: dict[ImageId, Label] = {i: 1 if rng.random() < 0.5 else 0 for i in ids}
    cycle: tuple[Split, ...] = ("train", "train", "train", "validation", "test", "test")
    sides = {image_id: cycle[number % 6] for number, image_id in enumerate(ids)}
    table = FeatureTable(ids, matrix, np.arange(count), {}, count, count, 0.0)
    return table, labels, sides


def _planted(
    table: FeatureTable, labels: dict[ImageId, Label], sides: dict[ImageId, Split]
) -> dict[ImageId, GroupId]:
    """Give every second test image the features and label of a training image."""
    row = {image_id: number for number, image_id in enumerate(table.image_ids)}
    test, train = ([i for i in table.image_ids if sides[i] == s] for s in ("test", "train"))
    groups: dict[ImageId, GroupId] = {}
    for one, other in zip(test[::2], train, strict=False):
        table.matrix[row[one]] = table.matrix[row[other]]
        labels[one] = labels[other]
        groups[one] = groups[other] = GroupId(one)
    return groups


def test_leaks_make_figures_better_and_both_ways_of_cutting_them_show_it() -> None:
    table, labels, sides = _table(300)
    groups = _planted(table, labels, sides)
    whole, judged, learnt = compare_leaks(table, labels, sides, groups)
    assert [row.name for row in (whole, judged, learnt)] == [
        AS_SPLIT,
        f"{AS_SPLIT}, {TEST_CUT}",
        f"{AS_SPLIT}, {TRAIN_CUT}",
    ]
    assert (whole.train, whole.test) == (learnt.train + 50, learnt.test) == (150, 100)
    assert (judged.train, judged.test) == (150, 50)
    assert whole.roc_auc is not None
    assert judged.roc_auc is not None
    assert learnt.roc_auc is not None
    assert whole.roc_auc > learnt.roc_auc + 0.1
    assert whole.roc_auc > judged.roc_auc + 0.1


def test_a_split_without_leaks_has_one_row() -> None:
    table, labels, sides = _table(120)
    assert [row.name for row in compare_leaks(table, labels, sides, {})] == [AS_SPLIT]


def test_a_test_set_that_leaks_altogether_leaves_nothing_to_judge() -> None:
    table, labels, sides = _table(120)
    groups = dict.fromkeys((i for i, side in sides.items() if side == "test"), GroupId("g"))
    groups[next(i for i, side in sides.items() if side == "train")] = GroupId("g")
    judged = compare_leaks(table, labels, sides, groups)[1]
    assert (judged.test, judged.roc_auc, judged.average_precision) == (0, None, None)


def test_too_few_images_are_said_so() -> None:
    table, labels, sides = _table(12)
    with pytest.raises(NotEnoughImagesError):
        compare_leaks(table, labels, sides, {})


# The whole audit


@pytest.fixture
def options(backbone_file: Path) -> TrainingOptions:
    return TrainingOptions(backbone=str(backbone_file), isolation="off")


@pytest.fixture
def workspace(tmp_path: Path, red_and_blue: Path) -> Workspace:
    place = Workspace(tmp_path / "audited")
    with Store(place.folder) as store:
        import_source(store, scan_folder(red_and_blue, ["red"]))
    return place


def _plant(store: Store) -> tuple[ImageId, ImageId]:
    """Call a training and a test image copies."""
    sides = store.splits()
    train = min(i for i, side in sides.items() if side == "train")
    test = min(i for i, side in sides.items() if side == "test")
    store.groups.record([_pair(train, test)])
    return train, test


def test_an_audit_changes_no_side(workspace: Workspace, options: TrainingOptions) -> None:
    with Store(workspace.folder) as store:
        split_images(store)
        train, test = _plant(store)
        before = store.splits()
    report = audit(workspace, options)
    assert [(leak.image_id, leak.twin) for leak in report.findings.leaks] == [(train, test)]
    names = [row.name for row in report.figures]
    assert names == [AS_SPLIT, f"{AS_SPLIT}, {TEST_CUT}", f"{AS_SPLIT}, {TRAIN_CUT}"]
    with Store(workspace.folder) as store:
        assert (store.splits(), store.set_aside()) == (before, [])


def test_with_the_guard_on_the_figures_without_it_stand_beside(
    workspace: Workspace, options: TrainingOptions
) -> None:
    with Store(workspace.folder) as store:
        split_images(store)
        train, test = _plant(store)
        split_images(store)
    report = audit(workspace, options)
    assert report.findings.leaks == ()
    assert report.findings.set_aside == (SetAside(train, test, "test"),)
    assert [row.name for row in report.figures] == [
        AS_SPLIT,
        GUARD_OFF,
        f"{GUARD_OFF}, {TEST_CUT}",
        f"{GUARD_OFF}, {TRAIN_CUT}",
    ]
    assert [row.train - report.figures[0].train for row in report.figures] == [0, 1, 1, 0]
    assert report.figures[3].roc_auc == report.figures[0].roc_auc


def test_before_any_split_the_audit_looks_at_what_it_would_be(
    workspace: Workspace, options: TrainingOptions
) -> None:
    report = audit(workspace, options)
    assert not report.stored
    assert report.findings.unsplit == 0
    with Store(workspace.folder) as store:
        assert (store.splits(), store.split_scheme()) == ({}, {})
        split_images(store, SplitScheme(guard=False))
    assert audit(workspace, options, figures=False).figures == ()


def test_where_nothing_can_be_fitted_the_audit_says_why(
    tmp_path: Path, options: TrainingOptions, red_and_blue: Path
) -> None:
    place = Workspace(tmp_path / "unlabelled")
    with Store(place.folder) as store:
        import_source(store, scan_folder(red_and_blue, []))
    report = audit(place, options)
    assert report.figures == ()
    assert report.no_figures is not None
    assert report.no_figures.startswith("There are no labelled images. Import")
