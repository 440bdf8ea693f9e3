"""Known images: the labels of images, and enough of each to know it again. A file format.

The file is a header in JSON, then columns of numbers, then small pictures, then a SHA-256 of all
of it. The header's counts decide the size of every column; they must add up to the size of the
file before anything is read, so that no file can ask for more memory than it is long.
docs/known-images.md has the layout.
"""

from __future__ import annotations

import hashlib
import json
import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from keshikaran.errors import MemoryFileError
from keshikaran.hashing import write_durably
from keshikaran.pixels import RESIZE_MODES
from keshikaran.recipe import FeatureRecipe
from keshikaran.sketches import SKETCH_SIDE
from keshikaran.types import ImageId, IntArray, LabelArray, Precision
from keshikaran.whitening import Index, Whitening

MAGIC = b"keshikaran known images\n"
SCHEMA_VERSION = 1
MAX_MEMORY_BYTES = 16_000_000_000

_MAX_HEADER_BYTES = 4096
_MAX_COUNT = 2**31 - 1
_LENGTH = struct.Struct("<I")
_ID_BYTES = 32
_IMAGE_BYTES = _ID_BYTES + 1 + 4  # id, label, group
_ROW_BYTES = 4 + 4  # owner, length of the picture
_DIGEST_BYTES = 32
_LEAST_CUT = 0.1
_LONGEST_ROW = 1.01  # rows have length one, or zero; float16 rounds
_AGAIN = "Make it again: keshikaran export-memory FILE"


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Labelled images in order of their id, and what is needed to know them again.

    An image that has no row is known by its bytes alone.

    Attributes:
        key: what computed the features; a model must do the same.
        image_ids: ascending, [n].
        labels: int8 [n].
        groups: int32 [n]; images with one number are copies of one photograph.
        owners: int64 [m], ascending: the number of each row's image.
        features: m rows, by what the network makes of each image's first view.
        sketches: m rows, by the sketch of that view, which turns as the picture does.
        pictures: m image files, any size; to compare pixels with.
    """

    key: FeatureRecipe
    image_ids: list[ImageId]
    labels: LabelArray
    groups: IntArray
    owners: IntArray
    features: Index
    sketches: Index
    pictures: Sequence[bytes]

    def disputed(self) -> set[int]:
        """Groups whose images do not all have the same label."""
        ones, zeros = (set(self.groups[self.labels == label].tolist()) for label in (1, 0))
        return ones & zeros


def pack_memory(memory: Memory) -> bytes:
    """The bytes of a file of known images; the same memory gives the same bytes."""
    pictures = list(memory.pictures)
    header = {
        **asdict(memory.key),
        "schema": SCHEMA_VERSION,
        "images": len(memory.image_ids),
        "rows": len(memory.owners),
        "features": _sizes(memory.features),
        "sketches": _sizes(memory.sketches),
        "picture_bytes": sum(map(len, pictures)),
    }
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    parts = [
        MAGIC,
        _LENGTH.pack(len(text)),
        text,
        b"".join(bytes.fromhex(image_id) for image_id in memory.image_ids),
        memory.labels.astype("<i1").tobytes(),
        memory.groups.astype("<i4").tobytes(),
        memory.owners.astype("<i4").tobytes(),
        *_columns_of(memory.features),
        *_columns_of(memory.sketches),
        np.array([len(picture) for picture in pictures], dtype="<u4").tobytes(),
        *pictures,
    ]
    data = b"".join(parts)
    return data + hashlib.sha256(data).digest()


def _sizes(index: Index) -> dict[str, float]:
    width, dims = index.whitening.projection.shape
    return {"width": width, "dims": dims, "cut": index.whitening.cut}


def _columns_of(index: Index) -> Iterator[bytes]:
    yield index.whitening.mean.astype("<f4").tobytes()
    yield index.whitening.projection.astype("<f4").tobytes()
    yield index.rows.astype("<f2").tobytes()


def write_memory(path: Path, memory: Memory) -> int:
    """Write a file of known images durably; returns its size in bytes.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    data = pack_memory(memory)
    write_durably(path, data, mode=0o600)
    return len(data)


def read_memory(path: Path) -> Memory:
    """Read and check a file of known images.

    Raises:
        MemoryFileError: missing, damaged, unsafe, none of ours, or of another version.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_MEMORY_BYTES:
            msg = f"{path} is not a plain file of at most {MAX_MEMORY_BYTES:,} bytes."
            raise MemoryFileError(msg, "Check the path given to --memory.")
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
            if start != MAGIC:
                msg = f"{path} is not a file of known images."
                raise MemoryFileError(msg, _AGAIN)
            data = start + file.read(found.st_size - len(MAGIC))
    except OSError as error:
        msg = f"The known images in {path} cannot be read: {error.strerror}."
        raise MemoryFileError(msg, "Check the path given to --memory.") from error
    return parse_memory(data, str(path))


def parse_memory(data: bytes, origin: str) -> Memory:
    """Check the bytes of a file of known images; see `read_memory`.

    Args:
        data: the whole file.
        origin: its name, for messages.
    """
    try:
        return _parse(data)
    except (ValueError, TypeError, KeyError, RecursionError, struct.error) as error:
        words = f"no {error}" if isinstance(error, KeyError) else str(error)
        msg = f"{origin} is damaged, or no file of known images: {words}."
        raise MemoryFileError(msg, _AGAIN) from error


def _parse(data: bytes) -> Memory:
    header, start = _header(data)
    images, rows, picture_bytes = (
        _count(header, name) for name in ("images", "rows", "picture_bytes")
    )
    features, sketches = _Sizes.of(header, "features"), _Sizes.of(header, "sketches")
    body = images * _IMAGE_BYTES + rows * _ROW_BYTES + features.bytes(rows) + sketches.bytes(rows)
    _require(len(data) == start + body + picture_bytes + _DIGEST_BYTES, "its size does not fit")
    _require(rows <= images, "more rows than images")
    digest = hashlib.sha256(memoryview(data)[:-_DIGEST_BYTES]).digest()
    _require(digest == data[-_DIGEST_BYTES:], "its digest does not fit")
    columns = _Columns(data, start)
    ids = columns.take("S1", images * _ID_BYTES).tobytes().hex()
    names = [ids[at : at + 2 * _ID_BYTES] for at in range(0, len(ids), 2 * _ID_BYTES)]
    _require(all(a < b for a, b in pairwise(names)), "its ids are not in order")
    memory = Memory(
        key=_key(header),
        image_ids=[ImageId(name) for name in names],
        labels=columns.take("<i1", images).astype(np.int8),
        groups=columns.take("<i4", images).astype(np.int64),
        owners=columns.take("<i4", rows).astype(np.int64),
        features=columns.index(features, rows),
        sketches=columns.index(sketches, rows),
        pictures=columns.pictures(rows, picture_bytes),
    )
    _check(memory)
    return memory


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The header, and where the columns begin."""
    _require(data.startswith(MAGIC), "it does not begin like one")
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    start = len(MAGIC) + _LENGTH.size
    _require(length <= min(_MAX_HEADER_BYTES, len(data) - start), "its header is too long")
    header = json.loads(data[start : start + length])
    _require(isinstance(header, dict), "its header is no object")
    if header["schema"] != SCHEMA_VERSION:
        msg = f"its format is {header['schema']!r:.20}, this program reads {SCHEMA_VERSION}"
        raise ValueError(msg)
    return cast("dict[str, Any]", header), start + length


def _count(header: dict[str, Any], name: str) -> int:
    value = header[name]
    _require(type(value) is int and 0 <= value <= MAX_MEMORY_BYTES, f"bad {name}")
    _require(name == "picture_bytes" or value <= _MAX_COUNT, f"bad {name}")
    return int(value)


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What the header says of one index."""

    width: int
    dims: int
    cut: float

    @classmethod
    def of(cls, header: dict[str, Any], name: str) -> _Sizes:
        found = header[name]
        _require(isinstance(found, dict), f"bad {name}")
        cut = found["cut"]
        # A lower one would have any upload compared with every known image.
        _require(type(cut) is float and _LEAST_CUT <= cut <= 1.0, "bad cut")
        return cls(_count(found, "width"), _count(found, "dims"), cut)

    def bytes(self, rows: int) -> int:
        return 4 * self.width * (1 + self.dims) + 2 * rows * self.dims


def _key(header: dict[str, Any]) -> FeatureRecipe:
    _require(type(header["backbone_digest"]) is str, "bad backbone_digest")
    _require(header["precision"] in get_args(Precision), "bad precision")
    _require(header["resize_mode"] in RESIZE_MODES, "bad resize_mode")
    _require(type(header["pixel_contract"]) is int, "bad pixel_contract")
    return FeatureRecipe(
        header["backbone_digest"],
        header["precision"],
        header["resize_mode"],
        header["pixel_contract"],
    )


class _Columns:
    """Takes one column after the other; the sizes were checked together before."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data, self._at = data, start

    def take(self, kind: str, count: int) -> np.ndarray:
        found = np.frombuffer(self._data, np.dtype(kind), count, self._at)
        self._at += found.nbytes
        return found

    def index(self, sizes: _Sizes, rows: int) -> Index:
        width, dims = sizes.width, sizes.dims
        mean = self.take("<f4", width).astype(np.float32)
        projection = self.take("<f4", width * dims).astype(np.float32).reshape(width, dims)
        matrix = self.take("<f2", rows * dims).astype(np.float32).reshape(rows, dims)
        return Index(Whitening(mean, projection, sizes.cut), matrix)

    def pictures(self, count: int, total: int) -> list[bytes]:
        lengths = self.take("<u4", count).astype(np.int64)
        _require(int(lengths.sum()) == total, "its pictures' lengths do not fit")
        ends = (self._at + np.cumsum(lengths)).tolist()
        return [
            self._data[end - length : end]
            for end, length in zip(ends, lengths.tolist(), strict=True)
        ]


def _check(memory: Memory) -> None:
    """Refuse values that code could stumble over."""
    _require(bool(np.isin(memory.labels, (0, 1)).all()), "a label is neither 0 nor 1")
    _require(bool((memory.groups >= 0).all()), "a group's number is negative")
    numbers = memory.owners
    ordered = bool((np.diff(numbers) > 0).all())
    within = not len(numbers) or (numbers[0] >= 0 and numbers[-1] < len(memory.image_ids))
    _require(ordered and bool(within), "its rows belong to no image")
    width = SKETCH_SIDE**2 if len(numbers) else 0
    _require(len(memory.sketches.whitening.mean) == width, "its sketches have another size")
    for index in (memory.features, memory.sketches):
        for values in (index.whitening.mean, index.whitening.projection, index.rows):
            _require(bool(np.isfinite(values).all()), "a value is not a number")
        lengths = np.einsum("md,md->m", index.rows, index.rows)
        _require(bool((lengths <= _LONGEST_ROW).all()), "a row is too long")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
