"""A source's files → the store: checked at the door, copied once, recorded with their label."""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from keshikaran.errors import ImageRefusedError
from keshikaran.hashing import content_ids
from keshikaran.ingest.moved import retract_moved
from keshikaran.ingest.sources import Entry, Source
from keshikaran.pixels import DEFAULT_LIMITS, EXTENSIONS, Limits, read_header
from keshikaran.store import ImageRecord, SourceEntry, Store
from keshikaran.types import ImageId, Progress, Refusal, SilentProgress

_THREADS = 4  # they wait for the disk; more of them were no faster
_BATCH = 256


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


@dataclass(slots=True)
class _Batch:
    records: list[ImageRecord] = field(default_factory=list)
    entries: list[SourceEntry] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries) + len(self.refusals)


@dataclass(frozen=True, slots=True)
class _Accepted:
    record: ImageRecord
    path: Path


def import_source(
    store: Store,
    source: Source,
    *,
    who: str = "import",
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> ImportReport:
    """Copy the files of `source` into the store and record where they came from.

    Files are read, never changed. A file that was moved to another class folder since the last
    import takes its claim along. Repeating an import adds nothing. What was recorded before
    an interruption stays.

    Args:
        store: the open store.
        source: what to import.
        who: written beside each new label.
        limits: what a file may ask for.
        progress: told of each file.

    Raises:
        StoreError: the disk is full or the store cannot be written.
    """
    progress = progress or SilentProgress()
    total = ImportReport()
    batch = _Batch(refusals=list(source.refusals))
    with progress.task("import", len(source.entries)) as task:
        for entry, result in _accept_all(store, source, limits):
            _collect(batch, source.root, entry, result)
            task.advance()
            if len(batch) >= _BATCH:
                total += _commit(store, source.root, batch, who)
                batch = _Batch()
        total += _commit(store, source.root, batch, who)
    return total + ImportReport(labels=retract_moved(store, source, who))


def _accept_all(
    store: Store, source: Source, limits: Limits
) -> Iterator[tuple[Entry, _Accepted | Refusal]]:
    """Read, check and copy the files on several threads; results in order."""
    pending: deque[tuple[Entry, Future[_Accepted | Refusal]]] = deque()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="keshikaran-import") as pool:
        try:
            for entry in source.entries:
                pending.append((entry, pool.submit(_accept, store, entry, limits)))
                if len(pending) >= 4 * _THREADS:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()


def _accept(store: Store, entry: Entry, limits: Limits) -> _Accepted | Refusal:
    try:
        data = _read(entry.path, limits)
        header = read_header(data, limits)
    except ImageRefusedError as refusal:
        return Refusal(entry.name, "import", refusal.reason, refusal.detail)
    ids = content_ids(data)
    if entry.object_id is not None and entry.object_id != ids.object_id:
        detail = f"the content's SHA-1 is {ids.object_id}, not what its name says"
        return Refusal(entry.name, "import", "hash_mismatch", detail)
    path = store.blobs.put(ids.image_id, EXTENSIONS[header.format], data)
    record = ImageRecord(
        ids.image_id, ids.object_id, header.format, len(data), header.width, header.height
    )
    return _Accepted(record, path)


def _read(path: Path, limits: Limits) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device could be read for ever
            detail = "not a regular file"
            raise ImageRefusedError("unreadable_file", detail)
        if status.st_size > limits.max_bytes:
            detail = f"the file has {status.st_size:,} bytes, the limit is {limits.max_bytes:,}"
            raise ImageRefusedError("too_many_bytes", detail)
        return path.read_bytes()
    except OSError as error:
        raise ImageRefusedError("unreadable_file", error.strerror or str(error)) from error


def _collect(batch: _Batch, root: str, entry: Entry, result: _Accepted | Refusal) -> None:
    if isinstance(result, Refusal):
        batch.refusals.append(result)
        return
    batch.records.append(result.record)
    batch.paths.append(result.path)
    batch.entries.append(SourceEntry(root, entry.name, result.record.image_id, entry.label))


def _commit(store: Store, root: str, batch: _Batch, who: str) -> ImportReport:
    """Files first, rows after: a row never names a file that a crash could take away."""
    ids = [record.image_id for record in batch.records]
    known = store.known_images(ids)
    fresh: dict[ImageId, ImageRecord] = {
        record.image_id: record for record in batch.records if record.image_id not in known
    }
    store.blobs.sync_folders(
        path
        for record, path in zip(batch.records, batch.paths, strict=True)
        if record.image_id in fresh or store.blobs.wrote(path)  # or repaired
    )
    added = store.add(list(fresh.values()), batch.entries, who=who)
    refusals = [*batch.refusals, *_collided(batch.entries, added.collisions)]
    store.record_skipped(root, refusals)
    imported = len(fresh) - len(added.collisions)
    return ImportReport(
        seen=len(batch),
        imported=imported,
        duplicates=len(batch) - imported - len(refusals),
        skipped=len(refusals),
        labels=added.labels,
        refusals=tuple(refusals),
    )


def _collided(entries: list[SourceEntry], collisions: dict[ImageId, ImageId]) -> Iterator[Refusal]:
    for entry in entries:
        other = collisions.get(entry.image_id)
        if other is not None:
            detail = (
                f"its SHA-1 is that of image {other}, its content is not;"
                " one of the two was made to pass for the other"
            )
            yield Refusal(entry.entry, "import", "sha1_collision", detail)
