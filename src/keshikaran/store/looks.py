"""What images turned out to be once they were decoded: frames, and whether they have colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keshikaran.pixels import PIXEL_CONTRACT_VERSION
from keshikaran.store.database import Database
from keshikaran.types import ImageId, chunks_of

_QUERY_SIZE = 500


@dataclass(frozen=True, slots=True)
class Look:
    """One image; both None where it could not be decoded.

    Attributes:
        frames: frames or pages in the file.
        greyscale: whether red, green and blue agree everywhere, but for noise.
    """

    frames: int | None = None
    greyscale: bool | None = None


class Looks:
    """A part of the feature cache.

    Args:
        database: the cache's.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def read(
        self, image_ids: Sequence[ImageId], pixel_contract: int = PIXEL_CONTRACT_VERSION
    ) -> dict[ImageId, Look]:
        """What is known of `image_ids`."""
        found: dict[ImageId, Look] = {}
        with self._db.reading() as connection:
            for part in chunks_of(len(image_ids), _QUERY_SIZE):
                ids = image_ids[part]
                rows = connection.execute(
                    "SELECT image_id, frames, greyscale FROM looks WHERE pixel_contract = ?"
                    f" AND image_id IN ({','.join('?' * len(ids))})",
                    (pixel_contract, *ids),
                )
                for image_id, frames, grey in rows:
                    found[ImageId(image_id)] = Look(frames, None if grey is None else bool(grey))
        return found

    def put(
        self, looks: Mapping[ImageId, Look], pixel_contract: int = PIXEL_CONTRACT_VERSION
    ) -> None:
        """Add what was found, in one transaction."""
        with self._db.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?)",
                [(pixel_contract, i, look.frames, look.greyscale) for i, look in looks.items()],
            )
