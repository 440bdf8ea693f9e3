"""Who is using a folder: shared by those who work in it, alone for those who clear it up.

The lock is on the folder itself, so it leaves no file behind, and the system ends it with the
process, however that dies. Where there is no such lock (Windows, some file systems) nobody is
kept out; what clears up then relies on the age of files alone.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

_NEXT_TRY_S = 0.05


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
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, *, alone: bool) -> bool:
        if sys.platform == "win32":
            return True
        import fcntl

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
