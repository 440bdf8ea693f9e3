"""The catalogue of a workspace: which images there are, where from, and what was said of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from keshikaran.errors import ImageRefusedError, StoreError
from keshikaran.pixels import EXTENSIONS, ImageFormat
from keshikaran.store.blobs import BlobStore
from keshikaran.store.catalogue import Catalogue, Changes
from keshikaran.store.fingerprints import Fingerprints
from keshikaran.store.groups import Groups
from keshikaran.store.labelled import Labels
from keshikaran.store.lock import use_workspace
from keshikaran.store.places import place_of
from keshikaran.store.recording import add_entry, add_image, collisions_of, find_again
from keshikaran.store.records import (
    Added,
    ImageRecord,
    SetAside,
    SourceEntry,
)
from keshikaran.store.suggested import Suggested
from keshikaran.store.suspected import Suspected
from keshikaran.store.visited import Visited
from keshikaran.types import ImageId, Refusal, Split, chunks_of

_QUERY_SIZE = 500


class Store:
    """Images, sources, splits and refusals of one workspace; `labels` and others have the rest.

    Args:
        folder: the workspace. Created if missing.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = BlobStore(folder / "objects")
        self._lock = use_workspace(folder)
        try:
            self._catalogue = Catalogue(folder)
        except BaseException:
            self._lock.release()
            raise
        self._db = self._catalogue.database  # for reading, and for what the journal need not know
        self.labels = Labels(self._catalogue)
        self.fingerprints = Fingerprints(self._db)
        self.visited = Visited(self._db)
        self.groups = Groups(self._catalogue)
        self.suspected = Suspected(self._catalogue)
        self.suggested = Suggested(self._catalogue)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalogue and let others clear up."""
        self.blobs.close()
        self._catalogue.close()
        self._lock.release()

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
    ) -> Added:
        """Record images whose files are durable, their sources and their imported labels.

        One transaction. A label is appended only when the entry now says something else than
        before, so that repeating an import changes nothing. An image that has the SHA-1 of
        another one is not recorded, nor are its entries: one of the two was made to deceive.
        """
        now = _now()
        labels = 0
        with self._catalogue.changing() as changes:
            collisions = collisions_of(changes, records)
            for record in records:
                if record.image_id not in collisions:
                    add_image(changes, record, now)
            for entry in entries:
                if entry.image_id not in collisions:
                    labels += add_entry(changes, entry, who, now)
            find_again(changes, entries, collisions)
            self._forget_repaired(changes, entries)
        return Added(labels, collisions)

    def _forget_repaired(self, changes: Changes, entries: Sequence[SourceEntry]) -> None:
        query = "SELECT image_id, format FROM damaged_objects JOIN images USING (image_id)"
        damaged = dict(changes.connection.execute(query))
        for image_id in {entry.image_id for entry in entries} & damaged.keys():
            with suppress(ImageRefusedError):  # it is damaged still
                self.blobs.read(image_id, EXTENSIONS[damaged[image_id]])
                changes.connection.execute(
                    "DELETE FROM damaged_objects WHERE image_id = ?", (image_id,)
                )

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

    def object_ids(self, image_ids: Sequence[ImageId]) -> dict[ImageId, str]:
        """SHA-1 of each stored image of `image_ids`."""
        wanted = set(image_ids)
        with self._db.reading() as connection:
            rows = connection.execute("SELECT image_id, object_id FROM images")
            return {ImageId(i): name for i, name in rows if i in wanted}

    def formats(self) -> set[ImageFormat]:
        """The formats of the stored images."""
        with self._db.reading() as connection:
            rows = connection.execute("SELECT DISTINCT format FROM images")
            return {cast("ImageFormat", row[0]) for row in rows}

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
        return self.places_of([image_id])[image_id]

    def places_of(self, image_ids: Sequence[ImageId]) -> dict[ImageId, list[str]]:
        """Every place each image was met, as paths, in order."""
        found: dict[ImageId, list[str]] = {image_id: [] for image_id in image_ids}
        with self._db.reading() as connection:
            for part in chunks_of(len(image_ids), _QUERY_SIZE):
                ids = image_ids[part]
                rows = connection.execute(
                    "SELECT image_id, root, entry FROM sources"
                    f" WHERE image_id IN ({','.join('?' * len(ids))}) ORDER BY root, entry",
                    ids,
                )
                for image_id, root, entry in rows:
                    found[ImageId(image_id)].append(place_of(root, entry))
        return found

    def image_ids(self) -> list[ImageId]:
        """Ids of all stored images, ascending."""
        with self._db.reading() as connection:
            rows = connection.execute("SELECT image_id FROM images ORDER BY image_id")
            return [ImageId(row[0]) for row in rows]

    def count_images(self) -> int:
        """Number of stored images."""
        with self._db.reading() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM images").fetchone()[0])

    def object_files(self) -> Iterator[Path]:
        """Where the file of each stored image lies or should lie."""
        with self._db.reading() as connection:
            rows = connection.execute("SELECT image_id, format FROM images").fetchall()
        for image_id, name in rows:
            yield self.blobs.path_of(image_id, EXTENSIONS[cast("ImageFormat", name)])

    def damaged_images(self) -> set[ImageId]:
        """Images whose file the last check found missing or damaged, until it is repaired."""
        with self._db.reading() as connection:
            return {
                ImageId(row[0])
                for row in connection.execute("SELECT image_id FROM damaged_objects")
            }

    # Splits

    def assign_splits(
        self,
        assignment: Iterable[tuple[ImageId, Split]],
        scheme: str,
        set_aside: Sequence[SetAside] = (),
    ) -> None:
        """Replace all split assignments and remember the scheme that made them.

        Args:
            assignment: images and their sides.
            scheme: the settings, as text.
            set_aside: labelled images that get no side, and why.

        Raises:
            StoreError: an image is on two sides; nothing changes.
        """
        wanted: dict[str, Split] = {}
        for image_id, side in assignment:
            if wanted.setdefault(image_id, side) != side:
                msg = f"Image {image_id} is to be both {wanted[image_id]} and {side}."
                raise StoreError(msg, "Give each image one side.")
        with self._catalogue.changing() as changes:
            query = "SELECT image_id, split FROM splits"
            before: dict[str, str] = dict(changes.connection.execute(query))
            for name in sorted(before.keys() - wanted.keys()):
                changes.make("unsplit", image_id=name)
            for name, side in wanted.items():
                if before.get(name) != side:
                    changes.make("split", image_id=name, split=side)
            self._replace_set_aside(changes, set_aside)
            kept = changes.connection.execute(
                "SELECT value FROM settings WHERE name = 'split_scheme'"
            ).fetchone()
            if kept is None or kept[0] != scheme:
                changes.make("setting", name="split_scheme", value=scheme)

    def _replace_set_aside(self, changes: Changes, wanted: Sequence[SetAside]) -> None:
        query = "SELECT image_id FROM set_aside"
        before = {row[0] for row in changes.connection.execute(query)}
        for name in sorted(before - {item.image_id for item in wanted}):
            changes.make("unaside", image_id=name)
        for item in wanted:
            changes.make("aside", image_id=item.image_id, twin=item.twin, side=item.side)

    def set_aside(self) -> list[SetAside]:
        """Labelled images that the last split gave no side, since they would leak."""
        with self._db.reading() as connection:
            rows = connection.execute(
                "SELECT image_id, twin, side FROM set_aside ORDER BY image_id"
            )
            return [SetAside(ImageId(i), ImageId(twin), side) for i, twin, side in rows]

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
        if not refusals:
            return
        now = _now()
        with self._catalogue.changing() as changes:
            for r in refusals:
                changes.make(
                    "skipped", root=root, entry=r.path, reason=r.reason, detail=r.detail, at=now
                )

    def clear_skipped(self, root: str, entries: Sequence[str]) -> None:
        """Forget refusals that no longer hold."""
        if not entries:
            return
        with self._db.reading() as connection:
            rows = connection.execute("SELECT entry FROM skipped WHERE root = ?", (root,))
            stale = {row[0] for row in rows}.intersection(entries)
        if not stale:
            return
        with self._catalogue.changing() as changes:
            for entry in sorted(stale):
                changes.make("found", root=root, entry=entry)

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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
