"""Content hashes, and the one way this package writes a file: temp, fsync, rename, fsync."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from keshikaran.errors import KeshikaranError, StoreError
from keshikaran.types import ImageId

TEMPORARY_PREFIX = ".tmp-"
"""How the names of files begin that are not finished yet."""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class ContentIds:
    """The two names of one file's bytes.

    Attributes:
        image_id: SHA-256, 64 hex digits; what everything is keyed by.
        object_id: SHA-1, 40 hex digits; the name in older collections. Never trusted alone.
    """

    image_id: ImageId
    object_id: str


def content_ids(data: bytes) -> ContentIds:
    """Hash `data` both ways."""
    return ContentIds(
        image_id=image_id_of(data),
        object_id=hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    )


def image_id_of(data: bytes) -> ImageId:
    """SHA-256 of `data` as 64 lower-case hex digits."""
    return ImageId(hashlib.sha256(data).hexdigest())


def write_error(path: Path, error: OSError) -> KeshikaranError:
    """Say in plain words why `path` could not be written."""
    if error.errno in _DISK_FULL:
        return StoreError(
            f"The disk is full: {path} could not be written.",
            "Free some space and run the same command again; what is stored already is kept.",
        )
    return StoreError(
        f"{path} could not be written: {error.strerror or error}.",
        "Check that the folder exists, is writable and is on a healthy disk.",
    )


def sync_directory(folder: Path) -> None:
    """Make renames inside `folder` durable. A no-op where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder` and those above it, each under a name that survives a crash.

    Raises:
        OSError: it cannot be created.
    """
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in new:
        sync_directory(place.parent)


def write_durably(path: Path, data: bytes, *, mode: int = 0o644, sync_folder: bool = True) -> None:
    """Write `data` to `path` so that a crash leaves the old file or the new, never half of one.

    Temporary file → fsync → rename → fsync of the folder. A step that fails ends it: what an
    fsync could not save may be gone from memory too, so asking again proves nothing.

    Args:
        path: the file; missing folders above it are created.
        data: its bytes.
        mode: its permissions.
        sync_folder: False leaves the folders' names to a caller who syncs them once for many
            files.

    Raises:
        StoreError: the disk is full or the folder cannot be written; no temporary file stays.
    """
    write_parts_durably(path, (data,), mode=mode, sync_folder=sync_folder)


def write_parts_durably(
    path: Path,
    parts: Iterable[bytes | memoryview],
    *,
    mode: int = 0o644,
    sync_folder: bool = True,
) -> None:
    """Write parts one after the other, as `write_durably` does; they are never held together."""
    temporary: Path | None = None
    try:
        if sync_folder:
            make_folder(path.parent)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY_PREFIX)
        temporary = Path(name)
        try:
            for part in parts:
                write_all(descriptor, part)
            temporary.chmod(mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        temporary = None
        if sync_folder:
            sync_directory(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte, in one call where the system takes them all.

    Raises:
        OSError: the disk refuses.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
