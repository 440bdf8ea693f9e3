"""A file that was moved to another class folder: its old claim ends, history keeps it."""

from __future__ import annotations

from keshikaran.ingest.entries import Entry, Source
from keshikaran.pixels import Limits
from keshikaran.store import Store, place_of


def retract_moved(store: Store, source: Source, limits: Limits, who: str) -> int:
    """End claims of entries that are gone where the same bytes lie elsewhere in the same source.

    Moving a picture from one class folder to the other and importing again is how people
    correct a label. Claims are only ended where another one, by an entry that is still there,
    contradicts them: a source that is cleared after its import loses no label.

    Args:
        store: the open store.
        source: what was just imported; only claims of one with class folders can move.
        limits: as for the import.
        who: written beside the end of each claim.

    Returns:
        How many claims were ended.
    """
    if not source.class_folders:
        return 0
    disputed = {
        item.image_id: [
            claim
            for claim in (*item.acceptable, *item.objectionable)
            if claim.startswith(place_of(source.root, ""))
        ]
        for item in store.labels.contradictions()
    }
    disputed = {image_id: claims for image_id, claims in disputed.items() if len(claims) > 1}
    if not disputed:
        return 0
    # By the source's own names: one that no database takes is kept escaped, and looking for it
    # on the disk would call a file gone that is there.
    listed = {
        place_of(source.root, entry.name)
        for entry in source.walk(limits)
        if isinstance(entry, Entry)
    }
    ended = 0
    for image_id, claims in disputed.items():
        gone = [claim for claim in claims if claim not in listed]
        if len(gone) < len(claims):
            for claim in gone:
                store.labels.retract_claim(image_id, claim, who=who, why="the file was moved")
            ended += len(gone)
    return ended
