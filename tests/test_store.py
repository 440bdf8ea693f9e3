import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.errors import StoreError
from keshikaran.store import (
    Added,
    Contradiction,
    ImageRecord,
    LabelledImage,
    SourceEntry,
    Store,
    database,
)
from keshikaran.types import ImageId, Label, Refusal
from store_support import add_rows, an_id, catalogue

_A, _B, _C = (f"{letter * 40}" for letter in "abc")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "w") as opened:
        yield opened


def _says(
    store: Store, image_id: ImageId, label: Label | None, entry: str, root: str = "/pictures"
) -> int:
    return store.add([], [SourceEntry(root, entry, image_id, label)], who="test").labels


def _label(store: Store, image_id: ImageId) -> Label | None:
    labels = {image.image_id: image.label for image in store.labels.images()}
    return labels.get(image_id)


def test_an_empty_workspace_knows_nothing(store: Store) -> None:
    assert store.count_images() == 0
    assert store.known_images([]) == set()
    assert store.known_images([an_id("a")]) == set()
    assert store.extension_of([an_id("a")]) == {}
    assert store.labels.images() == []
    assert store.labels.contradictions() == []
    assert store.splits() == {}
    assert store.split_scheme() == {}
    assert store.skipped() == []


def test_what_was_recorded_is_there_after_opening_again(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        ids = add_rows(store, [(_A, 1), (_B, None)])
        store.assign_splits([(ids[0], "test")], '{"name": "seed"}')
        store.record_skipped("/pictures", [Refusal("x.jpg", "import", "corrupt", "odd")])
    with Store(tmp_path) as store:
        assert store.count_images() == 2
        assert store.labels.images() == [LabelledImage(ids[0], _A, 1)]
        assert store.splits() == {ids[0]: "test"}
        assert store.split_scheme() == {"name": "seed"}
        assert store.skipped() == [Refusal("/pictures/x.jpg", "import", "corrupt", "odd")]


def test_opening_a_workspace_writes_its_catalogue_and_nothing_else(tmp_path: Path) -> None:
    Store(tmp_path / "deep" / "w").close()
    assert [path.name for path in (tmp_path / "deep" / "w").iterdir()] == ["catalogue.sqlite"]


def test_long_lists_of_ids_are_looked_up_whole(store: Store) -> None:
    ids = add_rows(store, [(f"{number:040x}", None) for number in range(1203)])
    strangers = [an_id("stranger"), an_id("other")]
    assert store.known_images(ids + strangers) == set(ids)
    assert store.extension_of(ids + strangers) == dict.fromkeys(ids, "png")
    assert store.count_images() == 1203


def test_each_format_has_its_extension(store: Store) -> None:
    ids = [an_id("j"), an_id("t")]
    records = [ImageRecord(ids[0], _A, "jpeg", 1, 1, 1), ImageRecord(ids[1], _B, "tiff", 1, 1, 1)]
    store.add(records, [], who="test")
    assert store.extension_of(ids) == {ids[0]: "jpg", ids[1]: "tif"}


def test_images_are_found_by_the_start_of_either_id(store: Store) -> None:
    first, second = add_rows(store, [(_A, None), ("a" * 39 + "b", None)])
    assert store.find_images(first[:8]) == [first]
    assert store.find_images(_A) == [first]
    assert store.find_images("aaaaaa") == sorted([first, second])
    assert store.find_images("0" * 10) == []


def test_every_place_where_an_image_was_met_is_kept(store: Store) -> None:
    (image_id,) = add_rows(store, [(_A, 1)], root="/b")
    _says(store, image_id, 1, "x/1.png", root="/a")
    _says(store, image_id, None, "copy.png", root="/a")
    assert store.entries_of(image_id) == ["/a/copy.png", "/a/x/1.png", f"/b/{_A}"]
    assert store.entries_of(an_id("stranger")) == []


def test_recording_the_same_again_adds_no_row(store: Store, tmp_path: Path) -> None:
    add_rows(store, [(_A, 1), (_B, 0)])
    before = catalogue(tmp_path / "w")
    add_rows(store, [(_A, 1), (_B, 0)])
    assert catalogue(tmp_path / "w") == before


def test_add_says_how_many_labels_are_news(store: Store) -> None:
    (image_id,) = add_rows(store, [(_A, None)])
    assert _says(store, image_id, 1, "x.png") == 1
    assert _says(store, image_id, 1, "x.png") == 0
    assert _says(store, image_id, None, "x.png") == 0
    assert _says(store, image_id, 0, "x.png") == 1
    assert _says(store, image_id, 0, "y.png") == 1


def test_an_image_with_the_sha1_of_another_is_not_recorded(store: Store, tmp_path: Path) -> None:
    (first,) = add_rows(store, [(_A, 1)])
    before = catalogue(tmp_path / "w")
    twin, other = an_id("twin"), an_id("other")
    added = store.add(
        [
            ImageRecord(twin, _A, "png", 1, 1, 1),
            ImageRecord(other, _B, "png", 1, 1, 1),
            ImageRecord(an_id("third"), _B, "png", 1, 1, 1),  # twins in one batch
        ],
        [SourceEntry("/r", "twin.png", twin, 0), SourceEntry("/r", "third.png", an_id("third"), 0)],
        who="test",
    )
    assert added == Added(0, {twin: first, an_id("third"): other})
    after = catalogue(tmp_path / "w")
    assert store.known_images([twin, other, an_id("third")]) == {other}
    assert (after["sources"], after["label_events"]) == (before["sources"], before["label_events"])


def test_labelled_images_come_in_the_order_their_first_label_arrived(store: Store) -> None:
    a, b, c = add_rows(store, [(_A, None), (_B, None), (_C, None)])
    for image_id in (c, a, b):
        _says(store, image_id, 0, "x.png")
    _says(store, c, 1, "x.png")  # a revision does not move it
    assert store.labels.images() == [
        LabelledImage(c, _C, 1),
        LabelledImage(a, _A, 0),
        LabelledImage(b, _B, 0),
    ]


def test_what_an_entry_says_last_is_what_it_says(store: Store) -> None:
    (image_id,) = add_rows(store, [(_A, None)])
    labels: tuple[Label, ...] = (1, 0, 1, 0)
    for label in labels:
        _says(store, image_id, label, "x.png")
        assert _label(store, image_id) == label
        assert store.labels.contradictions() == []


def test_entries_that_disagree_are_a_contradiction_and_give_no_label(store: Store) -> None:
    image_id, other = add_rows(store, [(_A, None), (_B, 1)])
    _says(store, image_id, 0, "good/x.png")
    _says(store, image_id, 1, "bad/y.png")
    _says(store, image_id, 1, "bad/x.png")
    assert [image.image_id for image in store.labels.images()] == [other]
    assert store.labels.contradictions() == [
        Contradiction(
            image_id, ("/pictures/good/x.png",), ("/pictures/bad/x.png", "/pictures/bad/y.png")
        )
    ]


def test_entries_that_come_to_agree_end_the_contradiction(store: Store) -> None:
    (image_id,) = add_rows(store, [(_A, None)])
    _says(store, image_id, 0, "a.png")
    _says(store, image_id, 1, "b.png")
    _says(store, image_id, 1, "a.png")
    assert store.labels.contradictions() == []
    assert _label(store, image_id) == 1


def test_a_person_decides_a_contradiction_until_the_word_is_taken_back(store: Store) -> None:
    (image_id,) = add_rows(store, [(_A, None)])
    _says(store, image_id, 0, "a.png")
    _says(store, image_id, 1, "b.png")
    disputed = store.labels.contradictions()
    store.labels.say(image_id, 1, who="ada", why="seen it")
    assert _label(store, image_id) == 1
    assert store.labels.contradictions() == []
    store.labels.say(image_id, None, who="ada", why="")
    assert _label(store, image_id) is None
    assert store.labels.contradictions() == disputed


def test_a_persons_word_outweighs_imports_before_and_after_it(store: Store) -> None:
    (image_id,) = add_rows(store, [(_A, 0)])
    store.labels.say(image_id, 1, who="ada", why="")
    _says(store, image_id, 0, "later.png")
    assert _label(store, image_id) == 1
    store.labels.say(image_id, 0, who="bob", why="")
    assert _label(store, image_id) == 0
    store.labels.say(image_id, 1, who="ada", why="")
    store.labels.say(image_id, None, who="ada", why="")
    assert _label(store, image_id) == 0


def test_a_word_taken_back_leaves_an_unlabelled_image_unlabelled(store: Store) -> None:
    (image_id,) = add_rows(store, [(_A, None)])
    store.labels.say(image_id, None, who="ada", why="")
    assert _label(store, image_id) is None
    store.labels.say(image_id, 1, who="ada", why="")
    assert _label(store, image_id) == 1


def test_who_said_what_and_why_is_kept_word_by_word(store: Store, tmp_path: Path) -> None:
    (image_id,) = add_rows(store, [(_A, 0)])
    store.labels.say(image_id, 1, who="ada", why="a logo")
    store.labels.say(image_id, None, who="bob", why="")
    events = catalogue(tmp_path / "w")["label_events"]
    assert [(value, kind, who, why) for _, _, value, kind, _, who, why in events] == [
        (0, "import", "test", ""),
        (1, "person", "ada", "a logo"),
        (None, "person", "bob", ""),
    ]


_EVENTS = st.lists(
    st.tuples(st.sampled_from(["a.png", "b.png", "c.png", ""]), st.sampled_from([0, 1, None])),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(events=_EVENTS)
def test_labels_follow_the_rule_after_any_history(
    events: list[tuple[str, Label | None]],
) -> None:
    """The rule: the last word of a person, else what all entries agree on, else nothing."""
    claims: dict[str, Label] = {}
    word: Label | None = None
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as store:
        (image_id,) = add_rows(store, [(_A, None)])
        for entry, value in events:
            if entry:
                _says(store, image_id, value, entry)
                claims |= {} if value is None else {entry: value}
            else:
                store.labels.say(image_id, value, who="ada", why="")
                word = value
        agreed = set(claims.values())
        expected = word if word is not None else agreed.pop() if len(agreed) == 1 else None
        assert _label(store, image_id) == expected
        assert bool(store.labels.contradictions()) == (word is None and len(agreed) == 2)


def test_a_label_for_an_unknown_image_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        store.labels.say(an_id("stranger"), 1, who="ada", why="")


def test_add_records_all_or_nothing(store: Store, tmp_path: Path) -> None:
    record = ImageRecord(an_id(_A), _A, "png", 1, 1, 1)
    entries = [SourceEntry("/p", "a", an_id(_A), 1), SourceEntry("/p", "b", an_id("gone"), 1)]
    before = catalogue(tmp_path / "w")
    with pytest.raises(StoreError):
        store.add([record], entries, who="test")
    assert catalogue(tmp_path / "w") == before


def test_a_new_split_replaces_the_old_one(store: Store) -> None:
    a, b, c = add_rows(store, [(_A, 0), (_B, 1), (_C, 1)])
    store.assign_splits([(a, "train"), (b, "test")], '{"name": "hash"}')
    store.assign_splits([(b, "validation"), (c, "train")], '{"name": "seed"}')
    assert store.splits() == {b: "validation", c: "train"}
    assert store.split_scheme() == {"name": "seed"}


def test_a_split_that_fails_keeps_the_old_one(store: Store) -> None:
    (a,) = add_rows(store, [(_A, 0)])
    store.assign_splits([(a, "train")], '{"name": "hash"}')
    with pytest.raises(StoreError):
        store.assign_splits([(a, "test"), (a, "train")], '{"name": "seed"}')
    assert store.splits() == {a: "train"}
    assert store.split_scheme() == {"name": "hash"}


def test_skipped_entries_are_listed_once_with_their_latest_reason(store: Store) -> None:
    store.record_skipped("/b", [Refusal("2.png", "import", "corrupt", "first")])
    store.record_skipped("/b", [Refusal("2.png", "import", "truncated", "second")])
    store.record_skipped("/a", [Refusal("1.png", "import", "empty_file", "none")])
    assert store.skipped() == [
        Refusal("/a/1.png", "import", "empty_file", "none"),
        Refusal("/b/2.png", "import", "truncated", "second"),
    ]


def test_an_entry_that_is_imported_after_all_is_no_longer_listed_as_skipped(store: Store) -> None:
    (image_id,) = add_rows(store, [(_A, None)])
    refusals = [Refusal(name, "import", "corrupt", "") for name in ("x.png", "y.png")]
    store.record_skipped("/pictures", refusals)
    _says(store, image_id, 1, "x.png")
    assert [refusal.path for refusal in store.skipped()] == ["/pictures/y.png"]


def test_every_question_to_a_damaged_catalogue_is_answered_in_plain_words(
    store: Store, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "w" / "catalogue.sqlite")) as other:
        for table in ("images", "sources", "label_events", "splits", "skipped", "settings"):
            other.execute(f"DROP TABLE {table}")
    questions: list[Callable[[], object]] = [
        store.count_images,
        store.labels.images,
        store.labels.contradictions,
        store.splits,
        store.split_scheme,
        store.skipped,
        lambda: store.known_images([an_id("a")]),
        lambda: store.extension_of([an_id("a")]),
        lambda: store.find_images("abcdef"),
        lambda: store.entries_of(an_id("a")),
    ]
    for question in questions:
        with pytest.raises(StoreError, match=r"catalogue\.sqlite: no such table"):
            question()


def test_a_catalogue_that_another_command_is_writing_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    with (
        Store(tmp_path) as store,
        closing(sqlite3.connect(tmp_path / "catalogue.sqlite", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="in use by another process"):
            add_rows(store, [(_A, 1)])
        other.execute("ROLLBACK")
        add_rows(store, [(_A, 1)])
        assert store.count_images() == 1
