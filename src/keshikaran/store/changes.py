"""What can happen to a catalogue, each as one change: a kind and its fields.

A change is written to the journal and applied to the tables by the same words, so that a
catalogue is what its journal says, and can be made again from it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from keshikaran.errors import StoreError

Change = dict[str, str | int | float | None]
"""`kind`, and the fields that its statement in `_STATEMENTS` names."""

_STATEMENTS = {
    "image": "INSERT OR IGNORE INTO images"
    " (image_id, object_id, format, bytes, width, height, imported_at)"
    " VALUES (:image_id, :object_id, :format, :bytes, :width, :height, :at)",
    "source": "INSERT OR IGNORE INTO sources (root, entry, image_id)"
    " VALUES (:root, :entry, :image_id)",
    "label": "INSERT INTO label_events (image_id, value, kind, claim, who, why, at)"
    " VALUES (:image_id, :value, :by, :claim, :who, :why, :at)",
    "skipped": "INSERT INTO skipped (root, entry, reason, detail, at)"
    " VALUES (:root, :entry, :reason, :detail, :at)"
    " ON CONFLICT (root, entry) DO UPDATE"
    " SET reason = excluded.reason, detail = excluded.detail, at = excluded.at"
    " WHERE reason <> excluded.reason OR detail <> excluded.detail",
    "found": "DELETE FROM skipped WHERE root = :root AND entry = :entry",
    "split": "INSERT OR REPLACE INTO splits (image_id, split) VALUES (:image_id, :split)",
    "unsplit": "DELETE FROM splits WHERE image_id = :image_id",
    "pair": "INSERT OR IGNORE INTO duplicate_pairs"
    " (first, second, turn, scale, overlap, agreement, similarity, rules)"
    " VALUES (:first, :second, :turn, :scale, :overlap, :agreement, :similarity, :rules)",
    "suspect": "INSERT OR IGNORE INTO suspected_pairs"
    " (first, second, turn, scale, overlap, agreement, similarity, rules, spreads) VALUES"
    " (:first, :second, :turn, :scale, :overlap, :agreement, :similarity, :rules, :spreads)",
    "group": "INSERT INTO group_members (image_id, group_id) VALUES (:image_id, :group_id)"
    " ON CONFLICT (image_id) DO UPDATE SET group_id = excluded.group_id"
    " WHERE group_id <> excluded.group_id",
    "aside": "INSERT INTO set_aside (image_id, twin, side) VALUES (:image_id, :twin, :side)"
    " ON CONFLICT (image_id) DO UPDATE SET twin = excluded.twin, side = excluded.side"
    " WHERE twin <> excluded.twin OR side <> excluded.side",
    "suggested": "INSERT OR IGNORE INTO suggested (image_id, why, at)"
    " VALUES (:image_id, :why, :at)",
    "unaside": "DELETE FROM set_aside WHERE image_id = :image_id",
    "setting": "INSERT OR REPLACE INTO settings (name, value) VALUES (:name, :value)",
}

# Each kind that a table's rows amount to, and the rows as its fields; in an order in which they
# can be applied to an empty catalogue.
_ROWS = (
    (
        "image",
        "SELECT image_id, object_id, format, bytes, width, height, imported_at AS at FROM {}images",
        "image_id",
    ),
    ("source", "SELECT root, entry, image_id FROM {}sources", "rowid"),
    (
        "label",
        "SELECT image_id, value, kind AS by, claim, who, why, at FROM {}label_events",
        "id",
    ),
    ("skipped", "SELECT root, entry, reason, detail, at FROM {}skipped", "root, entry"),
    ("split", "SELECT image_id, split FROM {}splits", "image_id"),
    (
        "pair",
        "SELECT first, second, turn, scale, overlap, agreement, similarity, rules"
        " FROM {}duplicate_pairs",
        "first, second",
    ),
    (
        "suspect",
        "SELECT first, second, turn, scale, overlap, agreement, similarity, rules, spreads"
        " FROM {}suspected_pairs",
        "first, second",
    ),
    ("group", "SELECT image_id, group_id FROM {}group_members", "image_id"),
    ("aside", "SELECT image_id, twin, side FROM {}set_aside", "image_id"),
    ("suggested", "SELECT image_id, why, at FROM {}suggested", "image_id, why"),
    ("setting", "SELECT name, value FROM {}settings", "name"),
)


def apply(connection: sqlite3.Connection, change: Change) -> bool:
    """Make one change in the tables.

    Returns:
        Whether anything is different now.

    Raises:
        StoreError: a kind that only a newer version knows.
    """
    statement = _STATEMENTS.get(str(change["kind"]))
    if statement is None:
        msg = f"The journal has a line of the kind {change['kind']!r}, from a newer version."
        raise StoreError(msg, "Update keshikaran, or choose another --workspace.")
    return connection.execute(statement, change).rowcount > 0


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether the catalogue has nothing to tell."""
    tables = ("images", "skipped", "settings")
    return not any(
        connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0]
        for table in tables
    )


def all_changes(connection: sqlite3.Connection) -> Iterator[Change]:
    """The changes that make an empty catalogue into this one."""
    for kind, query, order in _ROWS:
        cursor = connection.execute(f"{query.format('')} ORDER BY {order}")
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield {"kind": kind, **dict(zip(names, row, strict=True))}


def differences(connection: sqlite3.Connection, first: str, second: str) -> dict[str, int]:
    """Rows of each kind that the attached database `first` has and `second` lacks.

    Args:
        connection: has both attached.
        first: name of one database.
        second: name of the other.

    Returns:
        Kind → number, without zeros. The same row counts as often as it is there.
    """
    found: dict[str, int] = {}
    for kind, query, _ in _ROWS:
        sides = [
            f"SELECT *, COUNT(*) FROM ({query.format(f'{name}.')}) GROUP BY {{}}"
            for name in (first, second)
        ]
        width = len(connection.execute(f"{query.format(f'{first}.')} LIMIT 0").description)
        columns = ", ".join(str(number + 1) for number in range(width))
        both = " EXCEPT ".join(side.format(columns) for side in sides)
        (number,) = connection.execute(f"SELECT COUNT(*) FROM ({both})").fetchone()
        if number:
            found[kind] = number
    return found
