"""Is everything that was stored still there, and still the same?

Nothing is changed but a note of which images need repair, so that importing them again does it.
May run while others import and label: rows are read before files are listed, and a file is
there before its row is.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from keshikaran.errors import DamagedStoreError, ImageRefusedError, StoreError
from keshikaran.hashing import TEMPORARY_PREFIX
from keshikaran.pixels import EXTENSIONS, ImageFormat
from keshikaran.store.blobs import BlobStore, FileFacts, files_below, is_object
from keshikaran.store.catalogue import CATALOGUE_NAME, IF_DAMAGED, JOURNAL_NAME, open_tables
from keshikaran.store.database import Database
from keshikaran.store.features import open_cache
from keshikaran.store.findings import FindingKind, FsckFinding, FsckReport, by_weight
from keshikaran.store.fsck_journal import check_journal
from keshikaran.store.in_use import IN_USE_NAME, read_in_use
from keshikaran.store.lock import hold_workspace
from keshikaran.store.workspace import Workspace
from keshikaran.types import ImageId, Progress, SilentProgress, chunks_of

_THREADS = 4
_AT_ONCE = 1024


@dataclass(slots=True)
class _Check:
    """A check under way."""

    folder: Path
    blobs: BlobStore
    findings: list[FsckFinding] = field(default_factory=list)

    def found(self, kind: FindingKind, subject: str, detail: str) -> None:
        self.findings.append(FsckFinding(kind, subject, detail))

    def name_of(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


@dataclass(frozen=True, slots=True)
class _Row:
    image_id: ImageId
    extension: str
    bytes: int


def check_store(
    folder: Path,
    *,
    full: bool = False,
    sample: int = 0,
    progress: Progress | None = None,
    chance: random.Random | None = None,
) -> FsckReport:
    """Check a workspace: database, names and sizes of files, journal.

    Args:
        folder: the workspace.
        full: also read every file, and the journal and the feature cache whole.
        sample: also read so many files, chosen at random.
        progress: told of each file read.
        chance: chooses the sample.

    Raises:
        StoreError: it cannot be checked at all: no access, or in use for too long.
    """
    check = _Check(folder, BlobStore(folder / "objects"))
    with hold_workspace(folder), ExitStack() as stack:
        rows: list[_Row] | None = None
        try:
            _refuse_lost(folder)
            database = stack.enter_context(closing(open_tables(folder / CATALOGUE_NAME)))
            _check_tables(check, database, full=full)
            rows = _rows(database)
        except DamagedStoreError as error:
            check.found("damaged_catalogue", CATALOGUE_NAME, error.what)
        files = list(files_below(folder))
        whole = _named(check, files) if rows is None else _compare(check, rows, files, database)
        chosen = whole if full else _sampled(whole, sample, chance or random.Random())
        _read(check, chosen, progress or SilentProgress())
        if rows is not None:
            check.findings.extend(check_journal(folder, database, full=full))
            _note(database, check.findings, chosen)
        _check_in_use(check)
        if full:
            _check_cache(check)
    objects = sum(is_object(check.blobs.root, file.path) for file in files)
    return FsckReport(len(rows or ()), objects, len(chosen), by_weight(check.findings))


def _refuse_lost(folder: Path) -> None:
    """Opening would make an empty catalogue, for which every object is a leftover."""
    traces = (folder / JOURNAL_NAME, folder / "objects")
    if not (folder / CATALOGUE_NAME).exists() and any(trace.exists() for trace in traces):
        msg = f"{CATALOGUE_NAME} is missing."
        raise DamagedStoreError(msg, IF_DAMAGED)


def _check_tables(check: _Check, database: Database, *, full: bool) -> None:
    for words in database.problems(full=full):
        check.found("damaged_catalogue", CATALOGUE_NAME, words)
    with database.reading() as connection:
        twins = connection.execute(
            "SELECT object_id, GROUP_CONCAT(image_id, ' and ') FROM images"
            " GROUP BY object_id HAVING COUNT(*) > 1"
        ).fetchall()
    for object_id, image_ids in twins:
        check.found("sha1_collision", object_id, f"is the SHA-1 of {image_ids}")


def _check_in_use(check: _Check) -> None:
    """The record of the model in use, and the model that it names."""
    place = Workspace(check.folder)
    try:
        model_id = read_in_use(place.model_folder).model_id
    except StoreError as error:
        check.found("damaged_record", check.name_of(place.model_folder / IN_USE_NAME), error.what)
        return
    if model_id is not None and not place.model(model_id).is_file():
        name = check.name_of(place.model(model_id))
        check.found("missing_model", name, "is in use and is not there")


def _check_cache(check: _Check) -> None:
    path = Workspace(check.folder).features
    if not path.is_file():
        return
    try:
        with closing(open_cache(path)) as database:
            problems = database.problems(full=True)
    except DamagedStoreError as error:
        problems = [error.what]
    for words in problems:
        check.found("damaged_cache", check.name_of(path), words)


def _rows(database: Database) -> list[_Row]:
    with database.reading() as connection:
        rows = connection.execute("SELECT image_id, format, bytes FROM images").fetchall()
    return [_Row(ImageId(i), EXTENSIONS[cast("ImageFormat", name)], size) for i, name, size in rows]


def _compare(
    check: _Check, rows: Sequence[_Row], files: Sequence[FileFacts], database: Database
) -> list[_Row]:
    """Hold rows and files against each other; returns the rows with a file of the right size."""
    there = {file.path: file for file in files}
    expected = {check.blobs.path_of(row.image_id, row.extension): row for row in rows}
    whole: list[_Row] = []
    for path, row in expected.items():
        file = there.get(path)
        if file is None:
            check.found("missing_object", row.image_id, f"{check.name_of(path)} is not there")
        elif file.bytes != row.bytes:
            detail = f"has {file.bytes:,} bytes instead of {row.bytes:,}"
            check.found("damaged_object", row.image_id, detail)
        else:
            whole.append(row)
    _leftovers(check, [file for file in files if file.path not in expected], database)
    for path in expected.keys() & there.keys():
        if there[path].writable:
            check.found("writable_object", check.name_of(path), "its permissions allow changes")
    return whole


def _named(check: _Check, files: Sequence[FileFacts]) -> list[_Row]:
    """What rows there must have been, by the names of files."""
    return [
        _Row(ImageId(file.path.stem), file.path.suffix[1:], file.bytes)
        for file in files
        if is_object(check.blobs.root, file.path)
    ]


def _leftovers(check: _Check, files: Sequence[FileFacts], database: Database) -> None:
    """What no row explains. Rows are asked once more: imports may be at work."""
    now = {check.blobs.path_of(row.image_id, row.extension) for row in _rows(database)}
    for file in files:
        name = check.name_of(file.path)
        if file.path.name.startswith(TEMPORARY_PREFIX):
            check.found("temporary_file", name, f"{file.bytes:,} bytes")
        elif check.blobs.root not in file.path.parents or file.path in now:
            continue
        elif is_object(check.blobs.root, file.path):
            check.found("unreferenced_object", name, f"{file.bytes:,} bytes, no row names it")
        else:
            check.found("strange_file", name, "its name or place is not that of an object")


def _sampled(rows: Sequence[_Row], size: int, chance: random.Random) -> list[_Row]:
    return chance.sample(rows, min(size, len(rows)))


def _read(check: _Check, rows: Sequence[_Row], progress: Progress) -> None:
    def problem(row: _Row) -> ImageRefusedError | None:
        try:
            check.blobs.read(row.image_id, row.extension)
        except ImageRefusedError as refusal:
            return refusal
        return None

    with progress.task("check", len(rows)) as task, ThreadPoolExecutor(_THREADS) as pool:
        for part in chunks_of(len(rows), _AT_ONCE):
            for row, refusal in zip(rows[part], pool.map(problem, rows[part]), strict=True):
                task.advance()
                if refusal is not None:
                    lost = refusal.reason == "unreadable_file"
                    kind: FindingKind = "unreadable_object" if lost else "damaged_object"
                    check.found(kind, row.image_id, refusal.detail)


def _note(database: Database, findings: Sequence[FsckFinding], read: Sequence[_Row]) -> None:
    """Note what importing again has to repair, and what was found well."""
    kinds = {"missing_object", "damaged_object", "unreadable_object"}
    bad = {finding.subject for finding in findings if finding.kind in kinds}
    well = [(row.image_id,) for row in read if row.image_id not in bad]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(StoreError), database.transaction() as connection:  # the report counts
        connection.executemany("DELETE FROM damaged_objects WHERE image_id = ?", well)
        connection.executemany(
            "INSERT OR IGNORE INTO damaged_objects (image_id, found_at) VALUES (?, ?)",
            [(image_id, now) for image_id in sorted(bad)],
        )
