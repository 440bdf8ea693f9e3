"""The feature cache: what a backbone said about an image, so that it need not say it again.

A cache only: deleting `features.sqlite` loses time and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import PIXEL_CONTRACT_VERSION, ResizeMode
from keshikaran.store.database import Database
from keshikaran.store.schema import FEATURE_MIGRATIONS
from keshikaran.types import Float32Array, ImageId, Precision, chunks_of

_QUERY_SIZE = 500
_FIRST_FRAME = 0
_IF_DAMAGED = "Delete the file: it is a cache, and the next training fills it again."


@dataclass(frozen=True, slots=True)
class FeatureRecipe:
    """Everything that decides a feature's value, apart from the image.

    Attributes:
        backbone_digest: SHA-256 of the network's file.
        precision: arithmetic it ran in.
        resize_mode: how images got its shape.
        pixel_contract: version of the decoding rules.
    """

    backbone_digest: str
    precision: Precision
    resize_mode: ResizeMode
    pixel_contract: int = PIXEL_CONTRACT_VERSION


class FeatureCache:
    """Feature vectors by image and recipe, and the images that could not be decoded.

    Args:
        path: the cache file, usually `<workspace>/features.sqlite`.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, path: Path) -> None:
        self._db = open_cache(path)

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def missing(self, recipe: FeatureRecipe, image_ids: Sequence[ImageId]) -> list[ImageId]:
        """Those of `image_ids` with neither features nor a refusal, in order."""
        known: set[str] = set()
        recipe_id = self._recipe_id(recipe)
        with self._db.reading() as connection:
            for part in chunks_of(len(image_ids), _QUERY_SIZE):
                ids = image_ids[part]
                marks = ",".join("?" * len(ids))
                for query, key in (
                    ("SELECT image_id FROM features WHERE recipe = ? AND frame = 0", recipe_id),
                    (
                        "SELECT image_id FROM refusals WHERE pixel_contract = ?",
                        recipe.pixel_contract,
                    ),
                ):
                    rows = connection.execute(f"{query} AND image_id IN ({marks})", (key, *ids))
                    known.update(row[0] for row in rows)
        return [image_id for image_id in image_ids if image_id not in known]

    def put(
        self,
        recipe: FeatureRecipe,
        vectors: Sequence[tuple[ImageId, Float32Array]],
        refusals: Sequence[tuple[ImageId, ImageRefusedError]],
    ) -> None:
        """Add features, float32 [D] each, and refusals, in one transaction."""
        recipe_id = self._recipe_id(recipe)
        with self._db.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO features (recipe, image_id, frame, vector)"
                " VALUES (?, ?, ?, ?)",
                [
                    (recipe_id, image_id, _FIRST_FRAME, vector.astype("<f4").tobytes())
                    for image_id, vector in vectors
                ],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?)",
                [
                    (recipe.pixel_contract, image_id, refusal.reason, refusal.detail)
                    for image_id, refusal in refusals
                ],
            )

    def read(
        self, recipe: FeatureRecipe, image_ids: Sequence[ImageId], dim: int
    ) -> tuple[list[ImageId], Float32Array]:
        """Features of those of `image_ids` that have them.

        Returns:
            The ids found, in the order asked for, and float32 [len(ids), dim].
        """
        recipe_id = self._recipe_id(recipe)
        matrix = np.empty((len(image_ids), dim), dtype=np.float32)
        found: list[ImageId] = []
        with self._db.reading() as connection:
            for part in chunks_of(len(image_ids), _QUERY_SIZE):
                ids = image_ids[part]
                marks = ",".join("?" * len(ids))
                rows = dict(
                    connection.execute(
                        "SELECT image_id, vector FROM features WHERE recipe = ? AND frame = 0"
                        f" AND image_id IN ({marks})",
                        (recipe_id, *ids),
                    )
                )
                for image_id in ids:
                    blob = rows.get(image_id)
                    if blob is not None:
                        matrix[len(found)] = np.frombuffer(blob, dtype="<f4")
                        found.append(image_id)
        return found, matrix[: len(found)]

    def refusals(
        self, image_ids: Sequence[ImageId], pixel_contract: int = PIXEL_CONTRACT_VERSION
    ) -> dict[ImageId, ImageRefusedError]:
        """Those of `image_ids` that could not be decoded, and why."""
        found: dict[ImageId, ImageRefusedError] = {}
        with self._db.reading() as connection:
            for part in chunks_of(len(image_ids), _QUERY_SIZE):
                ids = image_ids[part]
                marks = ",".join("?" * len(ids))
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


def open_cache(path: Path) -> Database:
    """Open the file of a cache.

    Raises:
        DamagedStoreError: the file is damaged.
        StoreError: it cannot be opened.
    """
    return Database(path, FEATURE_MIGRATIONS, if_damaged=_IF_DAMAGED)
