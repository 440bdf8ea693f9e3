"""Parquet files of rows, one for each task, named by what they hold.

A shard is called `<work>-<SHA-256 of the file>.parquet`. It gets that name when it is whole and on
the disk, so that what has the name of a task is the task's result; written twice it is one file.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keshikaran.errors import DamagedStoreError, StoreError
from keshikaran.hashing import TEMPORARY_PREFIX, make_folder, sync_directory, write_error
from keshikaran.scale.listing import in_words, open_files

_NAME = re.compile(r"([0-9a-f]{32})-([0-9a-f]{64})\.parquet")
_CHUNK = 1 << 22
_LOCAL = re.compile(r"(?![A-Za-z][A-Za-z0-9+.-]+(://|::))")


class ShardFolder:
    """Where shards lie: a folder that all machines see, or an address of a store such as S3.

    Args:
        address: the folder, or what fsspec takes.

    Raises:
        MissingExtraError: fsspec is not installed.
        SourceError: the address cannot be reached.
        StoreError: from every method, when the folder cannot be read or written.
    """

    def __init__(self, address: str) -> None:
        self.address = address = absolute(address)
        self._folder = Path(address) if _LOCAL.match(address) else None
        self._files: Any = None
        self._inside = ""
        if self._folder is None:
            self._files = open_files(address)
            self._inside = str(self._files._strip_protocol(address)).rstrip("/")

    def names(self) -> dict[str, str]:
        """Whole shards by their tasks; where a task has several, the first by name."""
        try:
            if self._folder is not None:
                found = os.listdir(self._folder)  # noqa: PTH208 - there may be very many
            else:
                found = [
                    str(path).rpartition("/")[2] for path in self._files.ls(self._inside, False)
                ]
        except FileNotFoundError:
            return {}
        except Exception as error:  # each store has exceptions of its own
            raise self._unreadable(error) from error
        matches = [match for name in sorted(found) if (match := _NAME.fullmatch(name))]
        return {match[1]: match[0] for match in reversed(matches)}

    def place(self, temporary: Path, work: str) -> str:
        """Give a finished file its name here, durably; the temporary one is gone afterwards.

        A file of this folder is renamed, one that is elsewhere is sent as a whole.
        """
        name = f"{work}-{digest_of(temporary)}.parquet"
        try:
            if self._folder is not None:
                temporary.chmod(0o644)
                temporary.replace(self._folder / name)
                sync_directory(self._folder)
            else:
                self._files.put_file(str(temporary), f"{self._inside}/{name}")
                temporary.unlink()
        except OSError as error:
            raise write_error(Path(self.address) / name, error) from error
        return name

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """A shard as a file of this machine, held against its name.

        Raises:
            DamagedStoreError: it is not what was written.
        """
        with tempfile.TemporaryDirectory(prefix="keshikaran-shard-") as place:
            path = Path(place) / name if self._folder is None else self._folder / name
            try:
                if self._folder is None:
                    self._files.get_file(f"{self._inside}/{name}", str(path))
                whole = name.endswith(f"-{digest_of(path)}.parquet")
            except Exception as error:
                raise self._unreadable(error) from error
            if not whole:
                msg = f"The shard {self.address}/{name} is not what was written."
                raise DamagedStoreError(msg, "Delete it, and run the same command again.")
            yield path

    def remove(self, name: str) -> None:
        """Take a shard away."""
        try:
            if self._folder is not None:
                (self._folder / name).unlink(missing_ok=True)
            else:
                self._files.rm_file(f"{self._inside}/{name}")
        except OSError as error:
            raise write_error(Path(self.address) / name, error) from error

    def clear_up(self, works: Container[str]) -> None:
        """Take away what killed workers left of tasks that are done.

        Only in a folder: what goes to an address is written to the worker's own disk first.
        """
        if self._folder is None or not self._folder.is_dir():
            return
        for path in self._folder.glob(f"{TEMPORARY_PREFIX}*"):
            work = path.name.removeprefix(TEMPORARY_PREFIX).partition("-")[0]
            if work in works:
                self.remove(path.name)

    def temporary(self, work: str) -> Path:
        """A new file to write a task's shard to, on the same disk where that can be."""
        try:
            if self._folder is not None:
                make_folder(self._folder)
            descriptor, name = tempfile.mkstemp(
                dir=self._folder, prefix=f"{TEMPORARY_PREFIX}{work}-"
            )
        except OSError as error:
            raise write_error(Path(self.address), error) from error
        os.close(descriptor)
        return Path(name)

    def _unreadable(self, error: Exception) -> StoreError:
        msg = f"The shards in {self.address} cannot be read: {in_words(error)}."
        return StoreError(msg, "Check the folder or address, and your access to it.")


def absolute(address: str) -> str:
    """An address that means the same to a process in another folder."""
    path = address.removeprefix("file://")
    return str(Path(path).resolve()) if _LOCAL.match(path) else address


def digest_of(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            digest.update(part)
    return digest.hexdigest()
