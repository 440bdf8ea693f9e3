"""What other models said of stored images, so that they need not be asked again.

A cache only: deleting `rivals.sqlite` loses time and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from keshikaran.store.database import Database
from keshikaran.types import ImageId

_MIGRATIONS = (
    (
        """
        CREATE TABLE scores (
            rival TEXT NOT NULL,
            version TEXT NOT NULL,
            pixel_contract INTEGER NOT NULL,
            image_id TEXT NOT NULL,
            score REAL,
            reason TEXT,
            PRIMARY KEY (rival, version, pixel_contract, image_id),
            CHECK (score IS NULL OR reason IS NULL)
        ) WITHOUT ROWID
        """,
    ),
)
_IF_DAMAGED = "Delete the file: it is a cache, and the next comparison fills it again."


@dataclass(frozen=True, slots=True)
class RivalKey:
    """Everything that decides a score, apart from the image.

    Attributes:
        rival: name of the model.
        version: of the model, and of how it is asked.
        pixel_contract: version of the decoding rules.
    """

    rival: str
    version: str
    pixel_contract: int


@dataclass(frozen=True, slots=True)
class RivalScore:
    """What a model said of one image.

    Attributes:
        image_id: the image.
        score: a finite number, larger is more objectionable; None if it has none.
        reason: why it has none; None if it has one.
        lasting: whether the same would be said next time.
    """

    image_id: ImageId
    score: float | None
    reason: str | None = None
    lasting: bool = True


class RivalScores:
    """The cache file.

    Args:
        path: usually `<workspace>/rivals.sqlite`.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, path: Path) -> None:
        self._db = Database(path, _MIGRATIONS, if_damaged=_IF_DAMAGED)

    def __enter__(self) -> RivalScores:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def known(self, key: RivalKey) -> dict[ImageId, RivalScore]:
        """All that a model said, by image."""
        with self._db.reading() as connection:
            rows = connection.execute(
                "SELECT image_id, score, reason FROM scores"
                " WHERE rival = ? AND version = ? AND pixel_contract = ?",
                (key.rival, key.version, key.pixel_contract),
            )
            return {ImageId(row[0]): RivalScore(ImageId(row[0]), *row[1:]) for row in rows}

    def put(self, key: RivalKey, scores: Iterable[RivalScore]) -> None:
        """Keep what lasts, in one transaction."""
        with self._db.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        key.rival,
                        key.version,
                        key.pixel_contract,
                        one.image_id,
                        one.score,
                        one.reason,
                    )
                    for one in scores
                    if one.lasting
                ],
            )
