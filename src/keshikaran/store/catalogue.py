"""Catalogue and journal as one: a change is in both, or in neither.

Order of a change: tables (so that what makes no sense is refused) → journal, synced → commit of
the tables. A process that dies between the last two leaves a journal that knows more than the
tables. The journal wins: whoever writes next takes over what it says. So a command that failed
or was killed at that point may turn out to have been done.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keshikaran.errors import DamagedStoreError
from keshikaran.store.changes import Change, all_changes, apply, is_empty
from keshikaran.store.database import Database
from keshikaran.store.journal import Journal, Position
from keshikaran.store.schema import CATALOGUE_MIGRATIONS

CATALOGUE_NAME = "catalogue.sqlite"
JOURNAL_NAME = "journal.jsonl"
IF_DAMAGED = "Run: keshikaran rebuild"
_POSITION = "SELECT id, bytes, transactions FROM journal_position"
_WHICH_WINS = (
    "Run: keshikaran fsck. Then: keshikaran rebuild --journal, if the catalogue is right, or:"
    " keshikaran rebuild, if the journal is."
)


class Changes:
    """Makes changes in an open transaction and notes those that changed something.

    Args:
        connection: where they are made.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.made: list[Change] = []

    def make(self, kind: str, **fields: str | float | None) -> bool:
        """Make one change; see `keshikaran.store.changes`.

        Returns:
            Whether anything is different now.
        """
        change: Change = {"kind": kind, **fields}
        different = apply(self.connection, change)
        if different:
            self.made.append(change)
        return different


class Catalogue:
    """The tables of a workspace, and the journal that they can be made from.

    Args:
        folder: the workspace. Created if missing.

    Attributes:
        database: the tables; change what the journal keeps by `changing` only.
        journal: the file.

    Raises:
        DamagedStoreError: tables and journal cannot belong together.
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / JOURNAL_NAME)
        self.database = open_tables(folder / CATALOGUE_NAME)
        try:
            self._take_over()
        except BaseException:
            self.database.close()
            raise

    def close(self) -> None:
        """Close the tables; further calls fail."""
        self.database.close()

    @contextmanager
    def changing(self) -> Iterator[Changes]:
        """Changes made in the block take effect together, or not at all."""
        with self.database.transaction() as connection:
            end = self._aligned(connection)
            changes = Changes(connection)
            yield changes
            if changes.made:
                start = end or self.journal.replace()
                save_position(connection, self.journal.append(changes.made, start))

    def _take_over(self) -> None:
        """At opening: what a process that died left in the journal, or a catalogue without one."""
        with self.database.reading() as connection:
            known = saved_position(connection)
            new = known is None and is_empty(connection)
        size = self.journal.size()  # looked at after the tables: it only grows
        if known is None:
            behind = not new or size is not None
        else:
            behind = size is not None and size > known.bytes
        if behind:
            with self.database.transaction() as connection:
                self._aligned(connection)

    def _aligned(self, connection: sqlite3.Connection) -> Position | None:
        """Where the journal ends, once the tables know all of it; None if there is none yet."""
        known = saved_position(connection)
        size = self.journal.size()
        if known is None:
            if not is_empty(connection):  # from a version without a journal
                position = self.journal.replace(all_changes(connection))
                save_position(connection, position)
                return position
            if size is None:
                return None
            known = self.journal.start()
        if size is None or size < known.bytes:
            msg = f"{self.journal.path} is missing or shorter than the catalogue knows it."
            raise DamagedStoreError(msg, "Write it anew: keshikaran rebuild --journal")
        if self.journal.start().journal_id != known.journal_id:
            msg = f"{self.journal.path} is not the journal of this catalogue."
            raise DamagedStoreError(msg, _WHICH_WINS)
        return self._redone(connection, known) if size > known.bytes else known

    def _redone(self, connection: sqlite3.Connection, known: Position) -> Position:
        for transaction in self.journal.transactions(known):
            if not transaction.closed:
                self.journal.cut(known)
                break
            if transaction.damage:
                msg = f"{self.journal.path} is damaged behind byte {known.bytes:,}."
                raise DamagedStoreError(msg, _WHICH_WINS)
            for change in transaction.changes:
                apply(connection, change)
            known = transaction.after
        save_position(connection, known)
        return known


def open_tables(path: Path) -> Database:
    """Open the tables alone, without a look at the journal.

    Raises:
        DamagedStoreError: the file is damaged.
        StoreError: it cannot be opened.
    """
    return Database(path, CATALOGUE_MIGRATIONS, if_damaged=IF_DAMAGED)


def save_position(connection: sqlite3.Connection, position: Position) -> None:
    """Note how much of the journal the tables hold."""
    connection.execute(
        "INSERT OR REPLACE INTO journal_position (one, id, bytes, transactions)"
        " VALUES (1, ?, ?, ?)",
        (position.journal_id, position.bytes, position.transactions),
    )


def saved_position(connection: sqlite3.Connection) -> Position | None:
    """How much of the journal the tables hold; None if none."""
    row = connection.execute(_POSITION).fetchone()
    return None if row is None else Position(*row)
