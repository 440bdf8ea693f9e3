"""Many image files → many outputs of a network, with decoding and inference overlapped.

Each worker reads, decodes and infers one image after the other (or as many as the engine likes
to get at once); with two workers more than engine streams, some worker always decodes while the
others wait for the engine, so that both share the processors without a queue between them.
Results come out in the order of the input; at most a few images per worker are in memory at a
time.

A card wants many images at once and leaves the processors to decoding: there, all processors decode
and whole batches go to the card (`batching`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Generic, TypeVar

import numpy as np

from keshikaran.backbones import Engine, device_of, usable_cores
from keshikaran.batching import Crew, in_batches
from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import DecodedImage, Decoder, PixelSpec
from keshikaran.rates import Rates
from keshikaran.sketches import sketch_of
from keshikaran.types import Float32Array, UInt8Array

_SPARE_WORKERS = 2
_AHEAD_PER_WORKER = 8
_MEASURED = 128
_MEASURED_BATCHES = 8
_LEAST_MEASURED = 32

Key = TypeVar("Key")
Reader = Callable[[], bytes | None]
"""Gives an image file's bytes, or None where the network need not be asked.

Called in a worker; may raise `ImageRefusedError`.
"""
_Decoded = tuple[Key, DecodedImage | ImageRefusedError | None]


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


def infer_many(
    items: Iterable[tuple[Key, Reader]],
    pipeline: Pipeline,
    measured: Callable[[Rates], None] | None = None,
) -> Iterator[Inferred[Key]]:
    """Run the network on many images; see the module for how.

    Args:
        items: pairs of a key and a function that reads the image's bytes.
        pipeline: what each goes through.
        measured: told how fast decoding and inferring go by themselves. For that the first few
            hundred images are all decoded before the first is inferred; with fewer than 32 that
            can be decoded, nothing is told.

    Yields:
        One `Inferred` for each item, in order.
    """
    waiting = iter(items)
    if measured is not None:
        first = list(
            islice(waiting, max(_MEASURED, _MEASURED_BATCHES * pipeline.engine.batch_size))
        )
        if len(first) >= _LEAST_MEASURED:
            yield from _one_after_the_other(first, pipeline, measured)
        else:
            waiting = chain(first, waiting)
    if device_of(pipeline.engine) == "cpu":
        yield from _beside_each_other(waiting, pipeline)
    else:
        yield from _with_a_card(waiting, pipeline)


def _beside_each_other(
    waiting: Iterator[tuple[Key, Reader]], pipeline: Pipeline
) -> Iterator[Inferred[Key]]:
    workers = pipeline.engine.streams + _SPARE_WORKERS
    size = pipeline.engine.batch_size
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


def _with_a_card(
    waiting: Iterator[tuple[Key, Reader]], pipeline: Pipeline
) -> Iterator[Inferred[Key]]:
    def decode(item: tuple[Key, Reader]) -> _Decoded[Key]:
        return item[0], _decode(item[1], pipeline)

    def infer(decoded: Sequence[_Decoded[Key]]) -> list[Inferred[Key]]:
        return _infer_decoded(decoded, pipeline)

    engine = pipeline.engine
    crew = Crew(usable_cores() + _SPARE_WORKERS, engine.streams, engine.batch_size)
    return in_batches(waiting, decode, infer, crew)


def _one_after_the_other(
    items: Sequence[tuple[Key, Reader]], pipeline: Pipeline, measured: Callable[[Rates], None]
) -> Iterator[Inferred[Key]]:
    """Images that are all decoded, on all processors, and then all inferred, on all streams."""
    engine = pipeline.engine
    size = engine.batch_size
    with ThreadPoolExecutor(usable_cores() + 1, thread_name_prefix="keshikaran") as pool:
        begun = time.perf_counter()
        images = list(pool.map(lambda item: _decode(item[1], pipeline), items))
        decode_s = time.perf_counter() - begun
    decoded = [(item[0], image) for item, image in zip(items, images, strict=True)]
    groups = [decoded[start : start + size] for start in range(0, len(decoded), size)]
    _infer_decoded(groups[0], pipeline)  # the first call sets things up
    with ThreadPoolExecutor(engine.streams, thread_name_prefix="keshikaran") as pool:
        begun = time.perf_counter()
        results = list(pool.map(lambda group: _infer_decoded(group, pipeline), groups))
        infer_s = time.perf_counter() - begun
    count = sum(isinstance(image, DecodedImage) for image in images)
    if count >= _LEAST_MEASURED:
        where = (device_of(engine), engine.precision)
        measured(Rates(count / decode_s, count / infer_s, count, *where))
    for group in results:
        yield from group


def _infer_group(group: Sequence[tuple[Key, Reader]], pipeline: Pipeline) -> list[Inferred[Key]]:
    """Decode each, infer those that could be decoded together."""
    return _infer_decoded([(key, _decode(read, pipeline)) for key, read in group], pipeline)


def _infer_decoded(decoded: Sequence[_Decoded[Key]], pipeline: Pipeline) -> list[Inferred[Key]]:
    images = [image for _, image in decoded if isinstance(image, DecodedImage)]
    outputs = iter(_infer_views(images, pipeline))
    return [
        Inferred(key, next(outputs), None)
        if isinstance(image, DecodedImage)
        else Inferred(key, None, image)  # refused, or nothing to ask
        for key, image in decoded
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
