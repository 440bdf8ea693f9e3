"""What a source gave before, entry by entry: so that it need not be asked again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from keshikaran.pixels import ImageFormat
from keshikaran.store.database import Database
from keshikaran.store.records import ImageRecord
from keshikaran.types import ImageId, Refusal, chunks_of

_QUERY_SIZE = 500


class Visited:
    """Entries that were imported or refused before.

    Args:
        database: the catalogue.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def images(self, root: str, entries: Sequence[str]) -> dict[str, ImageRecord]:
        """The image that each of `entries` gave last, of those that gave one."""
        found: dict[str, ImageRecord] = {}
        with self._db.reading() as connection:
            for part in chunks_of(len(entries), _QUERY_SIZE):
                names = entries[part]
                marks = ",".join("?" * len(names))
                query = (
                    "SELECT entry, image_id, object_id, format, bytes, width, height"
                    " FROM sources JOIN images USING (image_id)"
                    f" WHERE root = ? AND entry IN ({marks}) ORDER BY sources.rowid"
                )
                for entry, image_id, object_id, name, size, width, height in connection.execute(
                    query, (root, *names)
                ):
                    found[entry] = ImageRecord(
                        ImageId(image_id), object_id, cast("ImageFormat", name), size, width, height
                    )
        return found

    def refusals(self, root: str, entries: Sequence[str]) -> dict[str, Refusal]:
        """Why each of `entries` was skipped, of those that were."""
        found: dict[str, Refusal] = {}
        with self._db.reading() as connection:
            for part in chunks_of(len(entries), _QUERY_SIZE):
                names = entries[part]
                marks = ",".join("?" * len(names))
                query = (
                    "SELECT entry, reason, detail FROM skipped"
                    f" WHERE root = ? AND entry IN ({marks})"
                )
                for entry, reason, detail in connection.execute(query, (root, *names)):
                    found[entry] = Refusal(entry, "import", reason, detail)
        return found
