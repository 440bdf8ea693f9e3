"""The catalogue of a workspace: which images there are, where from, and what was said of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from keshikaran.pixels import EXTENSIONS, ImageFormat
from keshikaran.store.blobs import BlobStore
from keshikaran.store.database import Database
from keshikaran.store.fingerprints import Fingerprints
from keshikaran.store.places import place_of
from keshikaran.store.records import ImageRecord, SourceEntry
from keshikaran.store.schema import CATALOGUE_MIGRATIONS
from keshikaran.types import ImageId, Label, Refusal, Split, chunks_of

_QUERY_SIZE = 500


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image with a usable label, in the order labels arrived."""

    image_id: ImageId
    object_id: str
    label: Label


@dataclass(frozen=True, slots=True)
class Contradiction:
    """The same bytes under two labels, and the entries that say so."""

    image_id: ImageId
    acceptable: tuple[str, ...]
    objectionable: tuple[str, ...]


class Store:
    """Images, sources, labels, splits and refusals of one workspace.

    Args:
        folder: the workspace. Created if missing.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = BlobStore(folder / "objects")
        self._db = Database(folder / "catalogue.sqlite", CATALOGUE_MIGRATIONS)
        self.fingerprints = Fingerprints(self._db)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalogue."""
        self._db.close()

    # Images and where they came from

    def known_images(self, image_ids: Sequence[ImageId]) -> set[ImageId]:
        """Those of `image_ids` that are stored already."""
        known: set[ImageId] = set()
        with self._db.reading() as connection:
            for part in chunks_of(len(image_ids), _QUERY_SIZE):
                ids = image_ids[part]
                marks = ",".join("?" * len(ids))
                query = f"SELECT image_id FROM images WHERE image_id IN ({marks})"
                known.update(ImageId(row[0]) for row in connection.execute(query, ids))
        return known

    def add(
        self, records: Sequence[ImageRecord], entries: Sequence[SourceEntry], *, who: str
    ) -> int:
        """Record images whose files are durable, their sources and their imported labels.

        One transaction. A label is appended only when the entry now says something else than
        before, so that repeating an import changes nothing.

        Returns:
            How many label events were appended.
        """
        now = _now()
        with self._db.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (r.image_id, r.object_id, r.format, r.bytes, r.width, r.height, now)
                    for r in records
                ],
            )
            connection.executemany(
                "INSERT OR IGNORE INTO sources VALUES (?, ?, ?)",
                [(e.root, e.entry, e.image_id) for e in entries],
            )
            connection.executemany(
                "DELETE FROM skipped WHERE root = ? AND entry = ?",
                [(e.root, e.entry) for e in entries],
            )
            return sum(_append_import_label(connection, e, who, now) for e in entries)

    def extension_of(self, image_ids: Sequence[ImageId]) -> dict[ImageId, str]:
        """File extension of each stored image of `image_ids`."""
        found: dict[ImageId, str] = {}
        with self._db.reading() as connection:
            for part in chunks_of(len(image_ids), _QUERY_SIZE):
                ids = image_ids[part]
                marks = ",".join("?" * len(ids))
                query = f"SELECT image_id, format FROM images WHERE image_id IN ({marks})"
                for image_id, name in connection.execute(query, ids):
                    found[ImageId(image_id)] = EXTENSIONS[cast("ImageFormat", name)]
        return found

    def find_images(self, prefix: str) -> list[ImageId]:
        """Ids of images whose image id or object id starts with `prefix`."""
        with self._db.reading() as connection:
            rows = connection.execute(
                "SELECT image_id FROM images WHERE image_id GLOB ? OR object_id GLOB ?"
                " ORDER BY image_id LIMIT 20",
                (f"{prefix}*", f"{prefix}*"),
            )
            return [ImageId(row[0]) for row in rows]

    def entries_of(self, image_id: ImageId) -> list[str]:
        """Every place this image was met, as paths."""
        with self._db.reading() as connection:
            rows = connection.execute(
                "SELECT root, entry FROM sources WHERE image_id = ? ORDER BY root, entry",
                (image_id,),
            )
            return [place_of(root, entry) for root, entry in rows]

    def count_images(self) -> int:
        """Number of stored images."""
        with self._db.reading() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM images").fetchone()[0])

    # Labels

    def label_by_person(
        self, image_id: ImageId, value: Label | None, *, who: str, why: str
    ) -> None:
        """Append a person's word; None takes it back, so that what imports say holds again."""
        with self._db.transaction() as connection:
            connection.execute(
                "INSERT INTO label_events (image_id, value, kind, claim, who, why, at)"
                " VALUES (?, ?, 'person', '', ?, ?, ?)",
                (image_id, value, who, why, _now()),
            )

    def retract_claim(self, image_id: ImageId, claim: str, *, who: str, why: str) -> None:
        """Append that an imported claim no longer holds."""
        with self._db.transaction() as connection:
            connection.execute(
                "INSERT INTO label_events (image_id, value, kind, claim, who, why, at)"
                " VALUES (?, NULL, 'import', ?, ?, ?, ?)",
                (image_id, claim, who, why, _now()),
            )

    def labelled_images(self) -> list[LabelledImage]:
        """All images with a usable label, in the order their first label arrived."""
        with self._db.reading() as connection:
            rows = connection.execute(
                "SELECT image_id, object_id, value FROM labels JOIN images USING (image_id)"
                " WHERE value IS NOT NULL ORDER BY position"
            )
            return [LabelledImage(ImageId(i), o, v) for i, o, v in rows]

    def contradictions(self) -> list[Contradiction]:
        """Images that imports label both ways and no person has decided."""
        sides: dict[ImageId, tuple[list[str], list[str]]] = {}
        with self._db.reading() as connection:
            rows = connection.execute(
                "SELECT image_id, claim, claims.value FROM claims JOIN labels USING (image_id)"
                " WHERE contradictory AND claims.value IS NOT NULL ORDER BY image_id, claim"
            )
            for image_id, claim, value in rows:
                sides.setdefault(ImageId(image_id), ([], []))[value].append(claim)
        return [Contradiction(i, tuple(zero), tuple(one)) for i, (zero, one) in sides.items()]

    # Splits

    def assign_splits(self, assignment: Iterable[tuple[ImageId, Split]], scheme: str) -> None:
        """Replace all split assignments and remember the scheme that made them."""
        with self._db.transaction() as connection:
            connection.execute("DELETE FROM splits")
            connection.executemany("INSERT INTO splits VALUES (?, ?)", assignment)
            connection.execute(
                "INSERT OR REPLACE INTO settings VALUES ('split_scheme', ?)", (scheme,)
            )

    def split_scheme(self) -> dict[str, str | bool]:
        """Settings of the last `assign_splits`; empty if there was none."""
        with self._db.reading() as connection:
            row = connection.execute(
                "SELECT value FROM settings WHERE name = 'split_scheme'"
            ).fetchone()
        return cast("dict[str, str | bool]", json.loads(row[0])) if row else {}

    def splits(self) -> dict[ImageId, Split]:
        """Side of each image that has one."""
        with self._db.reading() as connection:
            rows = connection.execute("SELECT image_id, split FROM splits")
            return {ImageId(image_id): side for image_id, side in rows}

    # Refusals

    def record_skipped(self, root: str, refusals: Sequence[Refusal]) -> None:
        """Remember entries of a source that could not be imported."""
        now = _now()
        with self._db.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?, ?)",
                [(root, r.path, r.reason, r.detail, now) for r in refusals],
            )

    def skipped(self) -> list[Refusal]:
        """Every entry that could not be imported, in order of its path."""
        with self._db.reading() as connection:
            rows = connection.execute(
                "SELECT root, entry, reason, detail FROM skipped ORDER BY root, entry"
            )
            return [
                Refusal(place_of(root, entry), "import", reason, detail)
                for root, entry, reason, detail in rows
            ]


def _append_import_label(
    connection: sqlite3.Connection, entry: SourceEntry, who: str, now: str
) -> int:
    if entry.label is None:
        return 0
    claim = place_of(entry.root, entry.entry)
    row = connection.execute(
        "SELECT value FROM label_events WHERE image_id = ? AND kind = 'import' AND claim = ?"
        " ORDER BY id DESC LIMIT 1",
        (entry.image_id, claim),
    ).fetchone()
    if row is not None and row[0] == entry.label:
        return 0
    connection.execute(
        "INSERT INTO label_events (image_id, value, kind, claim, who, why, at)"
        " VALUES (?, ?, 'import', ?, ?, '', ?)",
        (entry.image_id, entry.label, claim, who, now),
    )
    return 1


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
