"""What need not be read again: stamps of entries that were imported before.

A cache. Emptying the table loses time and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from keshikaran.pixels import ImageFormat
from keshikaran.store.database import Database
from keshikaran.store.places import place_of
from keshikaran.store.records import ImageRecord, SourceEntry
from keshikaran.types import ImageId, chunks_of

_QUERY_SIZE = 500

_UNSAID = """
    WITH said AS (
        SELECT key, json_extract(value, '$[0]') AS root, json_extract(value, '$[1]') AS entry,
            json_extract(value, '$[2]') AS image_id, json_extract(value, '$[3]') AS label,
            json_extract(value, '$[4]') AS claim
        FROM json_each(?)
    )
    SELECT key FROM said WHERE
        NOT EXISTS (
            SELECT 1 FROM sources AS s WHERE s.root = said.root
                AND s.entry = said.entry AND s.image_id = said.image_id
        )
        OR EXISTS (SELECT 1 FROM skipped AS s WHERE s.root = said.root AND s.entry = said.entry)
        OR label IS NOT NULL AND label IS NOT (
            SELECT value FROM label_events AS e
            WHERE e.image_id = said.image_id AND kind = 'import' AND e.claim = said.claim
            ORDER BY id DESC LIMIT 1
        )
"""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """An entry, what its content looked like from outside, and which image it was.

    Attributes:
        entry: name within the source.
        stamp: whatever changes when the content does: sizes, times, an ETag.
        image_id: what the content was.
    """

    entry: str
    stamp: str
    image_id: ImageId


class Fingerprints:
    """The fingerprints in a workspace's catalogue.

    Args:
        database: the catalogue.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def find(
        self, root: str, rules: str, entries: Sequence[str]
    ) -> dict[str, tuple[str, ImageRecord]]:
        """Stamp and image of those of `entries` that were accepted under the same rules.

        Args:
            root: the source.
            rules: whatever decides what is accepted, as one text.
            entries: names within the source.
        """
        found: dict[str, tuple[str, ImageRecord]] = {}
        with self._db.reading() as connection:
            for part in chunks_of(len(entries), _QUERY_SIZE):
                names = entries[part]
                marks = ",".join("?" * len(names))
                query = (
                    "SELECT entry, stamp, image_id, object_id, format, bytes, width, height"
                    " FROM fingerprints JOIN images USING (image_id)"
                    " WHERE image_id NOT IN (SELECT image_id FROM damaged_objects)"
                    f" AND root = ? AND rules = ? AND entry IN ({marks})"
                )
                for row in connection.execute(query, (root, rules, *names)):
                    entry, stamp, image_id, object_id, name, size, width, height = row
                    record = ImageRecord(
                        ImageId(image_id), object_id, cast("ImageFormat", name), size, width, height
                    )
                    found[entry] = (stamp, record)
        return found

    def remember(self, root: str, rules: str, fingerprints: Sequence[Fingerprint]) -> None:
        """Keep them for the next import of the same source."""
        if not fingerprints:
            return
        with self._db.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO fingerprints VALUES (?, ?, ?, ?, ?)",
                [(root, f.entry, rules, f.stamp, f.image_id) for f in fingerprints],
            )

    def unsaid(self, entries: Sequence[SourceEntry]) -> list[SourceEntry]:
        """Those of `entries` that tell the catalogue something new, in order.

        One query for all: an import that repeats another asks this for every entry.
        """
        said = json.dumps(
            [(e.root, e.entry, e.image_id, e.label, place_of(e.root, e.entry)) for e in entries]
        )
        with self._db.reading() as connection:
            return [entries[row[0]] for row in connection.execute(_UNSAID, (said,))]
