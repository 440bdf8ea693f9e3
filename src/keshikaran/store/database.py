"""SQLite as we use it: durable, one writer at a time, errors in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keshikaran.errors import StoreError
from keshikaran.hashing import write_error

_BUSY_TIMEOUT_S = 30.0


class Database:
    """One SQLite file with its migrations applied.

    Args:
        path: the file; created if missing, together with its folder.
        migrations: statements of each schema step, in order.

    Raises:
        StoreError: not a database of ours, from a newer version, or not writable.
    """

    def __init__(self, path: Path, migrations: tuple[tuple[str, ...], ...]) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(path, error) from error
        with self._plain_errors():
            self.connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
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
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read; database errors come out as `StoreError`."""
        with self._plain_errors():
            yield self.connection

    def _configure(self) -> None:
        mode = "WAL" if wal_is_safe(sqlite3.sqlite_version_info) else "DELETE"
        self.connection.execute(f"PRAGMA journal_mode = {mode}")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("PRAGMA foreign_keys = ON")

    def _migrate(self, migrations: tuple[tuple[str, ...], ...]) -> None:
        (done,) = self.connection.execute("PRAGMA user_version").fetchone()
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

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _plain(self.path, error) from error


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is free of the bug that damages WAL databases with two writers."""
    return (
        version >= (3, 51, 3)
        or (3, 50, 7) <= version < (3, 51, 0)
        or (3, 44, 6) <= version < (3, 45, 0)
    )


def _plain(path: Path, error: sqlite3.Error) -> StoreError:
    words = str(error)
    if "full" in words:
        hint = "Free some space and run the same command again; what is stored already is kept."
        return StoreError(f"The disk is full: {path} could not be written.", hint)
    if "locked" in words or "busy" in words:
        hint = "Wait for the other keshikaran command to finish, then try again."
        return StoreError(f"{path} is in use by another process.", hint)
    if "not a database" in words or "malformed" in words:
        hint = "Move the file away; importing the sources again rebuilds it."
        return StoreError(f"{path} is damaged or is no keshikaran database ({words}).", hint)
    hint = "Check that the workspace is on a healthy, writable disk."
    return StoreError(f"{path}: {words}.", hint)
