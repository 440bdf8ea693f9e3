"""Many image files → many outputs of a network, with decoding and inference overlapped.

Each worker reads, decodes and infers one image after the other (or as many as the engine likes
to get at once); with two workers more than engine streams, some worker always decodes while the
others wait for the engine, so that both share the processors without a queue between them.
Results come out in the order of the input; at most a few images per worker are in memory at a
time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np

from keshikaran.backbones import Engine
from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import DecodedImage, Decoder, PixelSpec
from keshikaran.sketches import sketch_of
from keshikaran.types import Float32Array, UInt8Array

_SPARE_WORKERS = 2
_AHEAD_PER_WORKER = 8

Key = TypeVar("Key")
Reader = Callable[[], bytes | None]
"""Gives an image file's bytes, or None where the network need not be asked.

Called in a worker; may raise `ImageRefusedError`.
"""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What an image file goes through.

    Attributes:
        decoder: turns the file into views.
        engine: the loaded network.
        spec: the pixels it wants, a shape for each of its inputs.
        sketched: whether to make a sketch of each image, too.
    """

    decoder: Decoder
    engine: Engine
    spec: PixelSpec
    sketched: bool = False


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the network said about one image.

    Attributes:
        by_name: each output of the graph, first axis: the image's views.
        frames_total: frames in the file.
        frames_scored: how many of them were looked at.
        sketch: of the first view, uint8 [16, 16]; None if none was asked for.
        order: see `DecodedImage.order`.
    """

    by_name: dict[str, Float32Array]
    frames_total: int
    frames_scored: int
    sketch: UInt8Array | None = None
    order: tuple[int, ...] = ()

    def __getitem__(self, name: str) -> Float32Array:
        """One output, float32 [V, ...]."""
        return self.by_name[name]

    def order_of_views(self) -> tuple[int, ...]:
        """`order` spelt out."""
        return self.order or tuple(range(len(next(iter(self.by_name.values())))))

    def score(self) -> float:
        """The highest score of any view; NaN if one of them has none."""
        return float(self.by_name["score"].max())


@dataclass(frozen=True, slots=True)
class Inferred(Generic[Key]):
    """What came of one image.

    Attributes:
        key: the caller's own name for it.
        outputs: None if refused, or if the network need not be asked.
        refusal: why the image was refused; None if it was not.
    """

    key: Key
    outputs: Outputs | None
    refusal: ImageRefusedError | None


def infer_image(data: bytes, pipeline: Pipeline) -> Outputs:
    """One image file → the network's outputs.

    Raises:
        ImageRefusedError: the file cannot be turned into pixels.
    """
    (outputs,) = _infer_views([pipeline.decoder.decode(data, pipeline.spec)], pipeline)
    return outputs


def infer_one(key: Key, read: Reader, pipeline: Pipeline) -> Inferred[Key]:
    """Run the network on one image; a refusal is a result here, not an exception."""
    (result,) = _infer_group([(key, read)], pipeline)
    return result


def infer_many(items: Iterable[tuple[Key, Reader]], pipeline: Pipeline) -> Iterator[Inferred[Key]]:
    """Run the network on many images; see the module for how.

    Args:
        items: pairs of a key and a function that reads the image's bytes.
        pipeline: what each goes through.

    Yields:
        One `Inferred` for each item, in order.
    """
    workers = pipeline.engine.streams + _SPARE_WORKERS
    size = pipeline.engine.batch_size
    waiting = iter(items)
    pending: deque[Future[list[Inferred[Key]]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="keshikaran") as pool:
        try:
            while group := list(islice(waiting, size)):
                pending.append(pool.submit(_infer_group, group, pipeline))
                if len(pending) * size >= workers * _AHEAD_PER_WORKER:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _infer_group(group: Sequence[tuple[Key, Reader]], pipeline: Pipeline) -> list[Inferred[Key]]:
    """Decode each, infer those that could be decoded together."""
    decoded = [_decode(read, pipeline) for _, read in group]
    images = [image for image in decoded if isinstance(image, DecodedImage)]
    outputs = iter(_infer_views(images, pipeline))
    return [
        Inferred(key, next(outputs), None)
        if isinstance(image, DecodedImage)
        else Inferred(key, None, image)  # refused, or nothing to ask
        for (key, _), image in zip(group, decoded, strict=True)
    ]


def _decode(read: Reader, pipeline: Pipeline) -> DecodedImage | ImageRefusedError | None:
    try:
        data = read()
        return None if data is None else pipeline.decoder.decode(data, pipeline.spec)
    except ImageRefusedError as refusal:
        return refusal


def _infer_views(images: Sequence[DecodedImage], pipeline: Pipeline) -> list[Outputs]:
    if not images:
        return []
    by_input = zip(*(image.inputs for image in images), strict=True)
    together = [each[0] if len(each) == 1 else np.concatenate(each) for each in by_input]
    values = pipeline.engine.infer(*together)
    ends = np.cumsum([len(image.views) for image in images])
    return [
        Outputs(
            {name: rows[end - len(image.views) : end] for name, rows in values.items()},
            image.frames_total,
            image.frames_scored,
            sketch_of(image.views[0]) if pipeline.sketched else None,
            image.order,
        )
        for image, end in zip(images, ends, strict=True)
    ]
