"""Reading a tar archive, packed or not, forwards only, and never more of it than is good."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import re
from pathlib import Path
from typing import BinaryIO, Protocol

from keshikaran.errors import SourceError
from keshikaran.ingest.packed import ArchiveLimits, ArchiveStop, Meter, magic_of, open_raw

_CHUNK = 1 << 20
_HEADER_BYTES = 1 << 20  # of one member, with its long names and extended headers
_XZ_MEMORY = 256 << 20
_LONG_NUMBER = re.compile(rb"[0-9]{100}")


class Readable(Protocol):
    """As much of a file as is needed here."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes."""


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
