"""The rows of the feature cache under one recipe, many at a time.

What `FeatureCache` answers for images that are asked for, this answers for all there are: it reads
in the order of the file, and holds no more than what it gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keshikaran.store.database import Database
from keshikaran.types import Float32Array, ImageId, IntArray, chunks_of

_QUERY_SIZE = 500
_READ_SIZE = 1024


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Some rows of the cache.

    Attributes:
        numbers: int64 [m], ascending; a row has its number until it is written again.
        image_ids: whose features they are; an image of several views has several rows.
        features: float32 [m, D].
    """

    numbers: IntArray
    image_ids: list[ImageId]
    features: Float32Array


class FeatureRows:
    """All rows under one recipe.

    Args:
        database: the open cache.
        recipe_id: the recipe's number in it.
        dim: D, the length of a row.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, database: Database, recipe_id: int, dim: int) -> None:
        self._db = database
        self._recipe_id = recipe_id
        self._dim = dim

    @property
    def identity(self) -> str:
        """Names this cache file; one that is made anew has another name."""
        with self._db.reading() as connection:
            return str(connection.execute("SELECT id FROM identity").fetchone()[0])

    def count(self, after: int = 0) -> int:
        """How many rows have a number above `after`."""
        query = "SELECT count(*) FROM features WHERE recipe = ?"
        if after:  # by number, not by recipe: most of the file need not be looked at
            query = "SELECT count(*) FROM features WHERE +recipe = ? AND id > ?"
        with self._db.reading() as connection:
            values = (self._recipe_id, after) if after else (self._recipe_id,)
            return int(connection.execute(query, values).fetchone()[0])

    def after(self, number: int = 0) -> Iterator[StoredRows]:
        """Rows with a number above this one, ascending, up to 1,024 at a time."""
        query = (
            "SELECT id, image_id, vector FROM features WHERE +recipe = ? AND id > ?"
            f" ORDER BY id LIMIT {_READ_SIZE}"
        )
        while True:
            # A query for each piece: nobody who writes has to wait until all are read.
            with self._db.reading() as connection:
                found = connection.execute(query, (self._recipe_id, number)).fetchall()
            if not found:
                return
            number = found[-1][0]
            yield self._stored(found)

    def sample(self, count: int) -> Float32Array:
        """First views of the `count` images with the smallest ids, or of all: float32 [n, D].

        Ids are hashes, so this is a fair sample, and the same one whatever came first.
        """
        with self._db.reading() as connection:
            numbers = connection.execute(
                "SELECT id FROM features WHERE recipe = ? AND view = 0 ORDER BY image_id LIMIT ?",
                (self._recipe_id, count),
            ).fetchall()
        return self.numbered(np.sort(np.array(numbers, dtype=np.int64).ravel())).features

    def numbered(self, numbers: IntArray) -> StoredRows:
        """Rows by their numbers, which ascend; those that are gone are left out."""
        parts: list[StoredRows] = []
        with self._db.reading() as connection:
            for part in chunks_of(len(numbers), _QUERY_SIZE):
                wanted = numbers[part].tolist()
                marks = ",".join("?" * len(wanted))
                found = connection.execute(
                    "SELECT id, image_id, vector FROM features WHERE +recipe = ?"
                    f" AND id IN ({marks}) ORDER BY id",
                    (self._recipe_id, *wanted),
                ).fetchall()
                parts.append(self._stored(found))
        if len(parts) == 1:
            return parts[0]
        return StoredRows(
            np.concatenate([np.empty(0, np.int64), *(part.numbers for part in parts)]),
            [image_id for part in parts for image_id in part.image_ids],
            np.concatenate(
                [np.empty((0, self._dim), np.float32), *(part.features for part in parts)]
            ),
        )

    def _stored(self, found: list[tuple[int, str, bytes]]) -> StoredRows:
        joined = b"".join([row[2] for row in found])
        return StoredRows(
            np.array([row[0] for row in found], dtype=np.int64),
            [ImageId(row[1]) for row in found],
            np.frombuffer(joined, dtype="<f4").reshape(len(found), self._dim),
        )
