"""How long decoding and inferring take, told to whoever wants to know."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from keshikaran.backbones import Engine, device_of
from keshikaran.inference import Pipeline
from keshikaran.pixels import DecodedImage, Decoder, PixelSpec
from keshikaran.types import Float32Array, UInt8Array

Stage = Literal["decode", "infer"]
Record = Callable[[Stage, float], None]
"""Called in the worker's thread with a stage and its seconds."""


def timed(pipeline: Pipeline, record: Record) -> Pipeline:
    """The same pipeline, telling its times."""
    return replace(
        pipeline,
        decoder=_TimedDecoder(pipeline.decoder, record),
        engine=_TimedEngine(pipeline.engine, record),
    )


class _TimedDecoder:
    def __init__(self, decoder: Decoder, record: Record) -> None:
        self._decoder, self._record = decoder, record

    def decode(self, data: bytes, spec: PixelSpec) -> DecodedImage:
        started = time.perf_counter()
        try:
            return self._decoder.decode(data, spec)
        finally:
            self._record("decode", time.perf_counter() - started)

    def close(self) -> None:
        self._decoder.close()


class _TimedEngine:
    def __init__(self, engine: Engine, record: Record) -> None:
        self._engine, self._record = engine, record
        self.name, self.precision = engine.name, engine.precision
        self.streams, self.batch_size = engine.streams, engine.batch_size
        self.device = device_of(engine)

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        started = time.perf_counter()
        outputs = self._engine.infer(images, *beside)
        self._record("infer", time.perf_counter() - started)
        return outputs
