"""Members of a zip archive, in the order of its directory."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from keshikaran.ingest.packed import (
    DAMAGE,
    ArchiveLimits,
    ArchiveStop,
    Member,
    Meter,
    Problem,
    in_words,
    open_raw,
)

_CHUNK = 1 << 16
_ENCRYPTED = 0x1
_DIRECTORY_BYTES = 64 << 20
_DIRECTORY_ENTRY = b"PK\x01\x02"
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # the others unpack without a limit


def zip_members(path: Path, limits: ArchiveLimits) -> Iterator[Member]:
    """Every member that is no folder.

    Raises:
        ArchiveStop: the archive is damaged, or larger than allowed; what came before is good.
        SourceError: the file cannot be opened.
    """
    with open_raw(path) as raw:
        file = _CheckedFile(raw, limits)
        size = raw.seek(0, 2)
        meter = Meter(lambda: size, limits)
        try:
            archive = zipfile.ZipFile(file)
        except (*DAMAGE, zipfile.BadZipFile) as error:
            raise ArchiveStop("damaged_archive", in_words(error)) from error
        file.is_open = True
        with archive:
            for info in archive.infolist():
                if not info.is_dir():
                    read = partial(_read, archive, info, meter)
                    yield Member(info.filename, info.file_size, _problem(info), read)


def _problem(info: zipfile.ZipInfo) -> Problem | None:
    mode = info.external_attr >> 16
    if info.flag_bits & _ENCRYPTED:
        return "encrypted", "it needs a password; only plain entries are read"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "unreadable_file", "a link or a device; only regular files are read"
    if info.compress_type not in _METHODS:
        detail = f"packed by method {info.compress_type}; only stored and deflated ones are read"
        return "unreadable_file", detail
    return None


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, meter: Meter) -> bytes | Problem:
    """The directory says where each member lies: a damaged one costs none of the others."""
    data = bytearray()
    try:
        with archive.open(info) as file:
            while more := file.read(_CHUNK):
                meter.count(len(more))
                data += more
    except (*DAMAGE, zipfile.BadZipFile) as error:
        return "corrupt", in_words(error)
    if len(data) != info.file_size:
        return "truncated", f"it ends after {len(data):,} of {info.file_size:,} bytes"
    return bytes(data)


class _CheckedFile:
    """What `zipfile` reads from: it takes the whole directory at once, whatever its size."""

    def __init__(self, raw: BinaryIO, limits: ArchiveLimits) -> None:
        self._raw = raw
        self._limits = limits
        self.is_open = False
        self.seek = raw.seek
        self.tell = raw.tell
        self.seekable = raw.seekable

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes.

        Raises:
            ArchiveStop: they are a directory with more entries than allowed.
        """
        if self.is_open:
            return self._raw.read(size)
        data = self._raw.read(_DIRECTORY_BYTES + 1 if size < 0 else min(size, _DIRECTORY_BYTES + 1))
        if len(data) > _DIRECTORY_BYTES:
            detail = f"its directory has more than {_DIRECTORY_BYTES:,} bytes"
            raise ArchiveStop("archive_limit", detail)
        if data.count(_DIRECTORY_ENTRY) > self._limits.max_directory_entries:
            detail = (
                f"more than {self._limits.max_directory_entries:,} entries;"
                " split it, or pack it as tar"
            )
            raise ArchiveStop("archive_limit", detail)
        return data
