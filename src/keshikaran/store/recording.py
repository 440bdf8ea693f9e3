"""The changes that one import, or one person's word, amounts to."""

from __future__ import annotations

from collections.abc import Sequence

from keshikaran.store.catalogue import Changes
from keshikaran.store.places import place_of
from keshikaran.store.records import ImageRecord, SourceEntry
from keshikaran.types import ImageId, Label, chunks_of

_QUERY_SIZE = 500


def collisions_of(changes: Changes, records: Sequence[ImageRecord]) -> dict[ImageId, ImageId]:
    """Those of `records` whose SHA-1 belongs to an image with other bytes, and to which."""
    owners: dict[str, ImageId] = {}
    names = [record.object_id for record in records]
    for part in chunks_of(len(names), _QUERY_SIZE):
        marks = ",".join("?" * len(names[part]))
        query = f"SELECT object_id, image_id FROM images WHERE object_id IN ({marks})"
        owners.update(changes.connection.execute(query, names[part]))
    return {
        record.image_id: owner
        for record in records
        if (owner := owners.setdefault(record.object_id, record.image_id)) != record.image_id
    }


def add_image(changes: Changes, record: ImageRecord, now: str) -> None:
    """Record an image."""
    changes.make(
        "image",
        image_id=record.image_id,
        object_id=record.object_id,
        format=record.format,
        bytes=record.bytes,
        width=record.width,
        height=record.height,
        at=now,
    )


def find_again(
    changes: Changes, entries: Sequence[SourceEntry], collisions: dict[ImageId, ImageId]
) -> None:
    """Take entries that were skipped before, and are not any more, off that list."""
    skipped: set[tuple[str, str]] = set()
    for root in {entry.root for entry in entries}:
        query = "SELECT root, entry FROM skipped WHERE root = ?"
        skipped.update(changes.connection.execute(query, (root,)))
    for entry in entries:
        if (entry.root, entry.entry) in skipped and entry.image_id not in collisions:
            changes.make("found", root=entry.root, entry=entry.entry)


def add_entry(changes: Changes, entry: SourceEntry, who: str, now: str) -> int:
    """Record where an image was met, and what that says of it if it is news.

    Returns:
        How many labels were appended.
    """
    changes.make("source", root=entry.root, entry=entry.entry, image_id=entry.image_id)
    if entry.label is None:
        return 0
    claim = place_of(entry.root, entry.entry)
    row = changes.connection.execute(
        "SELECT value FROM label_events WHERE image_id = ? AND kind = 'import' AND claim = ?"
        " ORDER BY id DESC LIMIT 1",
        (entry.image_id, claim),
    ).fetchone()
    if row is not None and row[0] == entry.label:
        return 0
    say(changes, entry.image_id, entry.label, by="import", claim=claim, who=who, why="", at=now)
    return 1


def say(
    changes: Changes,
    image_id: ImageId,
    value: Label | None,
    **how: str,
) -> None:
    """Append a label event; None takes back what the same claim said before."""
    changes.make("label", image_id=image_id, value=value, **how)
