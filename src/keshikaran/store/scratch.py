"""Room for a table of features: memory, or a file without a name where that would take too much.

A mapped file costs no memory that the system cannot have back. It has no name, so that nothing of
it is left however the process ends.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO

import numpy as np

from keshikaran.hashing import make_folder, write_error
from keshikaran.types import Float32Array

MAPPED_BYTES = 1 << 30
_ZEROS = bytes(1 << 20)


def room_for(rows: int, columns: int, folder: Path) -> Float32Array:
    """An array to write to, float32 [rows, columns], with nothing in it that means anything.

    Args:
        rows: how many.
        columns: of each.
        folder: on the disk that a large one goes to.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    size = rows * columns * 4
    if size <= MAPPED_BYTES:
        return np.empty((rows, columns), dtype=np.float32)
    try:
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            _fill(file, size)
            return np.asarray(np.memmap(file, np.float32, "r+", shape=(rows, columns)))
    except OSError as error:
        raise write_error(folder, error) from error


def _fill(file: IO[bytes], size: int) -> None:
    """Take the room now: a full disk would end the process when a mapped page is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, len(_ZEROS)):
        file.write(_ZEROS[: size - start])
    file.flush()
