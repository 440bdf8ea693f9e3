"""Pairs that pixels leave undecided: suspected if features say so, kept together, never grouped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from duplicates_support import group, landscape, write
from keshikaran.alignment import thumbnail_of
from keshikaran.audit import Findings, find_issues, read_facts
from keshikaran.candidates import Candidate, find_candidates
from keshikaran.dealing import Dealt, deal, hash_side, kept_together
from keshikaran.ingest import import_source, scan_folder
from keshikaran.split import SplitScheme, split_images
from keshikaran.store import (
    DuplicatePair,
    LabelledImage,
    SetAside,
    Store,
    SuspectedPair,
    check_store,
    rebuild_catalogue,
)
from keshikaran.types import GroupId, ImageId, SilentProgress, Split, UInt8Array
from keshikaran.verification import Finding, Thumbnails, verified
from store_support import add_rows, an_id
from support import encode, quadrants

_NAMES = sorted((f"{number:040x}" for number in range(200)), key=an_id)
_ON: dict[Split, list[str]] = {"train": [], "validation": [], "test": []}
for _name in _NAMES:
    _ON[hash_side(an_id(_name))].append(_name)
_TEST, _TRAIN, _OTHER = _ON["test"][0], *_ON["train"][:2]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "w") as opened:
        yield opened


def suspected(one: ImageId, other: ImageId, spreads: float = 22.5) -> SuspectedPair:
    """A pair of which pixels say a little."""
    first, second = sorted([one, other])
    return SuspectedPair(first, second, "none", 0.85, 0.97, 0.4375, 0.5625, 2, spreads)


def untold(one: ImageId, other: ImageId) -> SuspectedPair:
    """A pair of which pixels say nothing."""
    first, second = sorted([one, other])
    return SuspectedPair(first, second, None, None, None, None, None, 2, 30.0)


# What is suspicious


def plain(seed: int) -> UInt8Array:
    """Four plain fields: nothing to compare."""
    colours = [(seed, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)]
    return np.asarray(quadrants(colours).convert("RGB").resize((160, 160)))


def looked(
    spreads: float, views: Mapping[int, UInt8Array | None], *, closely: bool = False
) -> list[Finding]:
    """What is found of the images 0 and 1, whose features are so alike."""
    thumbnails = Thumbnails(lambda numbers: [views[number] for number in numbers])
    with SilentProgress().task("compare", 1) as task:
        candidates = [Candidate(0, 1, ("none", "mirror"), spreads)]
        return list(verified(candidates, thumbnails, task, closely=closely))


def test_plain_pictures_are_suspected_where_their_features_are_very_alike() -> None:
    views = {0: plain(180), 1: plain(190)}
    assert looked(14.9, views) == []
    (found,) = looked(15.1, views)
    assert (found.is_copy, found.evidence) == (False, None)
    assert found.weight == pytest.approx(20.1)


def test_different_pictures_are_suspected_only_where_features_are_all_but_the_same() -> None:
    views = {seed: np.asarray(landscape(seed)) for seed in (0, 1)}
    assert looked(10.0, views) == []
    assert [one.is_copy for one in looked(21.0, views, closely=True)] == [False]


def test_copies_are_no_suspects_however_little_features_say() -> None:
    views = {0: np.asarray(landscape(3)), 1: np.asarray(landscape(3))}
    assert [one.is_copy for one in looked(0.0, views)] == [True]


def test_a_damaged_file_is_not_suspected() -> None:
    assert looked(40.0, {0: plain(180), 1: None}) == []


def test_candidates_say_how_alike_their_features_are() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 64)).astype(np.float32)
    features[150] = features[20] + 0.05 * features[150]
    sketches = rng.integers(0, 256, (200, 16, 16), dtype=np.uint8)
    sketches[60] = np.rot90(sketches[30])
    found = find_candidates(features, sketches, np.ones(200, dtype=bool))
    spreads = {(one.first, one.second): one.spreads for one in found}
    assert spreads[20, 150] > 6
    assert abs(spreads[30, 60]) < 6  # turned, found by its sketch alone


# A workspace


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Landscapes of every hue, and one drawing saved in two ways."""
    folder = tmp_path_factory.mktemp("drawings")
    rng = np.random.default_rng(3)
    for seed in range(14):
        tint = Image.new("RGB", (320, 240), tuple(int(n) for n in rng.integers(0, 256, 3)))
        write(folder, f"{'ab'[seed % 2]}/{seed:02d}.png", Image.blend(landscape(seed), tint, 0.3))
    drawing = quadrants([(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)])
    write(folder, "a/drawing.png", drawing)
    write(folder, "b/drawing.jpg", encode(drawing, "JPEG", quality=95))
    return folder


def fill(workspace: Path, source: Path) -> None:
    with Store(workspace) as opened:
        import_source(opened, scan_folder(source, ["a"]))


def test_a_drawing_saved_twice_is_suspected_and_not_grouped(
    tmp_path: Path, files: Path, backbone_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of sixteen images nothing stands out by twenty spreads; by less it does."""
    monkeypatch.setattr("keshikaran.verification._SUSPICIOUS", 7.0)
    fill(tmp_path, files)
    report, groups, names = group(tmp_path, backbone_file)
    ends = sorted([names["drawing.png"], names["drawing.jpg"]])
    assert not set(ends) & groups.keys()
    with Store(tmp_path) as opened:
        pairs = opened.suspected.pairs()
    (drawing,) = (pair for pair in pairs if [pair.first, pair.second] == ends)
    assert (drawing.turn, drawing.similarity) == (None, None)
    assert report.new_suspected == len(pairs) <= 3
    again, _, _ = group(tmp_path, backbone_file)
    assert again.new_suspected == 0


def test_only_the_most_suspicious_pairs_are_kept(
    tmp_path: Path, files: Path, backbone_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a large store of one kind would be all suspicion."""
    monkeypatch.setattr("keshikaran.verification._SUSPICIOUS", 0.0)
    monkeypatch.setattr("keshikaran.grouping._MOST_SUSPECTED", 1)
    fill(tmp_path / "ws", files)
    group(tmp_path / "ws", backbone_file)
    drawing = quadrants([(235, 20, 10), (10, 235, 20), (20, 10, 235), (230, 230, 10)])
    write(tmp_path / "more", "a/like.png", drawing)
    fill(tmp_path / "ws", tmp_path / "more")
    report, _, names = group(tmp_path / "ws", backbone_file)
    assert (report.candidates, report.new_suspected) == (2, 1)  # with either drawing
    with Store(tmp_path / "ws") as opened:
        pairs = opened.suspected.pairs()
    assert len(pairs) == 2
    assert sum(names["like.png"] in {pair.first, pair.second} for pair in pairs) == 1


# The store


def test_pairs_that_turn_out_to_be_copies_are_suspected_no_more(store: Store) -> None:
    a, b, c = sorted(add_rows(store, [(name, 0) for name in _NAMES[:3]]))
    assert store.suspected.record([suspected(a, b), untold(b, c)]) == 2
    assert store.suspected.record([suspected(a, b)]) == 0
    assert store.suspected.pairs() == [suspected(a, b), untold(b, c)]
    store.groups.record([DuplicatePair(a, b, "none", 1.0, 0.9, 0.9, 0.97, 2)])
    assert store.suspected.pairs() == [untold(b, c)]


def test_the_journal_brings_suspicions_back(tmp_path: Path) -> None:
    with Store(tmp_path) as opened:
        a, b, c = add_rows(opened, [(name, 0) for name in _NAMES[:3]])
        opened.suspected.record([suspected(a, b), untold(b, c)])
        before = opened.suspected.pairs()
    rebuild_catalogue(tmp_path)
    with Store(tmp_path) as opened:
        assert opened.suspected.pairs() == before
    kinds = {finding.kind for finding in check_store(tmp_path, full=True).findings}
    assert kinds <= {"missing_object"}


# The split


_PAIRS = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=30)


@settings(max_examples=60, deadline=None)
@given(_PAIRS, _PAIRS, st.integers(1, 39))
def test_no_suspect_trains_beside_what_it_may_copy_and_no_old_image_moves(
    early: list[tuple[int, int]], late: list[tuple[int, int]], old: int
) -> None:
    ids = [an_id(name) for name in _NAMES[:40]]
    images = [LabelledImage(image_id, image_id[:40], 0) for image_id in ids]

    def together(pairs: list[tuple[int, int]]) -> dict[ImageId, GroupId]:
        return kept_together({}, [suspected(ids[a], ids[b]) for a, b in pairs if a != b])

    known = [(a, b) for a, b in early if max(a, b) < old]
    past = deal(images[:old], together(known), Dealt())
    now = deal(images, together([*known, *late]), past)
    aside = {item.image_id for item in now.set_aside}
    assert all(now.sides.get(i, side) == side for i, side in past.sides.items())
    assert now.sides.keys() | aside == set(ids)
    for a, b in [*known, *late]:
        sides = {now.sides.get(ids[a]), now.sides.get(ids[b])} - {None}
        assert "train" not in sides or sides == {"train"}


def test_groups_and_suspicions_together_make_larger_groups() -> None:
    a, b, c, d, e = (an_id(name) for name in _NAMES[:5])
    groups = {a: GroupId(a), b: GroupId(a), c: GroupId(c), d: GroupId(c)}
    found = kept_together(groups, [suspected(b, c), suspected(d, e), suspected(a, e)])
    assert found.keys() == {a, b, c, d, e}
    assert len(set(found.values())) == 1
    assert kept_together(groups, []) == groups


def test_suspected_training_twins_are_set_aside_and_told(store: Store) -> None:
    test, train, other = add_rows(store, [(_TEST, 0), (_TRAIN, 0), (_OTHER, 0)])
    split_images(store)
    store.suspected.record([suspected(test, train)])
    report = split_images(store)
    assert store.splits() == {test: "test", other: "train"}
    assert store.set_aside() == [SetAside(train, test, "test")]
    assert (report.suspected, report.suspected_leaks, report.set_aside) == (2, 0, 1)
    assert (report.groups, report.near_duplicates, report.leaks) == (0, 0, 0)


def test_new_suspects_join_the_test_side_or_are_set_aside(store: Store) -> None:
    (test,) = add_rows(store, [(_TEST, 0)])
    split_images(store)
    same, contradicting = add_rows(store, [(_TRAIN, 0), (_OTHER, 1)])
    store.suspected.record([suspected(test, same), untold(test, contradicting)])
    split_images(store)
    assert store.splits() == {test: "test", same: "test"}
    assert store.set_aside() == [SetAside(contradicting, test, "test")]


def test_suspects_that_were_never_dealt_cost_no_image(store: Store) -> None:
    ids = add_rows(store, [(_TEST, 0), (_TRAIN, 1)])
    store.suspected.record([suspected(ids[0], ids[1])])
    assert split_images(store).set_aside == 0
    assert len(set(store.splits().values())) == 1


def test_without_the_guard_suspected_leaks_are_counted(store: Store) -> None:
    test, train = add_rows(store, [(_TEST, 0), (_TRAIN, 0)])
    store.suspected.record([suspected(test, train)])
    report = split_images(store, SplitScheme(guard=False))
    assert store.splits() == {test: "test", train: "train"}
    assert (report.suspected_leaks, report.leaks) == (1, 0)


# The audit


def _find(store: Store, sides: dict[ImageId, Split], *aside: SetAside) -> Findings:
    return find_issues(read_facts(store, Dealt(sides, aside)))


def test_an_audit_names_suspects_with_the_evidence(store: Store) -> None:
    a, b, c, d = add_rows(store, [(name, 0) for name in _NAMES[:4]])
    pairs = [suspected(a, b, 21.0), untold(c, d)]
    store.suspected.record(pairs)
    found = _find(store, {a: "train", b: "test", c: "train"}, SetAside(d, c, "test"))
    assert [one.evidence for one in found.suspected] == [pairs[1], pairs[0]]  # most alike first
    assert [one.leaking for one in found.suspected] == [False, True]
    dark, pale = (found.suspected[1].members, found.suspected[0].members)
    assert {(m.image_id, m.side) for m in dark} == {(a, "train"), (b, "test")}
    assert {(m.image_id, m.side, m.set_aside) for m in pale} == {
        (c, "train", False),
        (d, None, True),
    }
    assert all(len(m.places) == 1 for m in (*dark, *pale))
    assert found.clean  # a suspicion is neither a leak nor a contradiction
    assert (found.groups, found.leaks) == ((), ())


def test_thumbnails_of_drawings_have_nothing_to_compare() -> None:
    """What the tests above stand on."""
    assert thumbnail_of(plain(180)).std() > 0
