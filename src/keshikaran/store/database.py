"""SQLite as we use it: durable, one writer at a time, errors in plain words."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from keshikaran.errors import DamagedStoreError, StoreError
from keshikaran.hashing import make_folder, write_error
from keshikaran.store.filesystem import is_network, refuse_network

BUSY_TIMEOUT_S = 60.0
_NEXT_TRY_S = (0.005, 0.05)
_ERROR_CLASS = 0xFF
_CACHE_KIB = 32_768


class Database:
    """One SQLite file with its migrations applied.

    Args:
        path: the file; created if missing, together with its folder.
        migrations: statements of each schema step, in order.
        if_damaged: what to do about a damaged file.

    Raises:
        DamagedStoreError: damaged, or not a database of ours.
        StoreError: from a newer version, not writable, or on a network file system.
    """

    def __init__(
        self,
        path: Path,
        migrations: tuple[tuple[str, ...], ...],
        if_damaged: str = "Move the file away.",
    ) -> None:
        self.path = path
        self._if_damaged = if_damaged
        try:
            make_folder(path.parent)
        except OSError as error:
            raise write_error(path, error) from error
        refuse_network(path.parent)
        with self._plain_errors():
            self.connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._plain_errors():
                self._configure()
                self._migrate(migrations)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close the file; further calls fail."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All statements of the block take effect together, or none."""
        with self._plain_errors():
            self._patiently("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self._patiently("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read; database errors come out as `StoreError`."""
        with self._plain_errors():
            yield self.connection

    def problems(self, *, full: bool) -> list[str]:
        """What SQLite finds wrong with its file, in its words.

        Args:
            full: also check that indexes agree with their tables.

        Raises:
            DamagedStoreError: so much that it cannot even look.
        """
        with self._plain_errors():
            kind = "integrity_check" if full else "quick_check"
            words = [row[0] for row in self.connection.execute(f"PRAGMA {kind}")]
            orphans = self.connection.execute("PRAGMA foreign_key_check").fetchall()
        found = [line for line in words if line != "ok"]
        return [*found, *(f"row {row[1]} of {row[0]} has no row in {row[2]}" for row in orphans)]

    def _configure(self) -> None:
        safe = wal_is_safe(sqlite3.sqlite_version_info) and not is_network(self.path.parent)
        self._patiently(f"PRAGMA journal_mode = {'WAL' if safe else 'DELETE'}")
        # EXTRA also syncs the folder when the rollback journal is deleted: without that, a
        # power failure can undo what was reported as done.
        self.connection.execute("PRAGMA synchronous = EXTRA")
        self.connection.execute("PRAGMA foreign_keys = ON")
        # Ids are hashes: a batch touches pages all over. Those that do not fit are written twice.
        self.connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")

    def _migrate(self, migrations: tuple[tuple[str, ...], ...]) -> None:
        (done,) = self._patiently("PRAGMA user_version").fetchone()
        if done > len(migrations):
            msg = f"{self.path} was written by a newer version of keshikaran."
            raise StoreError(msg, "Update keshikaran, or choose another --workspace.")
        for number in range(done + 1, len(migrations) + 1):
            with self.transaction() as connection:
                (current,) = connection.execute("PRAGMA user_version").fetchone()
                if current >= number:  # another process was faster
                    continue
                for statement in migrations[number - 1]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")

    def _patiently(self, statement: str) -> sqlite3.Cursor:
        """Run a statement; wait for others also where SQLite itself gives up at once."""
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                return self.connection.execute(statement)
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(*_NEXT_TRY_S))

    def _plain_errors(self) -> AbstractContextManager[None]:
        return plain_errors(self.path, self._if_damaged)


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is free of the bug that damages WAL databases with two writers."""
    return (
        version >= (3, 51, 3)
        or (3, 50, 7) <= version < (3, 51, 0)
        or (3, 44, 6) <= version < (3, 45, 0)
    )


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection has the database at the moment."""
    code = getattr(error, "sqlite_errorcode", None)  # errors of Python's own have none
    return code is not None and code & _ERROR_CLASS in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


@contextmanager
def plain_errors(path: Path, if_damaged: str) -> Iterator[None]:
    """Raise what SQLite says of the file at `path` as a `StoreError` in plain words."""
    try:
        yield
    except sqlite3.Error as error:
        raise _plain(path, error, if_damaged) from error


def _plain(path: Path, error: sqlite3.Error, if_damaged: str) -> StoreError:
    words = str(error)
    if "full" in words:
        hint = "Free some space and run the same command again; what is stored already is kept."
        return StoreError(f"The disk is full: {path} could not be written.", hint)
    if is_busy(error):
        hint = "Wait for the other keshikaran command to finish, then try again."
        return StoreError(f"{path} is in use by another process.", hint)
    if "not a database" in words or "malformed" in words:
        what = f"{path} is damaged or is no keshikaran database ({words})."
        return DamagedStoreError(what, if_damaged)
    hint = "Check that the workspace is on a healthy, writable disk."
    return StoreError(f"{path}: {words}.", hint)
