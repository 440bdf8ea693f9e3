"""Files of known images made by hand, and ones that were tampered with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keshikaran.memory import MAGIC, Memory, pack_memory
from keshikaran.recipe import FeatureRecipe
from keshikaran.types import ImageId
from keshikaran.whitening import Index, Whitening

KEY = FeatureRecipe("ab" * 32, "f32", "crop", 2)
_START = len(MAGIC) + 4


def image_ids(count: int) -> list[ImageId]:
    """Ids as they may occur, ascending."""
    names = (hashlib.sha256(str(number).encode()).hexdigest() for number in range(count))
    return sorted(map(ImageId, names))


def index(rows: int, width: int, dims: int = 3, **fields: Any) -> Index:
    """Made-up features; `fields` of the whitening can be given."""
    rng = np.random.default_rng(rows)
    values: dict[str, Any] = {
        "mean": rng.normal(size=width).astype(np.float32),
        "projection": rng.normal(size=(width, dims)).astype(np.float32),
        "cut": 0.5,
    }
    vectors = rng.normal(size=(rows, dims))
    unit = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    return Index(Whitening(**{**values, **fields}), unit.astype(np.float32))


def small_memory(
    labels: Sequence[int] = (0, 1, 1, 0, 1), *, rows: int | None = None, **fields: Any
) -> Memory:
    """A few known images with made-up features; those that come first have a row."""
    count = len(labels)
    rows = count if rows is None else rows
    values: dict[str, Any] = {
        "key": KEY,
        "image_ids": image_ids(count),
        "labels": np.array(labels, dtype=np.int8),
        "groups": np.arange(count, dtype=np.int64),
        "owners": np.arange(rows, dtype=np.int64),
        "features": index(rows, 6),
        "sketches": index(rows, 256 if rows else 0),
        "pictures": [bytes([number]) * (number + 1) for number in range(rows)],
    }
    return Memory(**{**values, **fields})


def sealed(data: bytes) -> bytes:
    """With a digest that fits, as somebody who knows the format would write it."""
    return data + hashlib.sha256(data).digest()


def with_header(change: Callable[[dict[str, Any]], object] | bytes, memory: Memory) -> bytes:
    """A file whose header was changed, or replaced, and whose digest fits again."""
    data = pack_memory(memory)[:-32]
    length = int.from_bytes(data[len(MAGIC) : _START], "little")
    if isinstance(change, bytes):
        text = change
    else:
        header = json.loads(data[_START : _START + length])
        change(header)
        text = json.dumps(header).encode()
    head = MAGIC + len(text).to_bytes(4, "little") + text
    return sealed(head + data[_START + length :])


def changed_header(values: Mapping[str, Any], memory: Memory | None = None) -> bytes:
    """A file with some values of its header changed."""
    return with_header(lambda header: header.update(values), memory or small_memory())
