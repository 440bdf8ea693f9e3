"""Rivals and workspaces for tests of comparing."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from keshikaran.baselines import RivalCard
from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import RivalScore, Store
from keshikaran.types import ImageId


def fill(store: Store, files: Mapping[str, bytes], root: Path) -> dict[str, ImageId]:
    """Import files of the class folders `0` and `1` below `root`; image ids by name."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    import_source(store, scan_folder(root, []))
    return {name: ImageId(hashlib.sha256(data).hexdigest()) for name, data in files.items()}


class CountingRival:
    """Says what it was told to say, and remembers what it was asked."""

    def __init__(self, scores: Mapping[ImageId, RivalScore], version: str = "1") -> None:
        self.card = RivalCard("counting", version, "MIT", "number", "a number")
        self.asked: list[ImageId] = []
        self.closed = False
        self._scores = scores

    def score(self, image_ids: Sequence[ImageId]) -> Generator[RivalScore, None, None]:
        for image_id in image_ids:
            self.asked.append(image_id)
            yield self._scores[image_id]

    def notes(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        self.closed = True
