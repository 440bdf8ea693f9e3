"""A catalogue from what it was made of: the journal says what happened, the objects are there.

Objects that no line names (their lines are damaged, or an import died before it recorded them)
get a row without source and label: better to know an image too many than to lose one.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from keshikaran.errors import DamagedStoreError, ImageRefusedError, StoreError
from keshikaran.hashing import TEMPORARY_PREFIX, content_ids, sync_directory, write_error
from keshikaran.pixels import DEFAULT_LIMITS, EXTENSIONS, read_header
from keshikaran.store.blobs import BlobStore, FileFacts, files_below, is_object
from keshikaran.store.catalogue import (
    CATALOGUE_NAME,
    IF_DAMAGED,
    JOURNAL_NAME,
    Catalogue,
    open_tables,
    save_position,
)
from keshikaran.store.changes import Change, all_changes, apply, differences
from keshikaran.store.database import Database, plain_errors
from keshikaran.store.journal import Journal, Position, Transaction
from keshikaran.store.lock import alone_in
from keshikaran.types import ImageId, Progress, ProgressTask, SilentProgress

_PARTS = ("", "-journal", "-wal", "-shm")  # what SQLite may have beside a database
_BUSY = "Another command is using {}."


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild did.

    Attributes:
        transactions: how many the journal had.
        images: rows of the new catalogue.
        adopted: how many of them only an object told of; without source and label.
        missing: how many have no object any more.
        lost: what could not be taken over, each in words: damaged lines and objects.
        kept: the files that were there before, under their new names.
    """

    transactions: int
    images: int
    adopted: int
    missing: int
    lost: tuple[str, ...]
    kept: tuple[str, ...]


def rebuild_catalogue(folder: Path, progress: Progress | None = None) -> RebuildReport:
    """Make the catalogue again from journal and objects; the old one is kept beside it.

    The journal stays as it is if it tells all; else it is written anew, and kept too.

    Args:
        folder: the workspace.
        progress: told of each transaction and each object without one.

    Raises:
        StoreError: another command uses the workspace; the catalogue there is well and knows
            more than the journal; or the disk refuses. Nothing changes then.
    """
    progress = progress or SilentProgress()
    with alone_in(folder, _BUSY.format(folder)):
        place = folder / f"{TEMPORARY_PREFIX}{CATALOGUE_NAME}"
        _remove(place)
        try:
            with closing(open_tables(place)) as database:
                build = _Build(folder, database)
                build.run(progress)
            _refuse_loss(folder / CATALOGUE_NAME, place)
            kept = _swap(folder, place, journal_too=not build.journal_tells_all)
        finally:
            _remove(place)
    return RebuildReport(
        build.transactions, build.images, build.adopted, build.missing, tuple(build.lost), kept
    )


def rebuild_journal(folder: Path) -> RebuildReport:
    """Write the journal anew from a catalogue that is well; the old one is kept beside it.

    Args:
        folder: the workspace.

    Raises:
        DamagedStoreError: the catalogue is not well.
        StoreError: another command uses the workspace, or the disk refuses.
    """
    with alone_in(folder, _BUSY.format(folder)):
        with suppress(DamagedStoreError):
            Catalogue(folder).close()  # takes over what it can
        with closing(open_tables(folder / CATALOGUE_NAME)) as database:
            problems = database.problems(full=True)
            if problems:
                msg = f"{database.path} is damaged itself: {problems[0]}."
                raise DamagedStoreError(msg, IF_DAMAGED)
            kept = _keep(folder, JOURNAL_NAME, _stamp())
            _write_journal(folder, database)
            with database.reading() as connection:
                (images,) = connection.execute("SELECT COUNT(*) FROM images").fetchone()
    return RebuildReport(1, images, 0, 0, (), kept)


class _Build:
    """Fills new tables from the journal and the objects of `folder`."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.transactions = self.images = self.adopted = self.missing = 0
        self.lost: list[str] = []
        self.journal_tells_all = True
        self._database = database
        self._blobs = BlobStore(folder / "objects")
        self._journal = Journal(folder / JOURNAL_NAME)
        self._start = self._where_to_start()

    def run(self, progress: Progress) -> None:
        named = {
            str(change["image_id"])
            for transaction in self._told()
            for change in transaction.changes
            if change["kind"] == "image"
        }
        files = [file for file in files_below(self._blobs.root) if self._is_object(file)]
        strangers = [file for file in files if file.path.stem not in named]
        with self._database.transaction() as connection:
            with progress.task("objects", len(strangers)) as task:
                self._adopt(connection, strangers, task)
            with progress.task("journal", None) as task:
                end = self._replay(connection, task)
            if self.adopted or self.lost:
                self.journal_tells_all = False
            elif end is not None:
                save_position(connection, end)
            self._count(connection, {file.path for file in files})

    def _is_object(self, file: FileFacts) -> bool:
        return is_object(self._blobs.root, file.path)

    def _where_to_start(self) -> Position | None:
        if self._journal.size() is None:
            self.lost.append(f"{JOURNAL_NAME} is missing: labels, sources and splits are unknown")
            return None
        try:
            return self._journal.start()
        except DamagedStoreError:
            return Position("", 0, 0)

    def _told(self) -> Iterator[Transaction]:
        if self._start is not None:
            for transaction in self._journal.transactions(self._start):
                if not transaction.torn:
                    yield transaction

    def _adopt(
        self, connection: sqlite3.Connection, files: list[FileFacts], task: ProgressTask
    ) -> None:
        for file in files:
            change = self._facts(file)
            if change is not None and apply(connection, change):
                self.adopted += 1
            task.advance()

    def _facts(self, file: FileFacts) -> Change | None:
        """What the image says about itself."""
        try:
            data = self._blobs.read(ImageId(file.path.stem), file.path.suffix[1:])
            header = read_header(data, DEFAULT_LIMITS)
        except ImageRefusedError as refusal:
            self.lost.append(str(refusal))
            return None
        if EXTENSIONS[header.format] != file.path.suffix[1:]:
            self.lost.append(f"{file.path} holds an image of the format {header.format}")
            return None
        ids = content_ids(data)
        return {
            "kind": "image",
            "image_id": ids.image_id,
            "object_id": ids.object_id,
            "format": header.format,
            "bytes": len(data),
            "width": header.width,
            "height": header.height,
            "at": datetime.fromtimestamp(file.changed_at, UTC).isoformat(timespec="seconds"),
        }

    def _replay(self, connection: sqlite3.Connection, task: ProgressTask) -> Position | None:
        end = self._start
        for transaction in self._told():
            self.lost.extend(f"{JOURNAL_NAME}: {words}" for words in transaction.damage)
            for change in transaction.changes:
                try:
                    apply(connection, change)
                except sqlite3.IntegrityError:
                    self.lost.append(
                        f"a {change['kind']} of {change['image_id']}, an image unknown"
                    )
            self.transactions += 1
            end = transaction.after
            task.advance()
        return end

    def _count(self, connection: sqlite3.Connection, there: set[Path]) -> None:
        for image_id, name in connection.execute("SELECT image_id, format FROM images"):
            self.images += 1
            self.missing += self._blobs.path_of(image_id, EXTENSIONS[name]) not in there


def _refuse_loss(old: Path, new: Path) -> None:
    """A catalogue that is well and knows what the new one would not is not given up."""
    if not old.is_file():
        return
    try:
        with closing(open_tables(old)) as database:
            if database.problems(full=False):
                return
    except DamagedStoreError:
        return
    with plain_errors(old, IF_DAMAGED), closing(sqlite3.connect(new)) as connection:
        connection.execute("ATTACH ? AS kept", (str(old),))
        lacking = differences(connection, "kept", "main")
    if lacking:
        words = ", ".join(f"{number:,} × {kind}" for kind, number in lacking.items())
        msg = f"{old} is well and knows more than journal and objects: {words}."
        hint = (
            "Write the journal anew from it: keshikaran rebuild --journal. To do without it all"
            " the same, move it away first."
        )
        raise StoreError(msg, hint)


def _swap(folder: Path, place: Path, *, journal_too: bool) -> tuple[str, ...]:
    stamp = _stamp()
    kept: tuple[str, ...] = ()
    if journal_too:
        kept = _keep(folder, JOURNAL_NAME, stamp)
        with closing(open_tables(place)) as database:
            _write_journal(folder, database)
    try:
        for part in _PARTS:
            old = folder / f"{CATALOGUE_NAME}{part}"
            if old.exists():
                name = f"{CATALOGUE_NAME}.before-{stamp}{part}"
                old.rename(folder / name)
                kept += (name,)
        place.rename(folder / CATALOGUE_NAME)
        sync_directory(folder)
    except OSError as error:
        raise write_error(folder / CATALOGUE_NAME, error) from error
    return kept


def _keep(folder: Path, name: str, stamp: str) -> tuple[str, ...]:
    """A copy of a file that is about to be replaced."""
    path, copy = folder / name, folder / f"{name}.before-{stamp}"
    try:
        if not path.exists():
            return ()
        shutil.copyfile(path, copy)
    except OSError as error:
        raise write_error(copy, error) from error
    return (copy.name,)


def _write_journal(folder: Path, database: Database) -> None:
    with database.transaction() as connection:
        journal = Journal(folder / JOURNAL_NAME)
        save_position(connection, journal.replace(all_changes(connection)))


def _remove(place: Path) -> None:
    for part in _PARTS:
        place.with_name(place.name + part).unlink(missing_ok=True)


def _stamp() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
