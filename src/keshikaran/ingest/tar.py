"""Members of a tar archive, one after the other, as they come."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from keshikaran.ingest.forward import ForwardFile
from keshikaran.ingest.packed import (
    DAMAGE,
    ArchiveLimits,
    ArchiveStop,
    Member,
    Problem,
    in_words,
)

_BLOCK = 512
_CHUNK = 1 << 20
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


def tar_members(path: Path, limits: ArchiveLimits) -> Iterator[Member]:
    """Every member that is no folder, in the archive's order. Memory does not grow with it.

    Raises:
        ArchiveStop: the archive is damaged, or larger than allowed; what came before is good.
        SourceError: the file cannot be opened.
    """
    with ForwardFile(path, limits) as file:
        try:
            yield from _members(file, limits)
        except (*DAMAGE, tarfile.TarError) as error:
            raise ArchiveStop("damaged_archive", in_words(error)) from error


def _members(file: ForwardFile, limits: ArchiveLimits) -> Iterator[Member]:
    file.at_header()
    with tarfile.TarFile(fileobj=file, mode="r") as archive:  # type: ignore[arg-type]
        number = 0
        while True:
            file.at_header()
            info = archive.next()
            archive.members = []  # type: ignore[attr-defined]  # else it remembers every one
            if info is None:
                break
            number += 1
            if number > limits.max_entries:
                detail = f"more than {limits.max_entries:,} members"
                raise ArchiveStop("archive_limit", detail)
            if not info.isdir():
                file.at_data()
                yield _member(archive, info)
    _check_end(file)


def _member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    problem: Problem | None = None
    if info.issparse():
        problem = ("unreadable_file", "a sparse file; only plain ones are read")
    elif not info.isreg():
        kind = _KINDS.get(info.type, "not a regular file")
        problem = ("unreadable_file", f"{kind}; only regular files are read")

    def read() -> bytes:
        try:
            file = archive.extractfile(info)
            return b"" if file is None else file.read(info.size)
        except (*DAMAGE, tarfile.TarError) as error:
            raise ArchiveStop("damaged_archive", in_words(error)) from error

    return Member(info.name, info.size, problem, read)


def _check_end(file: ForwardFile) -> None:
    """`tarfile` stops without a word at whatever is no header; an end is a block of zeros."""
    if len(file.last) == _BLOCK and file.last.strip(b"\0"):
        raise ArchiveStop("damaged_archive", "a header is damaged; members after it are lost")
    if len(file.last) < _BLOCK:
        raise ArchiveStop("damaged_archive", "it has no end; it may have been cut off")
    file.at_data()
    while rest := file.read(_CHUNK):  # also has the packer's checksum checked
        if rest.strip(b"\0"):
            raise ArchiveStop("damaged_archive", "there is more behind its end; that is not read")
