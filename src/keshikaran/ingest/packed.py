"""Reading packed files forwards only, with a limit on everything that an archive could blow up."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from keshikaran.errors import SourceError
from keshikaran.types import ImportReason

_CHUNK = 1 << 20
_HEADER_BYTES = 1 << 20  # of one member, with its long names and extended headers
_XZ_MEMORY = 256 << 20
_SLACK = 16 << 20
_MAGIC = 6
_LONG_NUMBER = re.compile(rb"[0-9]{100}")

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


class Readable(Protocol):
    """As much of a file as is needed here."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes."""


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
        if self._total > _SLACK + self._limits.max_ratio * self._packed_bytes():
            detail = f"it unpacks to more than {self._limits.max_ratio} times its size"
            raise ArchiveStop("archive_limit", detail)


class ForwardFile:
    """What `tarfile` reads from: never backwards, counted, and headers on a short leash.

    Args:
        path: a tar archive, plain or packed.
        limits: when to stop.

    Raises:
        SourceError: the file cannot be opened, or not with this Python.
    """

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        self._raw = open_raw(path)
        try:
            self._stream, self._is_packed = _unpacked(path, self._raw)
        except BaseException:
            self._raw.close()
            raise
        self._meter = Meter(self._raw.tell, limits)
        self._position = 0
        self._allowance: int | None = None
        self.last = b""

    def __enter__(self) -> ForwardFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def at_header(self) -> None:
        """The next reads are one member's headers: not many bytes will do."""
        self._allowance = _HEADER_BYTES

    def at_data(self) -> None:
        """The next reads are data."""
        self._allowance = None

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes.

        Raises:
            ArchiveStop: headers are absurdly long, or a limit is reached.
        """
        if self._allowance is not None:
            self._allowance -= size
            if size < 0 or self._allowance < 0:
                raise ArchiveStop("archive_limit", "a member's headers are absurdly long")
        data = self._pull(size)
        # Older Pythons take quadratic time to look for a word behind digits.
        if self._allowance is not None and _LONG_NUMBER.search(data):
            raise ArchiveStop("damaged_archive", "a header holds a number without end")
        self.last = data
        return data

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """Go forwards.

        Raises:
            ArchiveStop: backwards, which only a forged size asks for.
        """
        if whence != io.SEEK_SET or position < self._position:
            raise ArchiveStop("damaged_archive", "a member has an impossible size")
        if not self._is_packed:
            self._position = self._raw.seek(position)
        while self._position < position:
            if not self._pull(min(_CHUNK, position - self._position)):
                break
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def _pull(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._position += len(data)
        self._meter.count(len(data))
        return data


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


def _unpacked(path: Path, raw: BinaryIO) -> tuple[Readable, bool]:
    """The plain stream in `raw`, and whether it was packed; by content, not by name."""
    magic = magic_of(path)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw), True
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(raw), True
    if magic == b"\xfd7zXZ\x00":
        return io.BufferedReader(_Xz(raw)), True
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstandard(path, raw), True
    return raw, False


def _zstandard(path: Path, raw: BinaryIO) -> Readable:
    try:
        module = importlib.import_module("compression.zstd")
    except ModuleNotFoundError as error:
        msg = f"{path} is packed with Zstandard, which this Python cannot unpack."
        raise SourceError(msg, "Unpack it with: zstd -d FILE. Or use Python 3.14.") from error
    unpacked: Readable = module.ZstdFile(raw)
    return unpacked


class _Xz(io.RawIOBase):
    """`lzma.open` without its readiness to take gigabytes of memory if the file says so."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._decoder = self._new()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b"\0") or self._raw.read(_CHUNK)
                if not rest.strip(b"\0"):
                    return 0
                self._decoder = self._new()
                data = self._decoder.decompress(rest, len(buffer))
            else:
                packed = self._raw.read(_CHUNK) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not packed:
                    raise EOFError("the file ends too early")
                data = self._decoder.decompress(packed, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
