"""What tests of the store, and of the stages that work on it, share."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from keshikaran.store import ImageRecord, SourceEntry, Store
from keshikaran.types import ImageId, Label, ProgressTask

_TIMES = {"at", "imported_at"}
_CACHES = {"compared_images", "fingerprints"}


def an_id(text: str) -> ImageId:
    """An image id that no file has to have."""
    return ImageId(hashlib.sha256(text.encode()).hexdigest())


def add_rows(
    store: Store, images: Sequence[tuple[str, Label | None]], root: str = "/synthetic"
) -> list[ImageId]:
    """Catalogue rows without files: one image for each object id and its label."""
    ids = [an_id(object_id) for object_id, _ in images]
    store.add(
        [
            ImageRecord(image_id, object_id, "png", 1, 1, 1)
            for image_id, (object_id, _) in zip(ids, images, strict=True)
        ],
        [
            SourceEntry(root, object_id, image_id, label)
            for image_id, (object_id, label) in zip(ids, images, strict=True)
        ],
        who="test",
    )
    return ids


def catalogue(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of a workspace's catalogue, without times and without caches."""
    tables: dict[str, list[tuple[Any, ...]]] = {}
    connection = sqlite3.connect(folder / "catalogue.sqlite")
    try:
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'journal_position'"
        ).fetchall()
        for (name,) in names:
            if name in _CACHES:
                continue
            described = connection.execute(f"PRAGMA table_info({name})").fetchall()
            columns = ", ".join(row[1] for row in described if row[1] not in _TIMES)
            tables[name] = sorted(connection.execute(f"SELECT {columns} FROM {name}"), key=repr)
    finally:
        connection.close()
    return tables


def spoil_index(database: Path, index: str, table: str, column: str) -> None:
    """Make an index claim another column than it holds: opens well, and is damaged."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = ? WHERE name = ?",
            (f"CREATE INDEX {index} ON {table} ({column})", index),
        )


def snapshot(folder: Path, without: Path | None = None) -> dict[str, tuple[int, int, bytes]]:
    """Modification time, mode and content of everything below `folder`, and of itself."""
    found: dict[str, tuple[int, int, bytes]] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        if without is not None and path.is_relative_to(without):
            continue
        status = path.lstat()
        content = b""
        if stat.S_ISLNK(status.st_mode):
            content = os.fsencode(path.readlink())
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        found[str(path)] = (status.st_mtime_ns, status.st_mode, content)
    return found


def stored_files(folder: Path) -> list[Path]:
    """Every file below the workspace's `objects`, temporary ones too."""
    return sorted(path for path in (folder / "objects").rglob("*") if not path.is_dir())


def assert_whole(folder: Path) -> None:
    """Every stored file has the bytes that its name promises; no temporary file lies about."""
    for path in stored_files(folder):
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()


def fail_fsync(
    monkeypatch: pytest.MonkeyPatch, *, after: int = 0, number: int = errno.ENOSPC
) -> None:
    """Let `os.fsync` succeed `after` times and then fail as a full disk does."""
    original, calls = os.fsync, itertools.count()

    def fsync(descriptor: int) -> None:
        if next(calls) >= after:
            raise OSError(number, os.strerror(number))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def deny_reading(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make files called `name` unreadable, for root as well."""
    open_file, read_file = os.open, Path.read_bytes

    def check(path: Path) -> None:
        if path.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def opened(path: Any, *args: Any, **options: Any) -> int:
        check(Path(os.fsdecode(path)))
        return open_file(path, *args, **options)

    def read_bytes(path: Path) -> bytes:
        check(path)
        return read_file(path)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(Path, "read_bytes", read_bytes)


class Steps:
    """A `Progress` that counts, and that can interrupt the work as ctrl-C does."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.tasks: list[tuple[str, int | None]] = []
        self.done = 0
        self._interrupt_at = interrupt_at

    @contextmanager
    def task(self, title: str, total: int | None) -> Iterator[ProgressTask]:
        """See `keshikaran.types.Progress`."""
        self.tasks.append((title, total))
        yield self

    def advance(self, steps: int = 1) -> None:
        """Count; interrupt when the time has come."""
        self.done += steps
        if self._interrupt_at is not None and self.done >= self._interrupt_at:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        """Ignore the line."""
