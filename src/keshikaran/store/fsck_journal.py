"""Does the journal tell what the catalogue holds?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

from keshikaran.errors import StoreError
from keshikaran.store.catalogue import CATALOGUE_NAME, IF_DAMAGED, JOURNAL_NAME, saved_position
from keshikaran.store.changes import apply, differences
from keshikaran.store.database import BUSY_TIMEOUT_S, Database, plain_errors
from keshikaran.store.findings import FsckFinding
from keshikaran.store.journal import Journal, Position
from keshikaran.store.schema import CATALOGUE_MIGRATIONS


def check_journal(folder: Path, database: Database, *, full: bool) -> list[FsckFinding]:
    """Hold the journal against the catalogue.

    Args:
        folder: the workspace.
        database: its tables.
        full: read every line, make the tables from them and compare; else look at both ends.

    Raises:
        StoreError: the database or the journal cannot be read at all.
    """
    journal = Journal(folder / JOURNAL_NAME)
    with database.reading() as connection:
        known = saved_position(connection)
    if known is None:  # nothing was said yet, or by a version without a journal
        return []
    size = journal.size()
    if size is None or size < known.bytes:
        detail = "is missing" if size is None else f"has {size:,} bytes instead of {known.bytes:,}"
        return [FsckFinding("damaged_journal", JOURNAL_NAME, detail)]
    try:
        start = journal.start()
    except StoreError as error:
        return [FsckFinding("damaged_journal", JOURNAL_NAME, error.what)]
    if start.journal_id != known.journal_id:
        return [FsckFinding("damaged_journal", JOURNAL_NAME, "belongs to another catalogue")]
    found = _compare(folder, journal, start) if full else []
    if size > known.bytes:
        detail = f"{size - known.bytes:,} bytes that the catalogue did not take over"
        found.append(FsckFinding("journal_ahead", JOURNAL_NAME, detail))
    return found


def _compare(folder: Path, journal: Journal, start: Position) -> list[FsckFinding]:
    """Make the tables again in a temporary database and look for what differs."""
    path = folder / CATALOGUE_NAME
    with (
        plain_errors(path, IF_DAMAGED),
        closing(sqlite3.connect("", BUSY_TIMEOUT_S, isolation_level=None)) as again,
    ):
        for statement in chain.from_iterable(CATALOGUE_MIGRATIONS):
            again.execute(statement)
        again.execute("ATTACH ? AS kept", (str(path),))
        again.execute("BEGIN")
        (end,) = again.execute("SELECT bytes FROM kept.journal_position").fetchone()
        damage = list(_replay(again, journal, start, end))
        journal_lacks = differences(again, "kept", "main")
        catalogue_lacks = {} if damage else differences(again, "main", "kept")
        again.execute("COMMIT")
    found = [FsckFinding("damaged_journal", JOURNAL_NAME, words) for words in damage]
    for kind, number in journal_lacks.items():
        detail = f"lacks {number:,} of the catalogue's rows of the kind {kind}"
        found.append(FsckFinding("damaged_journal", JOURNAL_NAME, detail))
    for kind, number in catalogue_lacks.items():
        detail = f"lacks {number:,} rows of the kind {kind} that the journal has"
        found.append(FsckFinding("damaged_catalogue", CATALOGUE_NAME, detail))
    return found


def _replay(
    connection: sqlite3.Connection, journal: Journal, start: Position, end: int
) -> Iterator[str]:
    """Apply what the journal says up to byte `end`; yields words for what cannot be read."""
    for transaction in journal.transactions(start):
        if transaction.after.bytes > end:
            return
        yield from transaction.damage
        for change in transaction.changes:
            apply(connection, change)
