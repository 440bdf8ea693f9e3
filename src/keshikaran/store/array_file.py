"""Arrays in a file that is read by mapping it: what a cache is kept in.

Layout: 8 bytes of magic; SHA-256 of everything after it; length of the header as uint64; the
header, JSON, with settings and the type, shape and place of each array; the arrays, each from a
multiple of 64 bytes on. All numbers are little-endian. Nothing in it is ever run or unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from keshikaran.errors import DamagedStoreError
from keshikaran.hashing import write_parts_durably

_MAGIC: Final = b"KSHARR1\n"
_DIGEST_BYTES = 32
_ALIGN = 64
_START = len(_MAGIC) + _DIGEST_BYTES + 8
_TYPES: Mapping[str, Any] = {"float32": np.dtype("<f4"), "int64": np.dtype("<i8")}

Settings = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """What a file holds.

    Attributes:
        settings: what its writer noted.
        arrays: by name, read-only; parts of the mapped file.
    """

    settings: Settings
    arrays: Mapping[str, np.ndarray[Any, Any]]


def write_arrays(
    path: Path, settings: Settings, arrays: Mapping[str, np.ndarray[Any, Any]]
) -> None:
    """Write float32 and int64 arrays so that a crash leaves the old file or the new.

    Raises:
        StoreError: the disk is full or the folder cannot be written; no temporary file stays.
    """
    flat = {name: _flat(array) for name, array in arrays.items()}
    places: dict[str, dict[str, Any]] = {}
    end = 0
    for name, array in arrays.items():
        places[name] = {"type": str(array.dtype), "shape": list(array.shape), "at": end}
        end = _aligned(end + len(flat[name]))
    header = json.dumps({"settings": dict(settings), "arrays": places}, sort_keys=True).encode()
    header += b" " * (_aligned(_START + len(header)) - _START - len(header))

    def content() -> Iterator[bytes | memoryview]:
        yield len(header).to_bytes(8, "little")
        yield header
        for data in flat.values():
            yield data
            yield bytes(_aligned(len(data)) - len(data))

    digest = hashlib.sha256()
    for part in content():
        digest.update(part)

    def everything() -> Iterator[bytes | memoryview]:
        yield _MAGIC
        yield digest.digest()
        yield from content()

    write_parts_durably(path, everything())


def read_arrays(path: Path) -> ArrayFile:
    """Map a file of arrays, once its digest has been checked.

    Raises:
        FileNotFoundError: there is none.
        DamagedStoreError: it is not what was written.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    view = memoryview(data)
    digest = view[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES]
    rest = view[len(_MAGIC) + _DIGEST_BYTES :]
    if bytes(view[: len(_MAGIC)]) != _MAGIC or hashlib.sha256(rest).digest() != digest:
        msg = f"{path} is damaged."
        raise DamagedStoreError(msg, "Delete the file: it is a cache, and is made again.")
    start = _START + int.from_bytes(rest[:8], "little")
    header = json.loads(bytes(view[_START:start]))
    arrays = {name: _array(data, start, place) for name, place in header["arrays"].items()}
    return ArrayFile(header["settings"], arrays)


def _array(data: bytes | mmap.mmap, start: int, place: dict[str, Any]) -> np.ndarray[Any, Any]:
    kind, shape = _TYPES[place["type"]], tuple(place["shape"])
    count = math.prod(shape)
    found = np.frombuffer(data, dtype=kind, count=count, offset=start + place["at"])
    return found.reshape(shape)


def _flat(array: np.ndarray[Any, Any]) -> memoryview:
    """The array's bytes, without a copy where they lie in order already."""
    ordered = np.ascontiguousarray(array, dtype=_TYPES[str(array.dtype)])
    return ordered.reshape(-1).view(np.uint8).data


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
