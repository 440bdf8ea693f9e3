"""Which files were opened, as Python and as the kernel saw it."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_OPEN = 0x20
_IN_NONBLOCK = 0x800

_listeners: list[list[str]] = []
_hooked = False


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    name = arguments[0] if event == "open" and _listeners else None
    if isinstance(name, str | bytes | os.PathLike):  # a number is a file that is open already
        for names in _listeners:
            names.append(os.fsdecode(name))


@contextmanager
def opened_by_python() -> Iterator[list[str]]:
    """Collect the path of every file that any Python code of this process opens."""
    global _hooked
    if not _hooked:  # an audit hook stays for the life of a process
        sys.addaudithook(_hook)
        _hooked = True
    names: list[str] = []
    _listeners.append(names)
    try:
        yield names
    finally:
        _listeners.remove(names)


class FolderWatch:
    """The kernel's word on which files in a folder were opened, by any code (Linux only).

    An audit hook does not see what a library written in C++ opens; this does.
    """

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.inotify_init1(_IN_NONBLOCK)
        watched = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _IN_OPEN)
        if self._descriptor < 0 or watched < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def opened(self) -> set[str]:
        """Names of the files opened since the last call."""
        names: set[str] = set()
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                return names
            at = 0
            while at < len(data):
                size = struct.unpack_from("iIII", data, at)[3]
                names.add(os.fsdecode(data[at + 16 : at + 16 + size].rstrip(b"\0")))
                at += 16 + size

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)
