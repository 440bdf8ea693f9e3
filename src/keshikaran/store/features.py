"""The feature cache: what a backbone said about an image, so that it need not say it again.

A cache only: deleting `features.sqlite` loses time and nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import PIXEL_CONTRACT_VERSION
from keshikaran.recipe import FeatureRecipe
from keshikaran.sketches import SKETCH_SIDE
from keshikaran.store.database import Database
from keshikaran.store.feature_rows import FeatureRows
from keshikaran.store.looks import Looks
from keshikaran.store.schema import FEATURE_MIGRATIONS
from keshikaran.store.scratch import room_for
from keshikaran.types import (
    Float32Array,
    ImageId,
    IntArray,
    UInt8Array,
    chunks_of,
)

_QUERY_SIZE = 500
_RANGE_SIZE = 5000
_IF_DAMAGED = "Delete the file: it is a cache, and the next training fills it again."


class FeatureCache:
    """Feature vectors by image and recipe, and the images that could not be decoded.

    Args:
        path: the cache file, usually `<workspace>/features.sqlite`.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, path: Path) -> None:
        self._db = open_cache(path)
        self.looks = Looks(self._db)

    @property
    def folder(self) -> Path:
        """Where the file lies: there is room for what is too large for memory."""
        return self._db.path.parent

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def recipes(
        self, backbone_digest: str, pixel_contract: int = PIXEL_CONTRACT_VERSION
    ) -> list[FeatureRecipe]:
        """Ways in which features of one backbone were computed, the first used first."""
        with self._db.reading() as connection:
            rows = connection.execute(
                "SELECT precision, resize_mode FROM recipes"
                " WHERE backbone_digest = ? AND pixel_contract = ? ORDER BY id",
                (backbone_digest, pixel_contract),
            )
            return [
                FeatureRecipe(backbone_digest, precision, resize_mode, pixel_contract)
                for precision, resize_mode in rows
            ]

    def missing(self, recipe: FeatureRecipe, image_ids: Sequence[ImageId]) -> list[ImageId]:
        """Those of `image_ids` with neither features nor a refusal, in order."""
        known: set[str] = set()
        recipe_id = self._recipe_id(recipe)
        with self._db.reading() as connection:
            for query, key in (
                ("SELECT image_id FROM features WHERE recipe = ? AND view = 0", recipe_id),
                ("SELECT image_id FROM refusals WHERE pixel_contract = ?", recipe.pixel_contract),
            ):
                for where, values in self._wheres(recipe_id, image_ids):
                    rows = connection.execute(f"{query} AND {where}", (key, *values))
                    known.update(row[0] for row in rows)
        return [image_id for image_id in image_ids if image_id not in known]

    def put(
        self,
        recipe: FeatureRecipe,
        vectors: Sequence[tuple[ImageId, Float32Array]],
        refusals: Sequence[tuple[ImageId, ImageRefusedError]],
        sketches: Sequence[tuple[ImageId, UInt8Array]] = (),
        orders: Sequence[tuple[ImageId, Sequence[int]]] = (),
    ) -> None:
        """Add features, float32 [V, D] of each image's views, and refusals, in one transaction.

        `sketches` go along: uint8 [16, 16] of each image's first view. So do `orders` of images
        with several views, see `DecodedImage.order`.
        """
        recipe_id = self._recipe_id(recipe)
        with self._db.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO features (recipe, image_id, view, vector)"
                " VALUES (?, ?, ?, ?)",
                [
                    (recipe_id, image_id, view, row.astype("<f4").tobytes())
                    for image_id, rows in vectors
                    for view, row in enumerate(rows)
                ],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?)",
                [
                    (recipe.pixel_contract, image_id, refusal.reason, refusal.detail)
                    for image_id, refusal in refusals
                ],
            )
            _put_sketches(connection, recipe_id, sketches)
            connection.executemany(
                "INSERT OR REPLACE INTO orders VALUES (?, ?, ?)",
                [(recipe_id, image_id, bytes(numbers)) for image_id, numbers in orders],
            )

    def put_sketches(
        self, recipe: FeatureRecipe, sketches: Sequence[tuple[ImageId, UInt8Array]]
    ) -> None:
        """Add sketches, uint8 [16, 16], of images whose features were there before."""
        recipe_id = self._recipe_id(recipe)
        with self._db.transaction() as connection:
            _put_sketches(connection, recipe_id, sketches)

    def sketches(
        self, recipe: FeatureRecipe, image_ids: Sequence[ImageId]
    ) -> dict[ImageId, UInt8Array]:
        """Sketches of those of `image_ids` that have one."""
        recipe_id = self._recipe_id(recipe)
        found: dict[ImageId, UInt8Array] = {}
        with self._db.reading() as connection:
            for ids, marks in _parts(image_ids):
                rows = connection.execute(
                    "SELECT image_id, pixels FROM sketches WHERE recipe = ?"
                    f" AND image_id IN ({marks})",
                    (recipe_id, *ids),
                )
                for image_id, pixels in rows:
                    sketch = np.frombuffer(pixels, dtype=np.uint8)
                    found[ImageId(image_id)] = sketch.reshape(SKETCH_SIDE, SKETCH_SIDE)
        return found

    def orders(self, recipe: FeatureRecipe) -> dict[ImageId, IntArray]:
        """Orders of all images with several views, int64 [U] each; see `DecodedImage.order`."""
        recipe_id = self._recipe_id(recipe)
        with self._db.reading() as connection:
            query = "SELECT image_id, numbers FROM orders WHERE recipe = ?"
            rows = connection.execute(query, (recipe_id,))
            return {ImageId(i): np.frombuffer(kept, np.uint8).astype(np.int64) for i, kept in rows}

    def without_order(self, recipe: FeatureRecipe) -> set[ImageId]:
        """Images with several views whose order is not known: their features are old."""
        recipe_id = self._recipe_id(recipe)
        with self._db.reading() as connection:
            rows = connection.execute(
                "SELECT image_id FROM features WHERE recipe = ? AND view = 1 EXCEPT"
                " SELECT image_id FROM orders WHERE recipe = ?",
                (recipe_id, recipe_id),
            )
            return {ImageId(row[0]) for row in rows}

    def images(self, recipe: FeatureRecipe) -> list[ImageId]:
        """All images that have features, ascending."""
        recipe_id = self._recipe_id(recipe)
        with self._db.reading() as connection:
            rows = connection.execute(
                "SELECT image_id FROM features WHERE recipe = ? AND view = 0 ORDER BY image_id",
                (recipe_id,),
            )
            return [ImageId(row[0]) for row in rows]

    def read(
        self, recipe: FeatureRecipe, image_ids: Sequence[ImageId], dim: int
    ) -> tuple[list[ImageId], Float32Array, IntArray]:
        """Features of those of `image_ids` that have them.

        Returns:
            The n ids found, in the order asked for; float32 [R, dim], the rows of each image's
            views one after the other, in a mapped file above a gigabyte; and int64 [n], where each
            image's rows begin.
        """
        recipe_id = self._recipe_id(recipe)
        views = self._views(recipe_id, image_ids)
        found = [image_id for image_id in image_ids if image_id in views]
        counts = np.array([views[image_id] for image_id in found], dtype=np.int64)
        ends = np.cumsum(counts)
        starts = ends - counts
        matrix = room_for(int(counts.sum()), dim, self._db.path.parent)
        row_of = dict(zip(found, starts.tolist(), strict=True))
        for image_id, view, vector in self._vectors(recipe_id, image_ids):
            row = row_of.get(image_id)
            if row is not None:
                matrix[row + view] = np.frombuffer(vector, dtype="<f4")
        return found, matrix, starts

    def rows(self, recipe: FeatureRecipe, dim: int) -> FeatureRows:
        """All features under a recipe, D = `dim`, many at a time."""
        return FeatureRows(self._db, self._recipe_id(recipe), dim)

    def _vectors(
        self, recipe_id: int, image_ids: Sequence[ImageId]
    ) -> Iterator[tuple[ImageId, int, bytes]]:
        """Image, view and bytes of the rows of `image_ids`, and perhaps of others."""
        query = "SELECT image_id, view, vector FROM features WHERE"
        with self._db.reading() as connection:
            if self._is_most(recipe_id, len(image_ids)):  # then in the order of the file
                yield from connection.execute(f"{query} +recipe = ?", (recipe_id,))
                return
            for ids, marks in _parts(image_ids):
                yield from connection.execute(
                    f"{query} recipe = ? AND image_id IN ({marks})", (recipe_id, *ids)
                )

    def _views(self, recipe_id: int, image_ids: Sequence[ImageId]) -> dict[ImageId, int]:
        """How many views each image has; those without features are not in it."""
        counts: dict[ImageId, int] = {}
        with self._db.reading() as connection:
            for where, values in self._wheres(recipe_id, image_ids):
                rows = connection.execute(
                    "SELECT image_id, count(*) FROM features WHERE recipe = ?"
                    f" AND {where} GROUP BY image_id",
                    (recipe_id, *values),
                )
                counts.update((ImageId(image_id), count) for image_id, count in rows)
        return counts

    def _wheres(
        self, recipe_id: int, image_ids: Sequence[ImageId]
    ) -> Iterator[tuple[str, Sequence[str]]]:
        """Conditions that together hold for all of `image_ids`, and perhaps for others.

        Where nearly all are wanted, a range of the index is read faster than single ids.
        """
        if self._is_most(recipe_id, len(image_ids)):
            ordered = sorted(image_ids)
            for part in chunks_of(len(ordered), _RANGE_SIZE):
                yield "image_id BETWEEN ? AND ?", (ordered[part][0], ordered[part][-1])
        else:
            for ids, marks in _parts(image_ids):
                yield f"image_id IN ({marks})", ids

    def _is_most(self, recipe_id: int, wanted: int) -> bool:
        """Whether that many images are most of those under a recipe."""
        if wanted <= _QUERY_SIZE:
            return False
        with self._db.reading() as connection:
            query = "SELECT count(*) FROM features WHERE recipe = ?"
            return 2 * wanted > int(connection.execute(query, (recipe_id,)).fetchone()[0])

    def refusals(
        self, image_ids: Sequence[ImageId], pixel_contract: int = PIXEL_CONTRACT_VERSION
    ) -> dict[ImageId, ImageRefusedError]:
        """Those of `image_ids` that could not be decoded, and why."""
        found: dict[ImageId, ImageRefusedError] = {}
        with self._db.reading() as connection:
            for ids, marks in _parts(image_ids):
                rows = connection.execute(
                    "SELECT image_id, reason, detail FROM refusals WHERE pixel_contract = ?"
                    f" AND image_id IN ({marks})",
                    (pixel_contract, *ids),
                )
                for image_id, reason, detail in rows:
                    found[ImageId(image_id)] = ImageRefusedError(reason, detail)
        return found

    def _recipe_id(self, recipe: FeatureRecipe) -> int:
        key = (
            recipe.backbone_digest,
            recipe.precision,
            recipe.pixel_contract,
            recipe.resize_mode,
        )
        query = (
            "SELECT id FROM recipes WHERE backbone_digest = ? AND precision = ?"
            " AND pixel_contract = ? AND resize_mode = ?"
        )
        with self._db.reading() as connection:
            row = connection.execute(query, key).fetchone()
        if row is None:
            with self._db.transaction() as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO recipes (backbone_digest, precision,"
                    " pixel_contract, resize_mode) VALUES (?, ?, ?, ?)",
                    key,
                )
                row = connection.execute(query, key).fetchone()
        return int(row[0])


def _parts(image_ids: Sequence[ImageId]) -> Iterator[tuple[Sequence[ImageId], str]]:
    """Ids in pieces that fit a query, each with its placeholders."""
    for part in chunks_of(len(image_ids), _QUERY_SIZE):
        ids = image_ids[part]
        yield ids, ",".join("?" * len(ids))


def _put_sketches(
    connection: sqlite3.Connection, recipe_id: int, sketches: Sequence[tuple[ImageId, UInt8Array]]
) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO sketches VALUES (?, ?, ?)",
        [(recipe_id, image_id, sketch.tobytes()) for image_id, sketch in sketches],
    )


def open_cache(path: Path) -> Database:
    """Open the file of a cache.

    Raises:
        DamagedStoreError: the file is damaged.
        StoreError: it cannot be opened.
    """
    return Database(path, FEATURE_MIGRATIONS, if_damaged=_IF_DAMAGED)
