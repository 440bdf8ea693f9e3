"""Original image files, stored once each under the hash of their bytes."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from keshikaran.errors import ImageRefusedError, StoreError
from keshikaran.hashing import image_id_of, sync_directory, write_durably, write_error
from keshikaran.store.lock import FolderLock
from keshikaran.types import ImageId

_SYNC_THREADS = 4  # they wait for the disk, not for a processor
_LOCK_TIMEOUT_S = 600.0  # a collection of millions of files is not gone through at once
_READ_ONLY = 0o444
_NAME = re.compile(r"([0-9a-f]{2})([0-9a-f]{2})[0-9a-f]{60}\.[a-z]{3,4}")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file below the store's folder.

    Attributes:
        path: where it lies.
        bytes: its size.
        changed_at: when its content or its name last changed, in seconds since 1970.
        writable: whether its permissions let anybody write it.
    """

    path: Path
    bytes: int
    changed_at: float
    writable: bool


class BlobStore:
    """Files at `<root>/ab/cd/<image_id>.<extension>`; written durably, never changed.

    Args:
        root: the folder, usually `<workspace>/objects`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: FolderLock | None = None
        self._one_at_a_time = threading.Lock()
        self._written: set[Path] = set()

    def close(self) -> None:
        """Say that no file is being written any more."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def path_of(self, image_id: ImageId, extension: str) -> Path:
        """Where the file of `image_id` lies or would lie."""
        return self.root / image_id[:2] / image_id[2:4] / f"{image_id}.{extension}"

    def holds(self, image_id: ImageId, extension: str, size: int) -> bool:
        """Whether the file is there with that many bytes. One look at the disk, no more."""
        path = f"{self.root}/{image_id[:2]}/{image_id[2:4]}/{image_id}.{extension}"
        try:
            return os.stat(path).st_size == size  # noqa: PTH116 - asked for every known file
        except OSError:
            return False

    def put(self, image_id: ImageId, extension: str, data: bytes) -> Path:
        """Store `data` unless it is there, byte by byte; a damaged file is replaced.

        The caller makes new names durable with `sync_folders` before it counts on them: one
        call for many files is much faster. From the first call to `close` nothing is collected
        as garbage. May be called from several threads.

        Raises:
            StoreError: the disk is full or cannot be written; no temporary file stays behind.
        """
        path = self.path_of(image_id, extension)
        try:
            self._hold()
        except OSError as error:
            raise write_error(path, error) from error
        there = _content(path, len(data) + 1)
        if there != data:
            write_durably(path, data, mode=_READ_ONLY, sync_folder=False)
            self._written.add(path)
        return path

    def wrote(self, path: Path) -> bool:
        """Whether `put` wrote this file and its name is not durable yet."""
        return path in self._written

    def sync_folders(self, paths: Iterable[Path]) -> None:
        """Make the names of stored files, and of the folders above them, durable.

        Raises:
            StoreError: the disk refuses.
        """
        synced = set(paths)
        folders = {path.parent for path in synced}
        folders |= {folder.parent for folder in folders}
        folders |= {self.root, self.root.parent} if folders else set()
        try:
            with ThreadPoolExecutor(_SYNC_THREADS) as pool:
                for _ in pool.map(sync_directory, sorted(folders)):
                    pass
        except OSError as error:
            raise write_error(self.root, error) from error
        self._written -= synced

    def read(self, image_id: ImageId, extension: str) -> bytes:
        """The bytes of a stored file, which are those that were stored.

        Raises:
            ImageRefusedError: `unreadable_file` or `damaged_object`, so that one lost file does
                not stop a run.
        """
        path = self.path_of(image_id, extension)
        try:
            data = path.read_bytes()
        except OSError as error:
            detail = f"{path}: {error.strerror}"
            raise ImageRefusedError("unreadable_file", detail) from error
        if image_id_of(data) != image_id:
            advice = "after `keshikaran fsck --full`, importing the original again repairs it"
            detail = f"{path} is not what was stored; {advice}"
            raise ImageRefusedError("damaged_object", detail)
        return data

    def _hold(self) -> None:
        with self._one_at_a_time:
            if self._lock is not None:
                return
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(self.root)
            if not lock.share(_LOCK_TIMEOUT_S):
                msg = f"{self.root} is being cleared up by another command."
                raise StoreError(msg, "Wait for it to finish, then try again.")
            self._lock = lock


def is_object(root: Path, path: Path) -> bool:
    """Whether a file has the name and the place of an object of the store at `root`."""
    match = _NAME.fullmatch(path.name)
    return match is not None and path.parent == root / match[1] / match[2]


def files_below(folder: Path) -> Iterator[FileFacts]:
    """Every file below `folder`, links not followed; one that vanishes meanwhile is left out.

    Raises:
        StoreError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            msg = f"The folder {error.filename} cannot be read: {error.strerror}."
            raise StoreError(msg, "Check the disk and the folder's permissions.") from error

    for place, _, names in os.walk(folder, onerror=fail):
        for name in names:
            path = Path(place, name)
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            changed_at = max(status.st_mtime, status.st_ctime)
            yield FileFacts(path, status.st_size, changed_at, bool(status.st_mode & 0o222))


def _content(path: Path, limit: int) -> bytes | None:
    """Up to `limit` bytes of a file; none if they cannot be read; None if there is no file."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(limit)
    except FileNotFoundError:
        return None
    except OSError:
        return b""
