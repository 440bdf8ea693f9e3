"""Original image files, stored once each under the hash of their bytes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keshikaran.errors import ImageRefusedError
from keshikaran.hashing import sync_directory, write_error
from keshikaran.types import ImageId

_SYNC_THREADS = 4  # they wait for the disk, not for a processor


class BlobStore:
    """Files at `<root>/ab/cd/<image_id>.<extension>`; written durably, never changed.

    Args:
        root: the folder, usually `<workspace>/objects`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

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
        """Store `data` unless it is there: temp file → fsync → rename.

        The caller makes the names durable with `sync_folders` before it counts on them: one
        call for many files is much faster. May be called from several threads.

        Raises:
            StoreError: the disk is full or cannot be written; no temporary file stays behind.
        """
        path = self.path_of(image_id, extension)
        temporary: Path | None = None
        try:
            if path.is_file() and path.stat().st_size == len(data):
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
            temporary = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o444)
            temporary.replace(path)
            temporary = None
        except OSError as error:
            raise write_error(path, error) from error
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
        return path

    def sync_folders(self, paths: Iterable[Path]) -> None:
        """Make the names of stored files, and of the folders above them, durable.

        Raises:
            StoreError: the disk refuses.
        """
        folders = {path.parent for path in paths}
        folders |= {folder.parent for folder in folders} | ({self.root} if folders else set())
        try:
            with ThreadPoolExecutor(_SYNC_THREADS) as pool:
                for _ in pool.map(sync_directory, sorted(folders)):
                    pass
        except OSError as error:
            raise write_error(self.root, error) from error

    def read(self, image_id: ImageId, extension: str) -> bytes:
        """The bytes of a stored file.

        Raises:
            ImageRefusedError: `unreadable_file`, so that one lost file does not stop a run.
        """
        path = self.path_of(image_id, extension)
        try:
            return path.read_bytes()
        except OSError as error:
            detail = f"{path}: {error.strerror}"
            raise ImageRefusedError("unreadable_file", detail) from error
