"""An image file on its way to the server: read in pieces, as it is sent."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from keshikaran.errors import ImageRefusedError, UnreachableError, UsageError
from keshikaran.types import ImageId

Source = str | Path | bytes | BinaryIO
"""An image file: its path, its bytes, or it itself, opened for reading bytes."""


def name_of(source: Source) -> str:
    """What a prediction calls an image; nothing of it is sent."""
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else "-"


_PIECE_BYTES = 64 * 1024


class Deadline:
    """A point in time after which nothing is waited for.

    Args:
        timeout_s: how far away it is.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._ends = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds left, never less than 0."""
        return max(0.0, self._ends - time.monotonic())

    def check(self) -> None:
        """Stop once time is up.

        Raises:
            UnreachableError: `timed_out`.
        """
        if not self.left_s:
            what = f"The server's answer was not complete after {self.timeout_s:g} s."
            raise UnreachableError("timed_out", what, "Ask again later, or allow more time.")


class Body:
    """What is sent: read once in order, hashed on the way, begun again for another try.

    Args:
        source: the image file. One that is given open stays open; it is read from where it stands.

    Raises:
        ImageRefusedError: `unreadable_file`.
    """

    def __init__(self, source: Source) -> None:
        self._file, self._is_own = _opened(source)
        self._begun = False
        self._digest = hashlib.sha256()
        self._start, self.length = self._measure()
        self.deadline = Deadline(float("inf"))

    @property
    def image_id(self) -> ImageId:
        """The hash of what was sent so far."""
        return ImageId(self._digest.hexdigest())

    def rewind(self) -> bool:
        """Back to the start; False if that is gone, as with a pipe."""
        if self._begun and self._start is None:
            return False
        if self._start is not None:
            try:
                self._file.seek(self._start)
            except (OSError, ValueError) as error:
                raise _unreadable(error) from error
        self._digest = hashlib.sha256()
        return True

    def __iter__(self) -> Iterator[bytes]:
        """The pieces, each read when the one before it is on its way.

        Raises:
            ImageRefusedError: `unreadable_file`, also if the file has become shorter meanwhile.
            UnreachableError: `timed_out`.
            UsageError: the file gives text.
        """
        left = self.length
        self._begun = True
        while left != 0:
            self.deadline.check()
            piece = self._read(_PIECE_BYTES if left is None else min(left, _PIECE_BYTES))
            if not piece:
                if left:
                    raise ImageRefusedError("unreadable_file", "the file has changed meanwhile")
                return
            if left is not None:
                left -= len(piece)
            self._digest.update(piece)
            yield piece

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._is_own:
            self._file.close()

    def _read(self, size: int) -> bytes:
        try:
            piece: object = self._file.read(size)
        except (OSError, ValueError) as error:
            raise _unreadable(error) from error
        if not isinstance(piece, bytes):
            msg = "The image was opened as text."
            raise UsageError(msg, 'Open it for reading bytes: open(path, "rb").')
        return piece

    def _measure(self) -> tuple[int | None, int | None]:
        """Where the file stands and how many bytes follow; None where nobody can say."""
        try:
            if not self._file.seekable():
                return None, None
            start = self._file.tell()
            end = self._file.seek(0, os.SEEK_END)
            self._file.seek(start)
        except AttributeError:
            return None, None
        except (OSError, ValueError) as error:
            raise _unreadable(error) from error
        return start, max(0, end - start)


def _opened(source: Source) -> tuple[BinaryIO, bool]:
    """The file to read, and whether it is ours to close."""
    if isinstance(source, bytes):
        return io.BytesIO(source), True
    if not isinstance(source, str | Path):
        return source, False
    try:
        return Path(source).open("rb"), True
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> ImageRefusedError:
    detail = getattr(error, "strerror", None) or str(error)
    return ImageRefusedError("unreadable_file", detail)
