"""What a source is made of: entries with a name, perhaps a label, and bytes to be had once."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import Limits
from keshikaran.types import Label, Refusal

_THREADS = 4  # they wait for the disk; more of them were no faster
_RACY_NS = 2_000_000_000  # the coarsest clock of a file system (FAT) ticks every 2 s
_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read.

    Attributes:
        data: the bytes.
        stamp: see `Content.stamp`; taken before the bytes, from the same open file.
    """

    data: bytes
    stamp: str | None = None


class Content(Protocol):
    """The bytes of an entry, wherever they are."""

    def read(self, limits: Limits) -> Reading:
        """Read all of it. Called from any thread, once.

        Raises:
            ImageRefusedError: too many bytes, or they cannot be had.
        """

    def stamp(self) -> str | None:
        """What changes whenever the bytes do, had without reading them; None if nothing does."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine's file systems.

    Attributes:
        path: absolute.
    """

    path: str

    def read(self, limits: Limits) -> Reading:
        """See `Content.read`."""
        try:
            self._check(os.stat(self.path), limits)  # noqa: PTH116 - millions of times
            descriptor = os.open(self.path, os.O_RDONLY | _NO_WAITING)
            try:
                status = os.fstat(descriptor)
                self._check(status, limits)
                stamp = _stamp(status)
                return Reading(_read_all(descriptor, status.st_size, limits), stamp)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ImageRefusedError("unreadable_file", error.strerror or str(error)) from error

    def stamp(self) -> str | None:
        """Device, inode, size and times; None while the file is so young that they may lie."""
        try:
            return _stamp(os.stat(self.path))  # noqa: PTH116 - millions of times
        except OSError:
            return None

    def _check(self, status: os.stat_result, limits: Limits) -> None:
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device could be read for ever
            detail = "not a regular file"
            raise ImageRefusedError("unreadable_file", detail)
        check_size(status.st_size, limits)


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that came from a stream and are in memory already."""

    data: bytes

    def read(self, limits: Limits) -> Reading:
        """See `Content.read`."""
        check_size(len(self.data), limits)
        return Reading(self.data)

    def stamp(self) -> str | None:
        """None: a stream has to be read to know what is in it."""
        return None


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a source.

    Attributes:
        name: what the source calls it; unique within the source.
        content: its bytes.
        label: what the source says about it; None if nothing.
        object_id: the SHA-1 that the content must have; None if not known.
    """

    name: str
    content: Content
    label: Label | None = None
    object_id: str | None = None


class Source(Protocol):
    """Everything that one folder, list, archive or bucket holds."""

    @property
    def root(self) -> str:
        """The folder or file that names the entries; absolute."""

    @property
    def class_folders(self) -> Sequence[str]:
        """Names that `--positive` may choose from."""

    @property
    def labelled(self) -> bool:
        """Whether any entry is known to carry a label."""

    @property
    def count(self) -> int | None:
        """How many entries there are; None if only reading them will tell."""

    @property
    def containers(self) -> Sequence[str]:
        """Names under which the source itself, or parts of it, may be refused."""

    @property
    def threads(self) -> int:
        """How many contents are worth reading at once."""

    def walk(self, limits: Limits) -> Iterator[Entry | Refusal]:
        """Every entry and everything that cannot be one; in the same order each time.

        Contents may be read in any order, by several threads, while the walk goes on.
        """


@dataclass(frozen=True, slots=True)
class Listing:
    """A source whose entries are known before any of them is read.

    Attributes:
        root: the folder or file that names the entries; absolute.
        entries: in a fixed order.
        refusals: entries that cannot even be found.
        class_folders: names of first-level folders, for messages.
        threads: how many contents are worth reading at once.
    """

    root: str
    entries: Sequence[Entry]
    refusals: Sequence[Refusal] = ()
    class_folders: Sequence[str] = ()
    threads: int = _THREADS

    @property
    def containers(self) -> Sequence[str]:
        """See `Source`."""
        return ()

    @property
    def labelled(self) -> bool:
        """See `Source`."""
        return any(entry.label is not None for entry in self.entries)

    @property
    def count(self) -> int:
        """See `Source`."""
        return len(self.entries) + len(self.refusals)

    def walk(self, limits: Limits) -> Iterator[Entry | Refusal]:
        """See `Source`."""
        yield from self.refusals
        yield from self.entries


def check_size(size: int, limits: Limits) -> None:
    """Refuse more bytes than allowed.

    Raises:
        ImageRefusedError: `too_many_bytes`.
    """
    if size > limits.max_bytes:
        detail = f"the file has {size:,} bytes, the limit is {limits.max_bytes:,}"
        raise ImageRefusedError("too_many_bytes", detail)


def _stamp(status: os.stat_result) -> str | None:
    """Git's rule: a file that changed just now could change again within the clock's tick."""
    youngest = max(status.st_mtime_ns, status.st_ctime_ns)
    if time.time_ns() - youngest < _RACY_NS:
        return None
    return (
        f"{status.st_dev} {status.st_ino} {status.st_size}"
        f" {status.st_mtime_ns} {status.st_ctime_ns}"
    )


def _read_all(descriptor: int, expected: int, limits: Limits) -> bytes:
    """Read to the end; a file that grows meanwhile is refused at the limit."""
    data = os.read(descriptor, expected + 1)
    while len(data) <= limits.max_bytes:
        more = os.read(descriptor, 1 << 20)
        if not more:
            return data
        data += more
    check_size(len(data), limits)
    return data
