"""Catalogue and journal tell the same, whatever happens between them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from keshikaran.errors import DamagedStoreError, StoreError
from keshikaran.store import SourceEntry, Store, check_store
from keshikaran.store.database import Database
from keshikaran.store.journal import Journal, encode
from keshikaran.store.schema import CATALOGUE_MIGRATIONS
from keshikaran.types import ImageId, Refusal
from store_support import add_rows, an_id, catalogue, fail_fsync

_A, _B = "a" * 40, "b" * 40


def _sql(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "catalogue.sqlite")) as connection, connection:
        connection.execute(statement)


def _told(folder: Path) -> list[str]:
    journal = Journal(folder / "journal.jsonl")
    return [
        str(change["kind"])
        for part in journal.transactions(journal.start())
        for change in part.changes
    ]


def _agree(folder: Path) -> bool:
    """Whether a full check finds nothing but files missing (tests here have rows only)."""
    kinds = {finding.kind for finding in check_store(folder, full=True).findings}
    return kinds <= {"missing_object"}


def _filled(folder: Path) -> None:
    """Something of every kind."""
    with Store(folder) as store:
        a, b = add_rows(store, [(_A, 1), (_B, 0)])
        store.labels.say(a, 0, who="me", why="looked")
        store.labels.say(a, None, who="me", why="no")
        store.labels.retract_claim(b, f"/synthetic/{_B}", who="me", why="moved")
        store.record_skipped("/r", [Refusal("x", "import", "corrupt", "odd")])
        store.record_skipped("/r", [Refusal("y", "import", "corrupt", "odd")])
        store.add([], [SourceEntry("/r", "x", a, None)], who="me")
        store.assign_splits([(a, "train"), (b, "test")], '{"name": "hash"}')
        store.assign_splits([(a, "validation")], '{"name": "seed"}')


def test_everything_that_happens_is_in_the_journal(tmp_path: Path) -> None:
    _filled(tmp_path)
    added = "image image source label source label"
    said = "label label label skipped skipped source found"
    sides = "split split setting unsplit split setting"
    assert _told(tmp_path) == f"{added} {said} {sides}".split()
    assert _agree(tmp_path)


def test_what_changes_nothing_is_not_in_the_journal(tmp_path: Path) -> None:
    _filled(tmp_path)
    before = (tmp_path / "journal.jsonl").read_bytes()
    with Store(tmp_path) as store:
        a, b = add_rows(store, [(_A, 1), (_B, None)])
        store.record_skipped("/r", [])
        store.record_skipped("/r", [Refusal("y", "import", "corrupt", "odd")])
        store.assign_splits([(a, "validation")], '{"name": "seed"}')
        store.known_images([b])
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_what_makes_no_sense_is_in_neither(tmp_path: Path) -> None:
    _filled(tmp_path)
    rows, told = catalogue(tmp_path), _told(tmp_path)
    with Store(tmp_path) as store, pytest.raises(StoreError, match="FOREIGN KEY"):
        store.labels.say(an_id("stranger"), 1, who="me", why="")
    assert (catalogue(tmp_path), _told(tmp_path)) == (rows, told)


_DIES = """
import os, sys
from pathlib import Path
from keshikaran.store import Store
from keshikaran.store.database import Database
original = Database._patiently
def dying(self, statement):
    if statement == "COMMIT":
        os._exit(9)
    return original(self, statement)
with Store(Path(sys.argv[1])) as store:
    Database._patiently = dying
    store.labels.say(sys.argv[2], 0, who="me", why="last words")
"""


def test_what_a_dying_process_left_in_the_journal_is_taken_over(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        (image_id,) = add_rows(store, [(_A, 1)])
    done = subprocess.run([sys.executable, "-c", _DIES, tmp_path, image_id], check=False)
    assert done.returncode == 9
    kinds = [finding.kind for finding in check_store(tmp_path).findings]
    assert "journal_ahead" in kinds
    assert len(catalogue(tmp_path)["label_events"]) == 1
    assert check_store(tmp_path, full=True).findings == check_store(tmp_path).findings
    with Store(tmp_path) as store:
        assert [image.label for image in store.labels.images()] == [0]
    assert [row[-1] for row in catalogue(tmp_path)["label_events"]] == ["", "last words"]
    assert _agree(tmp_path)


def test_an_open_store_takes_over_what_another_process_left(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        a, b = add_rows(store, [(_A, 1), (_B, 1)])
        subprocess.run([sys.executable, "-c", _DIES, tmp_path, a], check=False)
        store.labels.say(b, 0, who="me", why="")
        assert [image.label for image in store.labels.images()] == [0, 0]
    assert _agree(tmp_path)


def test_the_rest_of_a_write_that_was_cut_off_is_taken_away(tmp_path: Path) -> None:
    _filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    whole, rows = path.read_bytes(), catalogue(tmp_path)
    for rest in (b'{"crc":1', encode({"kind": "unsplit", "image_id": "x"}), b"\0" * 100 + b"\n"):
        path.write_bytes(whole + rest)
        Store(tmp_path).close()
        assert path.read_bytes() == whole
        assert catalogue(tmp_path) == rows


def test_a_failed_sync_of_the_journal_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _filled(tmp_path)
    rows, told = catalogue(tmp_path), _told(tmp_path)
    with Store(tmp_path) as store:
        with monkeypatch.context() as patch:
            fail_fsync(patch)
            with pytest.raises(StoreError, match=r"disk is full: .*journal\.jsonl"):
                store.labels.say(an_id(_A), 1, who="me", why="")
        assert (catalogue(tmp_path), _told(tmp_path)) == (rows, told)
        store.labels.say(an_id(_A), 1, who="me", why="")
    assert len(_told(tmp_path)) == len(told) + 1
    assert _agree(tmp_path)


def test_a_catalogue_without_a_journal_gets_one(tmp_path: Path) -> None:
    _filled(tmp_path)
    rows = catalogue(tmp_path)
    _sql(tmp_path, "DELETE FROM journal_position")  # as before journals were kept
    (tmp_path / "journal.jsonl").unlink()
    Store(tmp_path).close()
    assert catalogue(tmp_path) == rows
    assert _agree(tmp_path)
    (tmp_path / "catalogue.sqlite").unlink()
    Store(tmp_path).close()
    assert catalogue(tmp_path) == rows


def test_a_workspace_of_the_first_version_is_taken_along(tmp_path: Path) -> None:
    statements = (
        "INSERT INTO images VALUES ('i', 'o', 'png', 1, 1, 1, 'then')",
        "INSERT INTO sources VALUES ('/r', 'e', 'i')",
        "INSERT INTO label_events (image_id, value, kind, claim, who, why, at)"
        " VALUES ('i', 1, 'person', '', 'me', '', 'then')",
        "INSERT INTO splits VALUES ('i', 'test')",
        "INSERT INTO skipped VALUES ('/r', 'x', 'corrupt', 'odd', 'then')",
    )
    with closing(Database(tmp_path / "catalogue.sqlite", CATALOGUE_MIGRATIONS[:1])) as old:
        for statement in statements:
            old.connection.execute(statement)
    with Store(tmp_path) as store:
        assert [image.label for image in store.labels.images()] == [1]
        store.labels.say(ImageId("i"), 0, who="me", why="")
    assert _told(tmp_path) == ["image", "source", "label", "skipped", "split", "label"]
    rows = catalogue(tmp_path)
    assert _agree(tmp_path)
    (tmp_path / "catalogue.sqlite").unlink()
    Store(tmp_path).close()
    assert catalogue(tmp_path) == rows


def test_an_older_catalogue_catches_up(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        (image_id,) = add_rows(store, [(_A, 1)])
    backup = (tmp_path / "catalogue.sqlite").read_bytes()
    _filled(tmp_path)
    rows = catalogue(tmp_path)
    (tmp_path / "catalogue.sqlite").write_bytes(backup)
    with Store(tmp_path) as store:
        assert store.splits() == {image_id: "validation"}
    assert catalogue(tmp_path) == rows


def test_a_lost_catalogue_is_made_again_at_opening(tmp_path: Path) -> None:
    _filled(tmp_path)
    rows = catalogue(tmp_path)
    (tmp_path / "catalogue.sqlite").unlink()
    Store(tmp_path).close()
    assert catalogue(tmp_path) == rows


@pytest.mark.parametrize("cut", [None, 10])
def test_a_journal_that_lost_something_stops_writers_but_not_readers(
    tmp_path: Path, cut: int | None
) -> None:
    _filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    if cut is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-cut])
    with Store(tmp_path) as store:
        assert store.count_images() == 2
        with pytest.raises(DamagedStoreError, match=r"missing or shorter.*rebuild --journal"):
            store.labels.say(an_id(_A), 1, who="me", why="")
    (finding, *_) = check_store(tmp_path).findings
    assert (finding.kind, finding.subject) == ("damaged_journal", "journal.jsonl")


def test_a_journal_of_another_workspace_is_noticed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _filled(tmp_path / name)
    with Store(tmp_path / "a") as store:
        store.record_skipped("/r", [Refusal("long", "import", "corrupt", "x" * 200)])
    (tmp_path / "a" / "journal.jsonl").replace(tmp_path / "b" / "journal.jsonl")
    with pytest.raises(DamagedStoreError, match=r"not the journal of this catalogue.*fsck"):
        Store(tmp_path / "b")
    (finding, *_) = check_store(tmp_path / "b").findings
    assert finding.detail == "belongs to another catalogue"


def test_damage_behind_what_the_catalogue_knows_is_for_a_person_to_decide(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add_rows(store, [(_A, 1)])
    backup = (tmp_path / "catalogue.sqlite").read_bytes()
    known = len((tmp_path / "journal.jsonl").read_bytes())
    _filled(tmp_path)
    (tmp_path / "catalogue.sqlite").write_bytes(backup)
    data = bytearray((tmp_path / "journal.jsonl").read_bytes())
    data[known + 40] ^= 1
    (tmp_path / "journal.jsonl").write_bytes(data)
    with pytest.raises(DamagedStoreError, match=rf"damaged behind byte {known:,}.*rebuild"):
        Store(tmp_path)


def test_a_line_of_a_newer_version_is_not_passed_over(tmp_path: Path) -> None:
    _filled(tmp_path)
    journal = Journal(tmp_path / "journal.jsonl")
    *_, last = journal.transactions(journal.start())
    journal.append([{"kind": "novelty"}], last.after)
    with pytest.raises(StoreError, match=r"'novelty', from a newer version.*Update"):
        Store(tmp_path)


def test_a_full_check_finds_what_either_of_the_two_lacks(tmp_path: Path) -> None:
    _filled(tmp_path)
    _sql(tmp_path, "UPDATE splits SET split = 'test'")
    found = {
        (finding.kind, finding.detail)
        for finding in check_store(tmp_path, full=True).findings
        if finding.kind != "missing_object"
    }
    assert found == {
        ("damaged_journal", "lacks 1 of the catalogue's rows of the kind split"),
        ("damaged_catalogue", "lacks 1 rows of the kind split that the journal has"),
    }


def test_a_full_check_names_damaged_lines(tmp_path: Path) -> None:
    _filled(tmp_path)
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"value":1', b'"value":0')
    (tmp_path / "journal.jsonl").write_bytes(b"".join(lines))
    found = [
        finding.detail
        for finding in check_store(tmp_path, full=True).findings
        if finding.kind != "missing_object"
    ]
    assert found == ["lacks 1 of the catalogue's rows of the kind label", "line 5 is damaged"]


def test_a_journal_without_a_beginning_is_found_by_any_check(tmp_path: Path) -> None:
    _filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"X" + path.read_bytes()[1:])
    details = [finding.detail for finding in check_store(tmp_path).findings]
    assert any("first line cannot be read" in detail for detail in details)


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        (image_id,) = add_rows(store, [(_A, None)])
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            with Store(tmp_path) as store:
                for number in range(10):
                    store.labels.say(image_id, 1, who=name, why=str(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(catalogue(tmp_path)["label_events"]) == 40
    assert _agree(tmp_path)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM label_events",
        "UPDATE label_events SET value = 0",
        "INSERT OR REPLACE INTO label_events"
        " SELECT id, image_id, 0, kind, claim, who, why, at FROM label_events",
    ],
)
def test_label_history_cannot_be_changed(tmp_path: Path, statement: str) -> None:
    _filled(tmp_path)
    rows = catalogue(tmp_path)
    with pytest.raises(sqlite3.IntegrityError, match="label history is never"):
        _sql(tmp_path, statement)
    assert catalogue(tmp_path) == rows
