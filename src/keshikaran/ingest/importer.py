"""A source's entries → the store: checked at the door, copied once, recorded with their label."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from keshikaran.errors import ImageRefusedError
from keshikaran.hashing import content_ids
from keshikaran.ingest.entries import Entry, Held, Source
from keshikaran.ingest.known import Recogniser
from keshikaran.ingest.moved import retract_moved
from keshikaran.pixels import DEFAULT_LIMITS, EXTENSIONS, Limits, read_header
from keshikaran.store import Fingerprint, ImageRecord, SourceEntry, Store
from keshikaran.types import ImageId, Label, Progress, Refusal, SilentProgress

_FIRST_BATCH = 16  # small, and each twice the one before: who waits for images begins early
_BATCH = 256
_HELD_BYTES = 128 * 1024 * 1024  # of streamed entries that wait for a thread

OnCommitted = Callable[[Sequence[tuple[ImageRecord, Label | None]]], None]
"""Told of images that are safe in the store, each with what its source says about it."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did. `seen` = `imported` + `duplicates` + `skipped`.

    Attributes:
        seen: entries the sources named.
        imported: images that were new to the store.
        duplicates: entries whose bytes the store had already.
        skipped: entries that could not be used; each is in `refusals`.
        labels: label events appended; 0 when everything was said before.
        refusals: each skipped entry with its reason.
    """

    seen: int = 0
    imported: int = 0
    duplicates: int = 0
    skipped: int = 0
    labels: int = 0
    refusals: tuple[Refusal, ...] = ()

    def __add__(self, other: ImportReport) -> ImportReport:
        """Both imports together."""
        return ImportReport(
            self.seen + other.seen,
            self.imported + other.imported,
            self.duplicates + other.duplicates,
            self.skipped + other.skipped,
            self.labels + other.labels,
            self.refusals + other.refusals,
        )


@dataclass(frozen=True, slots=True)
class _Accepted:
    """An entry that is an image; `path` None if it was known without being read."""

    record: ImageRecord
    path: Path | None = None
    stamp: str | None = None


@dataclass(slots=True)
class _Batch:
    records: list[ImageRecord] = field(default_factory=list)
    entries: list[SourceEntry] = field(default_factory=list)
    paths: list[Path | None] = field(default_factory=list)
    fingerprints: list[Fingerprint] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries) + len(self.refusals)

    def take(self, root: str, entry: Entry, accepted: _Accepted) -> None:
        image_id = accepted.record.image_id
        self.records.append(accepted.record)
        self.paths.append(accepted.path)
        self.entries.append(SourceEntry(root, entry.name, image_id, entry.label))
        if accepted.stamp is not None:
            self.fingerprints.append(Fingerprint(entry.name, accepted.stamp, image_id))


def import_source(
    store: Store,
    source: Source,
    *,
    who: str = "import",
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    on_committed: OnCommitted | None = None,
    rehash: bool = False,
) -> ImportReport:
    """Copy the entries of `source` into the store and record where they came from.

    Sources are read, never changed. A file that was moved to another class folder since the last
    import takes its claim along. Repeating an import adds nothing, and does not read what has
    not changed since. What was recorded before an interruption stays.

    Args:
        store: the open store.
        source: what to import.
        who: written beside each new label.
        limits: what a file may ask for.
        progress: told of each entry.
        on_committed: called in this thread after each batch is durable, with the images of all
            its usable entries, new and known, in the order of the entries.
        rehash: read everything, also what looks unchanged from outside.

    Raises:
        StoreError: the disk is full or the store cannot be written.
    """
    progress = progress or SilentProgress()
    recogniser = Recogniser(store, source.root, limits, rehash=rehash)
    recorder = _Recorder(store, source.root, who, recogniser, on_committed)
    with progress.task("import", source.count) as task:
        for item, result in _accept_all(store, source, recogniser, limits):
            recorder.take(item, result)
            task.advance()
        recorder.commit()
        recogniser.flush()
    total = _sum(recorder.reports)
    refused = {refusal.path for refusal in total.refusals}
    store.clear_skipped(source.root, [n for n in source.containers if n not in refused])
    return total + ImportReport(labels=retract_moved(store, source, limits, who))


class _Recorder:
    """Collects what was accepted and refused, and records it a batch at a time.

    Args:
        store: the open store.
        root: the source's root.
        who: written beside each new label.
        recogniser: remembers what recorded files looked like from outside.
        on_committed: see `import_source`.
    """

    def __init__(
        self,
        store: Store,
        root: str,
        who: str,
        recogniser: Recogniser,
        on_committed: OnCommitted | None,
    ) -> None:
        self.reports: list[ImportReport] = []
        self._store, self._root, self._who = store, root, who
        self._recogniser, self._on_committed = recogniser, on_committed
        self._batch, self._room = _Batch(), min(_FIRST_BATCH, _BATCH)

    def take(self, item: Entry | Refusal, result: _Result) -> None:
        """Add one entry; record the batch when it is full."""
        if isinstance(item, Entry) and isinstance(result, _Accepted):
            self._batch.take(self._root, item, result)
        elif isinstance(result, Refusal):
            self._batch.refusals.append(result)
        if len(self._batch) >= self._room:
            self.commit()
            self._room = min(2 * self._room, _BATCH)

    def commit(self) -> None:
        """Record what was collected, and tell who wants to know."""
        batch, self._batch = self._batch, _Batch()
        report = _commit(self._store, self._root, batch, self._who)
        self.reports.append(report)
        self._recogniser.remember(batch.fingerprints)
        refused = {refusal.path for refusal in report.refusals}
        safe = [
            (record, entry.label)
            for record, entry in zip(batch.records, batch.entries, strict=True)
            if entry.entry not in refused
        ]
        if self._on_committed is not None and safe:
            self._on_committed(safe)


def _sum(reports: Sequence[ImportReport]) -> ImportReport:
    """All of them together; unlike `+`, in time that grows with their number only."""
    return ImportReport(
        sum(report.seen for report in reports),
        sum(report.imported for report in reports),
        sum(report.duplicates for report in reports),
        sum(report.skipped for report in reports),
        sum(report.labels for report in reports),
        tuple(refusal for report in reports for refusal in report.refusals),
    )


_Result = _Accepted | Refusal
_Pending = deque[tuple[Entry | Refusal, "Future[_Result] | _Result"]]


def _accept_all(
    store: Store, source: Source, recogniser: Recogniser, limits: Limits
) -> Iterator[tuple[Entry | Refusal, _Result]]:
    """Read, check and copy the entries on several threads; results in order."""
    pending: _Pending = deque()
    held = 0
    with ThreadPoolExecutor(source.threads, thread_name_prefix="keshikaran-import") as pool:
        try:
            for item, known in recogniser.sort(source.walk(limits)):
                if isinstance(item, Refusal):
                    pending.append((item, item))
                elif known is not None:
                    pending.append((item, _Accepted(known)))
                else:
                    held += _held_bytes(item)
                    pending.append((item, pool.submit(_accept, store, item, limits)))
                while len(pending) >= 4 * source.threads or held > _HELD_BYTES:
                    held -= _held_bytes(pending[0][0])
                    yield _finished(pending)
            while pending:
                yield _finished(pending)
        finally:
            for _, result in pending:
                if isinstance(result, Future):
                    result.cancel()


def _finished(pending: _Pending) -> tuple[Entry | Refusal, _Result]:
    item, result = pending.popleft()
    return item, result.result() if isinstance(result, Future) else result


def _held_bytes(item: Entry | Refusal) -> int:
    content = item.content if isinstance(item, Entry) else None
    return len(content.data) if isinstance(content, Held) else 0


def _accept(store: Store, entry: Entry, limits: Limits) -> _Result:
    try:
        reading = entry.content.read(limits)
        header = read_header(reading.data, limits)
    except ImageRefusedError as refusal:
        return Refusal(entry.name, "import", refusal.reason, refusal.detail)
    data = reading.data
    ids = content_ids(data)
    if entry.object_id is not None and entry.object_id != ids.object_id:
        detail = f"the content's SHA-1 is {ids.object_id}, not what its name says"
        return Refusal(entry.name, "import", "hash_mismatch", detail)
    path = store.blobs.put(ids.image_id, EXTENSIONS[header.format], data)
    record = ImageRecord(
        ids.image_id, ids.object_id, header.format, len(data), header.width, header.height
    )
    return _Accepted(record, path, reading.stamp)


def _commit(store: Store, root: str, batch: _Batch, who: str) -> ImportReport:
    """Files first, rows after: a row never names a file that a crash could take away."""
    read = {
        record.image_id: (record, path)
        for record, path in zip(batch.records, batch.paths, strict=True)
        if path is not None
    }
    known = store.known_images(list(read))
    fresh = [record for image_id, (record, _) in read.items() if image_id not in known]
    repaired = {image_id for image_id in known if store.blobs.wrote(read[image_id][1])}
    written = repaired.union(record.image_id for record in fresh)
    store.blobs.sync_folders(read[image_id][1] for image_id in written)
    collisions, labels = _tell(store, batch, fresh, repaired, who)
    refusals = [*batch.refusals, *_collided(batch.entries, collisions)]
    if refusals:
        store.record_skipped(root, refusals)
    imported = len(fresh) - len(collisions)
    return ImportReport(
        seen=len(batch),
        imported=imported,
        duplicates=len(batch) - imported - len(refusals),
        skipped=len(refusals),
        labels=labels,
        refusals=tuple(refusals),
    )


def _tell(
    store: Store, batch: _Batch, fresh: list[ImageRecord], repaired: set[ImageId], who: str
) -> tuple[dict[ImageId, ImageId], int]:
    """Record what is new in a batch, if anything is.

    Returns:
        Images refused because another one has their SHA-1, and how many labels were appended.
    """
    news = store.fingerprints.unsaid(batch.entries)
    again = [entry for entry in batch.entries if entry.image_id in repaired and entry not in news]
    if not news and not again:
        return {}, 0
    added = store.add(fresh, [*news, *again], who=who)
    return added.collisions, added.labels


def _collided(entries: list[SourceEntry], collisions: dict[ImageId, ImageId]) -> Iterator[Refusal]:
    for entry in entries:
        other = collisions.get(entry.image_id)
        if other is not None:
            detail = (
                f"its SHA-1 is that of image {other}, its content is not;"
                " one of the two was made to pass for the other"
            )
            yield Refusal(entry.entry, "import", "sha1_collision", detail)
