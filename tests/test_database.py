import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from keshikaran.errors import StoreError
from keshikaran.store import database
from keshikaran.store.database import Database, wal_is_safe
from keshikaran.store.schema import CATALOGUE_MIGRATIONS, FEATURE_MIGRATIONS

_ONE = (("CREATE TABLE things (name TEXT NOT NULL UNIQUE)",),)
_TWO = (*_ONE, ("ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 7",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "place" / "things.sqlite"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)


def _names(db: Database) -> list[str]:
    with db.reading() as connection:
        return [row[0] for row in connection.execute("SELECT name FROM things ORDER BY name")]


def _version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _insert(db: Database, name: str) -> None:
    with db.transaction() as connection:
        connection.execute("INSERT INTO things (name) VALUES (?)", (name,))


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 44, 9), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 50, 99), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_wal_is_used_with_repaired_versions_of_sqlite_only(
    version: tuple[int, int, int], safe: bool
) -> None:
    assert wal_is_safe(version) is safe


@pytest.mark.parametrize(("safe", "mode"), [(True, "wal"), (False, "delete")])
def test_the_journal_follows_the_version(
    path: Path, monkeypatch: pytest.MonkeyPatch, safe: bool, mode: str
) -> None:
    monkeypatch.setattr(database, "wal_is_safe", lambda _: safe)
    with closing(Database(path, _ONE)) as db:
        assert db.connection.execute("PRAGMA journal_mode").fetchone() == (mode,)


def test_a_workspace_made_with_wal_opens_without_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "wal_is_safe", lambda _: True)
    with closing(Database(path, _ONE)) as db:
        _insert(db, "kept")
    monkeypatch.setattr(database, "wal_is_safe", lambda _: False)
    with closing(Database(path, _ONE)) as db:
        assert _names(db) == ["kept"]
        assert db.connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_commits_are_durable_and_references_are_checked(path: Path) -> None:
    with closing(Database(path, _ONE)) as db:
        assert db.connection.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
        assert db.connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


@pytest.mark.parametrize("migrations", [CATALOGUE_MIGRATIONS, FEATURE_MIGRATIONS, _TWO])
def test_opening_again_migrates_nothing_twice(
    path: Path, migrations: tuple[tuple[str, ...], ...]
) -> None:
    Database(path, migrations).close()
    before = path.read_bytes()
    Database(path, migrations).close()
    assert path.read_bytes() == before
    assert _version(path) == len(migrations)


def test_a_new_migration_keeps_the_rows(path: Path) -> None:
    with closing(Database(path, _ONE)) as db:
        _insert(db, "old")
    with closing(Database(path, _TWO)) as db, db.reading() as connection:
        assert connection.execute("SELECT * FROM things").fetchall() == [("old", 7)]


def test_a_failed_migration_changes_nothing(path: Path) -> None:
    broken = (*_ONE, ("CREATE TABLE others (x)", "NO SQL AT ALL"))
    with pytest.raises(StoreError, match="syntax error"):
        Database(path, broken)
    assert _version(path) == 1
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        assert tables.fetchall() == [("things",)]
    Database(path, _TWO).close()


def test_two_processes_may_migrate_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Database.transaction

    @contextmanager
    def late(self: Database) -> Iterator[sqlite3.Connection]:
        monkeypatch.setattr(Database, "transaction", original)
        Database(path, _TWO).close()  # the other process is faster
        with original(self) as connection:
            yield connection

    monkeypatch.setattr(Database, "transaction", late)
    with closing(Database(path, _TWO)) as db:
        _insert(db, "one")
        assert _names(db) == ["one"]


def test_many_threads_open_a_new_database_together(path: Path) -> None:
    barrier = threading.Barrier(4)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            barrier.wait()
            with closing(Database(path, _TWO)) as db:
                _insert(db, str(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with closing(Database(path, _TWO)) as db:
        assert _names(db) == ["0", "1", "2", "3"]


def test_a_newer_format_is_left_alone(path: Path) -> None:
    Database(path, _TWO).close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer version of keshikaran.*Update keshikaran"):
        Database(path, _ONE)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"objectId,value\n", b"x" * 8192])
def test_a_file_that_is_no_database_is_named_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"things\.sqlite is damaged or is no .*Move the file"):
        Database(path, _ONE)
    assert path.read_bytes() == content


def test_a_database_cut_short_is_called_damaged(path: Path) -> None:
    Database(path, CATALOGUE_MIGRATIONS).close()
    path.write_bytes(path.read_bytes()[:4096])
    with pytest.raises(StoreError, match="is damaged"):
        Database(path, CATALOGUE_MIGRATIONS)


def test_damage_that_shows_late_is_called_damage_too(path: Path) -> None:
    with closing(Database(path, _ONE)) as db:
        for number in range(2000):
            db.connection.execute("INSERT INTO things VALUES (?)", (f"{number:0100d}",))
            if number == 0:
                db.connection.execute("BEGIN")
        db.connection.execute("COMMIT")
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with (
        closing(Database(path, _ONE)) as db,
        pytest.raises(StoreError, match="is damaged"),
        db.reading() as connection,
    ):
        connection.execute("SELECT COUNT(*), MAX(LENGTH(name)) FROM things NOT INDEXED").fetchone()


def test_a_folder_in_the_place_of_the_file_is_reported(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"unable to open .*healthy, writable disk"):
        Database(path, _ONE)


def test_a_file_in_the_place_of_the_folder_is_reported(path: Path) -> None:
    path.parent.write_bytes(b"")
    with pytest.raises(StoreError, match="could not be written: File exists"):
        Database(path, _ONE)


def test_a_failed_opening_leaves_no_connection_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []
    original = sqlite3.connect

    def connect(
        name: Path, *, timeout: float, isolation_level: None, check_same_thread: bool
    ) -> sqlite3.Connection:
        opened.append(
            original(
                name,
                timeout=timeout,
                isolation_level=isolation_level,
                check_same_thread=check_same_thread,
            )
        )
        return opened[-1]

    path.parent.mkdir()
    path.write_bytes(b"no database")
    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(StoreError):
        Database(path, _ONE)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


@pytest.mark.usefixtures("impatient")
def test_a_database_in_use_is_reported_when_it_is_opened(path: Path) -> None:
    Database(path, _ONE).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"in use by another process.*Wait for the other"):
            Database(path, _ONE)
    Database(path, _ONE).close()


@pytest.mark.usefixtures("impatient")
def test_a_database_in_use_is_reported_when_it_is_written(path: Path) -> None:
    with closing(Database(path, _ONE)) as db:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreError, match="in use by another process"):
                _insert(db, "early")
        _insert(db, "late")
        assert _names(db) == ["late"]


def test_a_short_lock_is_waited_for(path: Path) -> None:
    with (
        closing(Database(path, _ONE)) as db,
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
    ):
        other.execute("BEGIN EXCLUSIVE")
        release = threading.Timer(0.1, other.execute, ["COMMIT"])
        started = time.monotonic()
        release.start()
        _insert(db, "patient")
        assert time.monotonic() - started > 0.05
        release.join()
        assert _names(db) == ["patient"]


def test_a_transaction_takes_effect_whole_or_not_at_all(path: Path) -> None:
    def twice() -> None:
        with db.transaction() as connection:
            connection.execute("INSERT INTO things VALUES ('a')")
            connection.execute("INSERT INTO things VALUES ('a')")

    with closing(Database(path, _ONE)) as db:
        with pytest.raises(StoreError, match="UNIQUE"):
            twice()
        assert _names(db) == []
        _insert(db, "a")
        assert _names(db) == ["a"]


def test_an_interruption_inside_a_transaction_undoes_it_and_passes_on(path: Path) -> None:
    def interrupted() -> None:
        with db.transaction() as connection:
            connection.execute("INSERT INTO things VALUES ('a')")
            raise KeyboardInterrupt

    with closing(Database(path, _ONE)) as db:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert _names(db) == []


def test_a_full_disk_is_called_so_and_keeps_what_was_there(path: Path) -> None:
    with closing(Database(path, _ONE)) as db:
        _insert(db, "before")
        (pages,) = db.connection.execute("PRAGMA page_count").fetchone()
        db.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match=r"disk is full.*run the same command again"):
            _insert(db, "x" * 100_000)
        assert _names(db) == ["before"]
        db.connection.execute("PRAGMA max_page_count = 1000000")
        _insert(db, "after")
    with closing(Database(path, _ONE)) as db:
        assert _names(db) == ["after", "before"]


def test_a_read_only_database_is_reported_when_it_is_written(path: Path) -> None:
    with closing(Database(path, _ONE)) as db:
        db.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match=r"readonly.*writable disk"):
            _insert(db, "a")


def test_nothing_but_the_database_stays_in_the_folder(path: Path) -> None:
    with closing(Database(path, _ONE)) as db:
        _insert(db, "a")
    assert os.listdir(path.parent) == ["things.sqlite"]  # noqa: PTH208


def test_waiting_goes_on_where_sqlite_gives_up_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_NEXT_TRY_S", (0.001, 0.002))
    with (
        closing(Database(path, _ONE)) as db,
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
    ):
        db.connection.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN EXCLUSIVE")
        release = threading.Timer(0.1, other.execute, ["COMMIT"])
        release.start()
        _insert(db, "patient")
        release.join()
        other.execute("BEGIN")
        other.execute("SELECT * FROM things").fetchone()  # a reader holds up the commit
        release = threading.Timer(0.1, other.execute, ["COMMIT"])
        release.start()
        _insert(db, "still patient")
        release.join()
        assert _names(db) == ["patient", "still patient"]


def test_an_index_that_lies_is_found_by_a_full_look(path: Path) -> None:
    indexed = (("CREATE TABLE t (a, b)", "CREATE INDEX i ON t (a)"),)
    with closing(Database(path, indexed)) as db:
        db.connection.execute("INSERT INTO t VALUES (1, 2)")
        assert db.problems(full=False) == db.problems(full=True) == []
        db.connection.execute("PRAGMA writable_schema = ON")
        db.connection.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t (b)' WHERE name = 'i'"
        )
    with closing(Database(path, indexed)) as db:
        assert db.problems(full=False) == []
        assert "missing from index i" in " ".join(db.problems(full=True))


def test_folders_of_a_new_database_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("keshikaran.hashing.sync_directory", synced.append)
    Database(tmp_path / "a" / "b" / "x.sqlite", _ONE).close()
    assert synced == [tmp_path / "a", tmp_path]
