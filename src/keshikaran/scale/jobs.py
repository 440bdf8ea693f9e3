"""What a worker does with images: features or predictions, as rows of a shard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from keshikaran.backbones import Engine, open_engine
from keshikaran.bundle import check_self_test, parse_bundle
from keshikaran.inference import Inferred, Pipeline, infer_many
from keshikaran.pixels import PixelSpec
from keshikaran.pixels.isolated import IsolatedDecoder
from keshikaran.predictor import Predictor
from keshikaran.scale.contents import Taken
from keshikaran.scale.parquet import feature_schema, prediction_schema
from keshikaran.scale.settings import Settings
from keshikaran.scale.tasks import TASK_FORMAT
from keshikaran.types import Prediction

Row = Mapping[str, Any]


def open_job(settings: Settings, model: bytes) -> Job:
    """Load the network, and start what decodes.

    Args:
        settings: features or predictions, and how.
        model: the network's or the model's file.

    Raises:
        BackboneError: the engine or precision cannot be had here.
        BundleError: the model does not answer here as it did where it was made.
        IsolationError: no process can be started to decode images in.
    """
    return (_Features if settings.output else _Predictions)(settings, model)


class Job(Protocol):
    """What is done with images.

    Attributes:
        schema: of the rows.
        arithmetic: names how this machine's network rounds; see `arithmetic_of`.
    """

    schema: Any
    arithmetic: str

    def rows(self, images: Iterator[Taken]) -> Iterator[Row]:
        """Rows for a shard."""


class _Features:
    def __init__(self, settings: Settings, model: bytes) -> None:
        engine = _engine(settings, model)
        spec = PixelSpec(settings.height, settings.width, settings.resize_mode)
        self._pipeline = Pipeline(_decoder(settings), engine, spec, sketched=True)
        self._output = settings.output
        self.arithmetic = arithmetic_of(engine, spec)
        self.schema = feature_schema(settings.dim, _note(settings, self.arithmetic))

    def rows(self, images: Iterator[Taken]) -> Iterator[Row]:
        refused: list[Taken] = []
        items = ((taken, _giver(taken.data)) for taken in _readable(images, refused))
        for result in infer_many(items, self._pipeline):
            yield from self._rows_of(result)
        for taken in refused:
            yield {"image_id": "", "name": taken.name, **_refusal(taken)}

    def _rows_of(self, result: Inferred[Taken]) -> Iterator[Row]:
        row = {"image_id": result.key.image_id, "name": result.key.name}
        if result.outputs is None:
            refusal = result.refusal
            if refusal is not None:
                yield {**row, "reason": refusal.reason, "detail": refusal.detail}
            return
        sketch = result.outputs.sketch
        for view, features in enumerate(result.outputs[self._output]):
            first = view == 0 and sketch is not None
            sketched = {"sketch": sketch.tobytes()} if first and sketch is not None else {}
            yield {**row, "view": view, "features": features, **sketched}


class _Predictions:
    def __init__(self, settings: Settings, model: bytes) -> None:
        bundle = parse_bundle(model, "the model")
        engine = _engine(settings, bundle.model)
        check_self_test(bundle, engine)
        self._model_id = bundle.manifest.model_id
        self._predictor = Predictor(bundle, engine, settings.limits, _decoder(settings))
        self.arithmetic = arithmetic_of(engine, bundle.manifest.pixels)
        self.schema = prediction_schema(_note(settings, self.arithmetic))

    def rows(self, images: Iterator[Taken]) -> Iterator[Row]:
        names: list[str] = []
        refused: list[Taken] = []

        def given() -> Iterator[bytes]:
            for taken in _readable(images, refused):
                names.append(taken.name)
                yield taken.data

        for index, prediction in enumerate(self._predictor.predict_many(given())):
            yield {**_plain(prediction), "path": names[index]}
        for taken in refused:
            reason = ": ".join(taken.refusal or ())
            yield _plain(Prediction(taken.name, None, None, "undecided", reason, self._model_id))


def arithmetic_of(engine: Engine, spec: PixelSpec) -> str:
    """Names how an engine rounds on this machine: equal names, equal sums.

    Processors with other instructions add the same numbers up in another order. 16 hex digits of
    the SHA-256 of what the network says about noise.
    """
    rng = np.random.default_rng(0)
    shapes = [(1, shape.height, shape.width, 3) for shape in spec.shapes]
    noise = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    digest = hashlib.sha256()
    for name, values in sorted(engine.infer(*noise).items()):
        digest.update(name.encode() + values.tobytes())
    return digest.hexdigest()[:16]


def _engine(settings: Settings, model: bytes) -> Engine:
    return open_engine(
        model,
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        streams=settings.streams,
    )


def _decoder(settings: Settings) -> IsolatedDecoder:
    """Always in child processes: the images are strangers'."""
    return IsolatedDecoder(settings.limits, workers=settings.streams + 1)


def _note(settings: Settings, arithmetic: str) -> str:
    said = asdict(settings) | {"format": TASK_FORMAT, "arithmetic": arithmetic}
    del said["shards"]
    return json.dumps(said, sort_keys=True)


def _readable(images: Iterable[Taken], refused: list[Taken]) -> Iterator[Taken]:
    """Those that have bytes; the others are put aside."""
    for taken in images:
        if taken.refusal is None:
            yield taken
        else:
            refused.append(taken)


def _giver(data: bytes) -> Any:  # noqa: ANN401 - a `Reader`
    return lambda: data


def _refusal(taken: Taken) -> Row:
    reason, detail = taken.refusal or ("", "")
    return {"reason": reason, "detail": detail}


def _plain(prediction: Prediction) -> dict[str, Any]:
    row = prediction.to_dict()
    del row["evidence"]
    return row
