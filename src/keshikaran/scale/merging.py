"""Shards of features → the feature cache, each image once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from keshikaran.errors import (
    PASSING_REASONS,
    DamagedStoreError,
    ImageRefusedError,
    RefusalReason,
)
from keshikaran.scale.parquet import read_batches
from keshikaran.scale.shards import ShardFolder
from keshikaran.sketches import SKETCH_SIDE
from keshikaran.store import FeatureCache, FeatureRecipe, Store
from keshikaran.types import Float32Array, ImageId, ImportReason, Progress, UInt8Array, chunks_of

_REASONS: frozenset[str] = frozenset(get_args(RefusalReason))
MOST_REFUSALS = 1000
_PUT_SIZE = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """What a shard says about one image.

    Attributes:
        image_id: empty if its bytes could not be had.
        name: what people call it.
        features: float32 [V, D], a row for each view; None if it was refused.
        sketch: uint8 [16, 16] of the first view; None if there is none.
        reason: why it was refused; empty if it was not.
        detail: the same in words.
    """

    image_id: str
    name: str
    features: Float32Array | None
    sketch: UInt8Array | None
    reason: str
    detail: str


@dataclass(slots=True)
class Merged:
    """What shards held.

    Attributes:
        images: rows that are images, refused ones included; the same bytes twice count twice.
        refused: how many were refused.
        refusals: of those, up to a thousand: name, reason, words.
        added: images that the cache did not have before.
        elsewhere: images that the store does not hold; their features stay in the shards.
    """

    images: int = 0
    refused: int = 0
    refusals: list[tuple[str, ImportReason, str]] = field(default_factory=list)
    added: int = 0
    elsewhere: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """Where features go.

    Attributes:
        store: whose images count.
        cache: gets their features.
        recipe: how they were computed.
        dim: D.
    """

    store: Store
    cache: FeatureCache
    recipe: FeatureRecipe
    dim: int


def merge(folder: ShardFolder, shards: list[str], target: Target, progress: Progress) -> Merged:
    """Add what shards hold to the cache; what it has stays as it is.

    A transaction for every thousand images: an interruption loses nothing, and the same shards
    merged again change nothing.

    Raises:
        DamagedStoreError: a shard is not what was written.
        StoreError: the cache cannot be written.
    """
    merged = Merged()
    with progress.task("merge", len(shards)) as bar:
        for name in shards:
            with folder.fetched(name) as path:
                rows = list(read_rows(path, target.dim))
            for part in chunks_of(len(rows), _PUT_SIZE):
                _put(rows[part], target, merged)
            bar.advance()
    return merged


def read_rows(path: Path, dim: int) -> Iterator[Row]:
    """The images of a shard, in its order.

    Raises:
        DamagedStoreError: it has no such columns.
    """
    try:
        views = (view for batch in read_batches(path) for view in _views(batch, dim))
        for _, group in groupby(enumerate(views), key=_image_number()):
            yield _row([view for _, view in group])
    except (KeyError, ValueError, TypeError, OSError) as error:
        msg = f"{path} holds no features of {dim} numbers: {error}."
        raise DamagedStoreError(msg, "Delete it, and run the same command again.") from error


def _image_number() -> Any:  # noqa: ANN401 - a key for `groupby`
    """Numbers images: one begins with each row that is a first view or a refusal."""
    number = 0

    def numbered(item: tuple[int, dict[str, Any]]) -> int:
        nonlocal number
        number += not item[1]["view"]
        return number

    return numbered


def _views(batch: Any, dim: int) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - pyarrow has no types
    columns = ["image_id", "name", "view", "sketch", "reason", "detail"]
    rows = batch.select(columns).to_pylist()
    numbers = batch.column("features").flatten().to_numpy(zero_copy_only=False)
    matrix = np.asarray(numbers, dtype=np.float32).reshape(-1, dim)
    features = iter(matrix)
    for row in rows:
        row["features"] = None if row["view"] is None else next(features)
        yield row


def _row(views: list[dict[str, Any]]) -> Row:
    first = views[0]
    if first["view"] is None:
        return Row(first["image_id"], first["name"], None, None, first["reason"], first["detail"])
    sketch = first["sketch"]
    pixels = None if sketch is None else np.frombuffer(sketch, dtype=np.uint8)
    return Row(
        first["image_id"],
        first["name"],
        np.stack([view["features"] for view in views]),
        None if pixels is None else pixels.reshape(SKETCH_SIDE, SKETCH_SIDE),
        "",
        "",
    )


def _put(rows: list[Row], target: Target, merged: Merged) -> None:
    merged.images += len(rows)
    by_id = {ImageId(row.image_id): row for row in rows if row.image_id}
    stored = target.store.known_images(list(by_id))
    merged.elsewhere += sum(
        row.features is not None and image_id not in stored for image_id, row in by_id.items()
    )
    wanted = target.cache.missing(target.recipe, sorted(stored))
    vectors: list[tuple[ImageId, Float32Array]] = []
    sketches: list[tuple[ImageId, UInt8Array]] = []
    refusals: list[tuple[ImageId, ImageRefusedError]] = []
    for image_id in wanted:
        row = by_id[image_id]
        if row.features is not None:
            vectors.append((image_id, row.features))
            if row.sketch is not None:
                sketches.append((image_id, row.sketch))
        elif row.reason in _REASONS - PASSING_REASONS:
            reason = cast("RefusalReason", row.reason)
            refusals.append((image_id, ImageRefusedError(reason, row.detail)))
    if vectors or refusals:
        target.cache.put(target.recipe, vectors, refusals, sketches)
    merged.added += len(vectors)
    _note_refused(rows, merged)


def _note_refused(rows: list[Row], merged: Merged) -> None:
    refused = [row for row in rows if row.features is None]
    merged.refused += len(refused)
    for row in refused[: MOST_REFUSALS - len(merged.refusals)]:
        merged.refusals.append((row.name, cast("ImportReason", row.reason), row.detail))
