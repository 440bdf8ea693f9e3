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
from keshikaran.types import Label, Progress, Refusal, SilentProgress

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
    total = ImportReport()
    batch = _Batch()

    def commit() -> ImportReport:
        report = _commit(store, source.root, batch, who)
        recogniser.remember(batch.fingerprints)
        if on_committed is not None and batch.records:
            labels = (entry.label for entry in batch.entries)
            on_committed(tuple(zip(batch.records, labels, strict=True)))
        return report

    with progress.task("import", source.count) as task:
        for item, result in _accept_all(store, source, recogniser, limits):
            if isinstance(item, Entry) and isinstance(result, _Accepted):
                batch.take(source.root, item, result)
            elif isinstance(result, Refusal):
                batch.refusals.append(result)
            task.advance()
            if len(batch) >= _BATCH:
                total += commit()
                batch = _Batch()
        total += commit()
        recogniser.flush()
    return total + ImportReport(labels=retract_moved(store, source, limits, who))


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
    for image_id in store.known_images(list(read)):
        del read[image_id]
    store.blobs.sync_folders(path for _, path in read.values())
    news = store.fingerprints.unsaid(batch.entries)
    labels = 0
    if news:
        labels = store.add([record for record, _ in read.values()], news, who=who)
    if batch.refusals:
        store.record_skipped(root, batch.refusals)
    return ImportReport(
        seen=len(batch),
        imported=len(read),
        duplicates=len(batch.records) - len(read),
        skipped=len(batch.refusals),
        labels=labels,
        refusals=tuple(batch.refusals),
    )
