"""What readers of archives have in common: members, limits, and the ways to stop."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from keshikaran.errors import SourceError
from keshikaran.types import ImportReason

_SLACK = 16 << 20
_MAGIC = 6

Problem = tuple[ImportReason, str]
"""Why something cannot be read: the code, and the details in words."""

DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,  # RecursionError, NotImplementedError
    TypeError,
    ValueError,
    lzma.LZMAError,
    zlib.error,
)
"""What the standard library's readers raise on damaged data, besides errors of their own."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may ask for.

    Attributes:
        max_entries: members of a tar archive, of any kind.
        max_directory_entries: of a zip archive, whose directory has to be held in memory.
        max_total_bytes: of everything unpacked together.
        max_ratio: unpacked bytes for each packed byte, after the first 16 MiB.
    """

    max_entries: int = 1_000_000
    max_directory_entries: int = 250_000
    max_total_bytes: int = 256 << 30
    max_ratio: int = 200


class ArchiveStop(Exception):  # noqa: N818 - a message between readers, no error of the package
    """Nothing more can be had from an archive.

    Args:
        reason: the code.
        detail: why, in words.
    """

    def __init__(self, reason: ImportReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: ImportReason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside an archive, at the moment the reader is there.

    Attributes:
        name: as the archive has it.
        size: bytes, as declared.
        problem: why it cannot be read; None if it can.
        read: all of its bytes, at most those declared, or why they cannot be had; valid until
            the next member is asked for. Raises `ArchiveStop` if nothing after it can be had.
    """

    name: str
    size: int
    problem: Problem | None
    read: Callable[[], bytes | Problem]


class Meter:
    """Counts what comes out of an archive against what went in.

    Args:
        packed_bytes: tells how much of the packed file has been used.
        limits: when to stop.
    """

    def __init__(self, packed_bytes: Callable[[], int], limits: ArchiveLimits) -> None:
        self._packed_bytes = packed_bytes
        self._limits = limits
        self._total = 0

    def count(self, size: int) -> None:
        """Add `size` unpacked bytes.

        Raises:
            ArchiveStop: that is too many.
        """
        self._total += size
        if self._total > self._limits.max_total_bytes:
            detail = f"more than {self._limits.max_total_bytes:,} bytes unpacked"
            raise ArchiveStop("archive_limit", detail)
        beyond = self._total - _SLACK
        if beyond > 0 and beyond > self._limits.max_ratio * self._packed_bytes():
            detail = f"it unpacks to more than {self._limits.max_ratio} times its size"
            raise ArchiveStop("archive_limit", detail)


def in_words(error: Exception) -> str:
    """What a reader of the standard library said, in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def open_raw(path: Path) -> BinaryIO:
    """Open an archive's file.

    Raises:
        SourceError: it cannot be opened.
    """
    try:
        return path.open("rb")
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}."
        raise SourceError(msg, "Check the path and its permissions.") from error


def magic_of(path: Path) -> bytes:
    """The first bytes of an archive.

    Raises:
        SourceError: it cannot be read.
    """
    with open_raw(path) as file:
        try:
            return file.read(_MAGIC)
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror or error}."
            raise SourceError(msg, "Check that it is an archive, and the disk.") from error
