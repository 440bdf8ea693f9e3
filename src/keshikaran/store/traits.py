"""What the catalogue knows of an image beside its label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from keshikaran.pixels import ImageFormat
from keshikaran.store.database import Database
from keshikaran.types import ImageId, chunks_of

_QUERY_SIZE = 500


@dataclass(frozen=True, slots=True)
class StoredTraits:
    """One stored image.

    Attributes:
        format: by magic number.
        width: columns as stored, before EXIF turns anything.
        height: rows as stored.
        labelled_on: day on which something was last said about it, YYYY-MM-DD in UTC; empty
            where nothing was.
    """

    format: ImageFormat
    width: int
    height: int
    labelled_on: str


class Traits:
    """Reads them.

    Args:
        database: the catalogue's.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def of_images(self, image_ids: Sequence[ImageId]) -> dict[ImageId, StoredTraits]:
        """Traits of those of `image_ids` that are stored."""
        found: dict[ImageId, StoredTraits] = {}
        with self._db.reading() as connection:
            for part in chunks_of(len(image_ids), _QUERY_SIZE):
                ids = image_ids[part]
                rows = connection.execute(
                    "SELECT image_id, format, width, height, (SELECT MAX(at) FROM label_events"
                    " WHERE label_events.image_id = images.image_id) FROM images"
                    f" WHERE image_id IN ({','.join('?' * len(ids))})",
                    ids,
                )
                for image_id, name, width, height, at in rows:
                    found[ImageId(image_id)] = StoredTraits(
                        cast("ImageFormat", name), width, height, (at or "")[:10]
                    )
        return found
