"""Entries that were imported before and have not changed since: known without being read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from keshikaran.ingest.entries import Entry
from keshikaran.pixels import EXTENSIONS, PIXEL_CONTRACT_VERSION, Limits
from keshikaran.store import Fingerprint, ImageRecord, Store
from keshikaran.types import Refusal

_LOOKUP = 512
_REMEMBERED = 4096

_Item = Entry | Refusal


class Recogniser:
    """Compares what entries look like from outside with what they looked like last time.

    An entry is known when its stamp is the one recorded, it was accepted under the same rules,
    and its image is in the catalogue and among the objects. Stamps of very young files are None
    (see `entries`), so that a change within a tick of the clock is never missed.

    Args:
        store: the open store.
        root: the source.
        limits: what a file may ask for; other limits, other rules.
        rehash: know nothing, but remember all the same.
    """

    def __init__(self, store: Store, root: str, limits: Limits, *, rehash: bool) -> None:
        self._store = store
        self._root = root
        self._rehash = rehash
        self._rules = _rules(limits)
        self._new: list[Fingerprint] = []

    def sort(self, items: Iterable[_Item]) -> Iterator[tuple[_Item, ImageRecord | None]]:
        """Each item in order, with its image if it need not be read."""
        waiting: list[tuple[_Item, str | None]] = []
        for item in items:
            known = isinstance(item, Entry) and not self._rehash
            stamp = item.content.stamp() if isinstance(item, Entry) and known else None
            waiting.append((item, stamp))
            if stamp is None or len(waiting) >= _LOOKUP:  # streamed bytes must not pile up here
                yield from self._look_up(waiting)
                waiting = []
        yield from self._look_up(waiting)

    def remember(self, fingerprints: Sequence[Fingerprint]) -> None:
        """Take stamps of entries whose images are recorded; written now and then."""
        self._new.extend(fingerprints)
        if len(self._new) >= _REMEMBERED:
            self.flush()

    def flush(self) -> None:
        """Write what was remembered."""
        self._store.fingerprints.remember(self._root, self._rules, self._new)
        self._new = []

    def _look_up(
        self, waiting: Sequence[tuple[_Item, str | None]]
    ) -> Iterator[tuple[_Item, ImageRecord | None]]:
        names = [
            item.name for item, stamp in waiting if stamp is not None and isinstance(item, Entry)
        ]
        known = self._store.fingerprints.find(self._root, self._rules, names) if names else {}
        for item, stamp in waiting:
            if stamp is None or isinstance(item, Refusal):
                yield item, None
                continue
            before, record = known.get(item.name, (None, None))
            same = before == stamp and record is not None and self._is_stored(item, record)
            yield item, record if same else None

    def _is_stored(self, entry: Entry, record: ImageRecord) -> bool:
        if entry.object_id not in (None, record.object_id):
            return False
        extension = EXTENSIONS[record.format]
        return self._store.blobs.holds(record.image_id, extension, record.bytes)


def _rules(limits: Limits) -> str:
    """All that decides what is accepted, as one short text, the same in every process."""
    words = json.dumps([PIXEL_CONTRACT_VERSION, asdict(limits)], sort_keys=True, default=sorted)
    return hashlib.sha256(words.encode()).hexdigest()[:16]
