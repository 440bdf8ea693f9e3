"""Who is using a folder: shared by those who work in it, alone for those who clear it up.

The lock is on the folder itself, so it leaves no file behind, and the system ends it with the
process, however that dies. Where there is no such lock (Windows, some file systems) nobody is
kept out; what clears up then relies on the age of files alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keshikaran.errors import StoreError
from keshikaran.hashing import make_folder, write_error

if sys.platform != "win32":
    import fcntl

_NEXT_TRY_S = 0.05
_TIMEOUT_S = 60.0


class FolderLock:
    """A lock on one folder, which must exist. Not taken yet.

    Args:
        folder: what to lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def __del__(self) -> None:
        self.release()

    def share(self, timeout_s: float) -> bool:
        """Take the lock together with others; wait for one who has it alone.

        Returns:
            False if that one did not finish in time.

        Raises:
            OSError: the folder cannot be opened.
        """
        deadline = time.monotonic() + timeout_s
        while not self._take(alone=False):
            if time.monotonic() > deadline:
                return False
            time.sleep(_NEXT_TRY_S)
        return True

    def take_alone(self) -> bool:
        """Take the lock if nobody has it.

        Returns:
            False if somebody has it.

        Raises:
            OSError: the folder cannot be opened.
        """
        return self._take(alone=True)

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._descriptor is None:
            return
        if sys.platform != "win32":
            with suppress(OSError):  # child processes may have the descriptor too
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        self._descriptor = None

    def _take(self, *, alone: bool) -> bool:
        if sys.platform == "win32":
            return True
        if self._descriptor is None:
            self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # this file system has no such locks
            return True
        return True


def use_workspace(folder: Path) -> FolderLock:
    """Hold off who wants to replace the catalogue, until the lock is released.

    Raises:
        StoreError: somebody is replacing it, or the folder cannot be made.
    """
    lock = FolderLock(folder)
    try:
        make_folder(folder)
        free = lock.share(_TIMEOUT_S)
    except OSError as error:
        raise write_error(folder, error) from error
    if not free:
        msg = f"The catalogue in {folder} is being rebuilt by another command."
        raise StoreError(msg, "Wait for it to finish, then try again.")
    return lock


@contextmanager
def hold_workspace(folder: Path) -> Iterator[None]:
    """`use_workspace` for the length of a block."""
    lock = use_workspace(folder)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone_in(folder: Path, why: str) -> Iterator[None]:
    """Have a folder alone for the length of a block.

    Args:
        folder: what to lock; must exist.
        why: who is in the way, in words.

    Raises:
        StoreError: somebody uses it, or it cannot be opened.
    """
    lock = FolderLock(folder)
    try:
        free = lock.take_alone()
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        if not free:
            raise StoreError(why, "Wait for it to finish, then try again.")
        yield
    finally:
        lock.release()
