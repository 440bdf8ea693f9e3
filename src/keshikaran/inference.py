"""Many image files → many outputs of a network, with decoding and inference overlapped.

Each worker reads, decodes and infers one image after the other; with two workers more than
engine streams, some worker always decodes while the others wait for the engine, so that both
share the processors without a queue between them. Results come out in the order of the input;
at most a few images per worker are in memory at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from keshikaran.backbones import Engine
from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import DEFAULT_LIMITS, Limits, PixelSpec, read_pixels
from keshikaran.types import Float32Array

_SPARE_WORKERS = 2
_AHEAD_PER_WORKER = 8

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Inferred(Generic[Key]):
    """What came of one image.

    Attributes:
        key: the caller's own name for it.
        outputs: the network's outputs without the batch axis; None if refused.
        refusal: why there are none; None if there are.
    """

    key: Key
    outputs: dict[str, Float32Array] | None
    refusal: ImageRefusedError | None


def infer_image(
    data: bytes, engine: Engine, spec: PixelSpec, limits: Limits = DEFAULT_LIMITS
) -> dict[str, Float32Array]:
    """One image file → the network's outputs, without the batch axis.

    Raises:
        ImageRefusedError: the file cannot be turned into pixels.
    """
    outputs = engine.infer(read_pixels(data, spec, limits)[None])
    return {name: values[0] for name, values in outputs.items()}


def infer_one(
    key: Key,
    read: Callable[[], bytes],
    engine: Engine,
    spec: PixelSpec,
    limits: Limits = DEFAULT_LIMITS,
) -> Inferred[Key]:
    """Run the network on one image; a refusal is a result here, not an exception."""
    try:
        return Inferred(key, infer_image(read(), engine, spec, limits), None)
    except ImageRefusedError as refusal:
        return Inferred(key, None, refusal)


def infer_many(
    items: Iterable[tuple[Key, Callable[[], bytes]]],
    engine: Engine,
    spec: PixelSpec,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[Inferred[Key]]:
    """Run the network on many images; see the module for how.

    Args:
        items: pairs of a key and a function that reads the image's bytes. The function runs in
            a worker and may raise `ImageRefusedError`.
        engine: the loaded network.
        spec: the pixels it wants.
        limits: what a file may ask for.

    Yields:
        One `Inferred` for each item, in order.
    """
    workers = engine.streams + _SPARE_WORKERS
    pending: deque[Future[Inferred[Key]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="keshikaran") as pool:
        try:
            for key, read in items:
                pending.append(pool.submit(infer_one, key, read, engine, spec, limits))
                if len(pending) >= workers * _AHEAD_PER_WORKER:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
