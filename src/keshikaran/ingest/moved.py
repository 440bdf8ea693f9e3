"""A file that was moved to another class folder: its old claim ends, history keeps it."""

from __future__ import annotations

from pathlib import Path

from keshikaran.ingest.sources import Source
from keshikaran.store import Store


def retract_moved(store: Store, source: Source, who: str) -> int:
    """End claims of files that are gone where the same bytes lie elsewhere in the same folder.

    Moving a picture from one class folder to the other and importing again is how people
    correct a label. Claims are only ended where another one, by a file that is still there,
    contradicts them: a source that is cleared after its import loses no label.

    Args:
        store: the open store.
        source: what was just imported; only a folder's claims can move.
        who: written beside the end of each claim.

    Returns:
        How many claims were ended.
    """
    root = Path(source.root)
    if not source.class_folders:
        return 0
    # By the source's own names, which were just listed: a name that no database takes is kept
    # escaped, and looking for it on the disk would call a file gone that is there.
    listed = {Path(source.root) / entry.name for entry in source.entries}
    ended = 0
    for item in store.contradictions():
        claims = [Path(claim) for claim in (*item.acceptable, *item.objectionable)]
        below = [claim for claim in claims if claim.is_relative_to(root)]
        gone = [claim for claim in below if claim not in listed]
        if len(gone) < len(below):
            for claim in gone:
                store.retract_claim(item.image_id, str(claim), who=who, why="the file was moved")
            ended += len(gone)
    return ended
