"""What a check of the store names, and what it leaves alone."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from keshikaran.errors import StoreError
from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import (
    ADVICE,
    FsckFinding,
    FsckReport,
    SourceEntry,
    Store,
    check_store,
    database,
)
from keshikaran.store.blobs import files_below
from keshikaran.store.findings import FindingKind
from keshikaran.types import ImageId
from store_support import Steps, deny_reading, fail_fsync, snapshot, spoil_index, stored_files
from support import write_classes


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "pictures", 5)


@pytest.fixture
def workspace(tmp_path: Path, pictures: Path) -> Path:
    with Store(tmp_path / "w") as store:
        import_source(store, scan_folder(pictures, ["red"]))
    return tmp_path / "w"


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def _kinds(report: FsckReport) -> list[str]:
    return [finding.kind for finding in report.findings]


def _sql(workspace: Path, *statements: str) -> None:
    with closing(sqlite3.connect(workspace / "catalogue.sqlite")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("full", [False, True])
def test_a_whole_store_is_clean_and_left_as_it_is(workspace: Path, full: bool) -> None:
    before = {name: facts for name, facts in snapshot(workspace).items() if "catalogue" not in name}
    steps = Steps()
    report = check_store(workspace, full=full, progress=steps)
    assert report == FsckReport(images=10, objects=10, hashed=10 * full, findings=())
    assert report.clean
    assert (steps.tasks, steps.done) == ([("check", 10 * full)], 10 * full)
    assert before.items() <= snapshot(workspace).items()


def test_a_lost_file_and_one_of_another_size_are_named_without_reading_any(workspace: Path) -> None:
    lost, cut, *_ = stored_files(workspace)
    lost.unlink()
    data = cut.read_bytes()
    cut.chmod(0o644)
    cut.write_bytes(data[:-1])
    cut.chmod(0o444)
    report = check_store(workspace)
    assert report.findings == (
        FsckFinding(
            "missing_object", lost.stem, f"{lost.relative_to(workspace).as_posix()} is not there"
        ),
        FsckFinding(
            "damaged_object", cut.stem, f"has {len(data) - 1:,} bytes instead of {len(data):,}"
        ),
    )
    assert not report.clean


def test_a_flipped_bit_is_found_by_reading_only(workspace: Path) -> None:
    victim = stored_files(workspace)[3]
    _flip(victim)
    assert check_store(workspace).clean
    (finding,) = check_store(workspace, full=True).findings
    assert (finding.kind, finding.subject) == ("damaged_object", victim.stem)
    assert "importing the original again repairs it" in finding.detail


def test_a_sample_reads_so_many_and_no_more(workspace: Path) -> None:
    for path in stored_files(workspace):
        _flip(path)
    for size, read in ((0, 0), (3, 3), (99, 10)):
        report = check_store(workspace, sample=size, chance=random.Random(1))
        assert report.hashed == len(report.findings) == read


def test_a_file_that_cannot_be_read_is_no_damage_to_its_bytes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = stored_files(workspace)[0]
    deny_reading(monkeypatch, victim.name)
    (finding,) = check_store(workspace, full=True).findings
    assert (finding.kind, finding.subject) == ("unreadable_object", victim.stem)


def test_what_an_interruption_leaves_is_named_and_is_no_damage(workspace: Path) -> None:
    data = b"not recorded"
    name = f"{image_id_of(data)}.png"
    place = workspace / "objects" / name[:2] / name[2:4]
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(data)
    (place / ".tmp-1").write_bytes(b"half")
    (workspace / ".tmp-2").write_bytes(b"")
    (workspace / "objects" / "notes.txt").write_text("mine")
    (workspace / "objects" / name).write_bytes(data)  # right name, wrong place
    (workspace / "elsewhere.txt").write_text("no business of ours")
    report = check_store(workspace, full=True)
    assert report.clean
    assert [(item.kind, item.subject) for item in report.findings] == [
        ("unreferenced_object", (place / name).relative_to(workspace).as_posix()),
        ("temporary_file", ".tmp-2"),
        ("temporary_file", (place / ".tmp-1").relative_to(workspace).as_posix()),
        ("strange_file", f"objects/{name}"),
        ("strange_file", "objects/notes.txt"),
    ]
    assert report.objects == 11


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX")
def test_an_object_that_may_be_written_is_named(workspace: Path) -> None:
    stored_files(workspace)[0].chmod(0o644)
    report = check_store(workspace)
    assert _kinds(report) == ["writable_object"]
    assert report.clean


def test_images_with_the_same_sha1_are_named(workspace: Path) -> None:
    _sql(workspace, f"UPDATE images SET object_id = '{'a' * 40}' WHERE rowid IN (1, 2)")
    report = check_store(workspace)
    assert (_kinds(report), report.clean) == (["sha1_collision"], False)
    assert report.findings[0].subject == "a" * 40


def test_rows_that_refer_to_nothing_are_damage(workspace: Path) -> None:
    _sql(
        workspace,
        "PRAGMA foreign_keys = OFF",
        "INSERT INTO sources VALUES ('/r', 'e', 'nobody')",
    )
    report = check_store(workspace)
    assert _kinds(report) == ["damaged_catalogue"]
    assert "sources" in report.findings[0].detail


@pytest.mark.parametrize("full", [False, True])
def test_a_catalogue_that_cannot_be_opened_does_not_keep_objects_from_being_read(
    workspace: Path, full: bool
) -> None:
    (workspace / "catalogue.sqlite").write_bytes(b"x" * 8192)
    victim = stored_files(workspace)[0]
    _flip(victim)
    report = check_store(workspace, full=full)
    assert _kinds(report) == ["damaged_catalogue"] + ["damaged_object"] * full
    assert (report.images, report.objects, report.hashed) == (0, 10, 10 * full)


def test_a_page_of_the_catalogue_that_rots_is_damage(workspace: Path) -> None:
    path = workspace / "catalogue.sqlite"
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 20] = b"\xff" * (4096 * 17)
    path.write_bytes(data)
    report = check_store(workspace)
    assert "damaged_catalogue" in _kinds(report)
    assert not report.clean


def test_a_damaged_feature_cache_is_named_by_a_full_check(workspace: Path) -> None:
    (workspace / "features.sqlite").write_bytes(b"x" * 8192)
    assert check_store(workspace).clean
    report = check_store(workspace, full=True)
    assert (_kinds(report), report.clean) == (["damaged_cache"], False)


def test_an_index_of_the_feature_cache_that_lies_is_named(workspace: Path) -> None:
    path = workspace / "features.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (a, b)")
        connection.execute("CREATE INDEX i ON t (a)")
        connection.execute("INSERT INTO t VALUES (1, 2)")
    spoil_index(path, "i", "t", "b")
    report = check_store(workspace, full=True)
    assert _kinds(report) == ["damaged_cache"]
    assert "missing from index i" in report.findings[0].detail


def test_images_to_repair_are_remembered_until_they_are_imported_again(
    workspace: Path, pictures: Path
) -> None:
    lost, flipped, cut, *_ = stored_files(workspace)
    lost.unlink()
    _flip(flipped)
    cut.chmod(0o644)
    cut.write_bytes(b"")
    check_store(workspace, full=True)
    with Store(workspace) as store:
        assert store.damaged_images() == {lost.stem, flipped.stem, cut.stem}
        report = import_source(store, scan_folder(pictures, ["red"]))
        assert (report.imported, report.duplicates) == (0, 10)
        assert store.damaged_images() == set()
    assert check_store(workspace, full=True).findings == ()


def test_recording_an_entry_again_does_not_make_a_damaged_file_well(workspace: Path) -> None:
    flipped, cut, *_ = stored_files(workspace)
    data = flipped.read_bytes()
    _flip(flipped)
    _flip(cut)
    check_store(workspace, full=True)
    flipped.chmod(0o644)
    flipped.write_bytes(data)
    with Store(workspace) as store:
        entries = [
            SourceEntry("/r", path.name, ImageId(path.stem), None) for path in (flipped, cut)
        ]
        store.add([], entries, who="test")
        assert store.damaged_images() == {cut.stem}


def test_an_image_that_is_well_again_is_no_longer_remembered(workspace: Path) -> None:
    victim = stored_files(workspace)[0]
    data = victim.read_bytes()
    _flip(victim)
    check_store(workspace, full=True)
    victim.chmod(0o644)
    victim.write_bytes(data)
    check_store(workspace, full=True)
    with Store(workspace) as store:
        assert store.damaged_images() == set()


def test_the_report_counts_even_if_nothing_can_be_noted(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_files(workspace)[0].unlink()
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.01)
    with closing(sqlite3.connect(workspace / "catalogue.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert _kinds(check_store(workspace)) == ["missing_object"]
    with Store(workspace) as store:
        assert store.damaged_images() == set()


def test_a_folder_that_cannot_be_listed_ends_the_check(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.scandir

    def scandir(place: str) -> object:
        if str(place).endswith("objects"):
            raise PermissionError(13, "Permission denied", str(place))
        return original(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StoreError, match=r"objects cannot be read: Permission denied.*permissions"):
        check_store(workspace)


def test_an_import_between_rows_and_files_is_no_finding(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = write_classes(tmp_path / "more", 2, start=50)
    original = files_below

    def late(folder: Path) -> object:
        with Store(workspace) as store:
            import_source(store, scan_folder(more, ["red"]))
        return original(folder)

    monkeypatch.setattr("keshikaran.store.fsck.files_below", late)
    assert check_store(workspace, full=True).findings == ()


def test_a_file_that_vanishes_while_files_are_listed_is_passed_over(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = workspace / "objects" / ".tmp-gone"
    gone.touch()
    original = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        if path == gone:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return original(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert check_store(workspace).findings == ()


def test_every_kind_of_finding_has_advice() -> None:
    assert set(ADVICE) == set(get_args(FindingKind))
    assert all(ADVICE.values())


def test_a_workspace_of_an_older_version_is_checked_without_its_journal(workspace: Path) -> None:
    _sql(workspace, "DELETE FROM journal_position")
    (workspace / "journal.jsonl").unlink()
    assert check_store(workspace, full=True).findings == ()


def test_a_failed_sync_while_noting_is_not_hidden_as_a_clean_store(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_files(workspace)[0].unlink()
    fail_fsync(monkeypatch)
    assert not check_store(workspace).clean
