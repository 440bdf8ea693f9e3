"""What runs on each machine: an actor with a decoder and an engine, which turns tasks into shards.

It is given plain text and bytes and answers with plain text: what went wrong is part of the answer.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from keshikaran.backbones import Engine, EngineName, open_engine
from keshikaran.bundle import check_self_test, parse_bundle
from keshikaran.errors import ClusterError, KeshikaranError
from keshikaran.inference import Inferred, Pipeline, infer_many
from keshikaran.pixels import ImageFormat, Limits, PixelSpec, ResizeMode
from keshikaran.pixels.isolated import IsolatedDecoder
from keshikaran.predictor import Predictor
from keshikaran.scale.contents import Taken, contents_of
from keshikaran.scale.shards import ShardFolder, ShardWriter, feature_schema, prediction_schema
from keshikaran.scale.tasks import TASK_FORMAT, Task
from keshikaran.types import Precision, Prediction
from keshikaran.version import __version__

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """How workers work; the same for all of them.

    Attributes:
        shards: where shards go.
        engine: what runs the network; never `auto`, since another engine sums in another order.
        precision: arithmetic of the network.
        streams: images inferred side by side by a worker, each on one processor.
        formats: kinds of file that are accepted.
        height: rows the network wants; of features.
        width: columns it wants; of features.
        resize_mode: how images get its shape; of features.
        output: its output that holds features; empty where predictions are wanted.
        dim: D, of features.
        version: of this package where the work is given out.
    """

    shards: str
    engine: EngineName
    precision: Precision
    streams: int
    formats: tuple[ImageFormat, ...]
    height: int = 0
    width: int = 0
    resize_mode: ResizeMode = "crop"
    output: str = ""
    dim: int = 0
    version: str = __version__

    @property
    def limits(self) -> Limits:
        """What an image file may ask for."""
        return Limits(formats=frozenset(self.formats))


class Worker:
    """Called by Ray Data with one task at a time; loads its network with the first one.

    Args:
        settings: `Settings` as JSON.
        model: the network's or the model's file.
    """

    def __init__(self, settings: str, model: bytes) -> None:
        self._settings = Settings(**json.loads(settings))
        self._model = model
        self._job: _Job | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """One task → the name of its shard, or what went wrong.

        Returns:
            `work`, `shard`, `machine`, `arithmetic`, `what` and `hint`, all text.
        """
        task = Task.from_json(str(row["task"]))
        answer = dict.fromkeys(("shard", "arithmetic", "what", "hint"), "")
        answer |= {"work": task.work, "machine": socket.gethostname()}
        try:
            if self._job is None:
                self._job = self._opened()
            shard = self._shard_of(task, self._job)
        except KeshikaranError as error:
            return answer | {"what": error.what, "hint": error.hint}
        return answer | {"shard": shard, "arithmetic": self._job.arithmetic}

    def _opened(self) -> _Job:
        if self._settings.version != __version__:
            msg = f"It has keshikaran {__version__}, the work is for {self._settings.version}."
            raise ClusterError(msg, "Install the same version on all machines.")
        kind = _Features if self._settings.output else _Predictions
        return kind(self._settings, self._model)

    def _shard_of(self, task: Task, job: _Job) -> str:
        folder = ShardFolder(self._settings.shards)
        with ShardWriter(folder, job.schema) as writer:
            for row in job.rows(contents_of(task, self._settings.limits)):
                writer.add(row)
            return writer.finish(task.work)


class _Job(Protocol):
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
        self.arithmetic = arithmetic_of(engine, settings.height, settings.width)
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
        self.arithmetic = arithmetic_of(engine, bundle.manifest.height, bundle.manifest.width)
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


def arithmetic_of(engine: Engine, height: int, width: int) -> str:
    """Names how an engine rounds on this machine: equal names, equal sums.

    Processors with other instructions add the same numbers up in another order. 16 hex digits of
    the SHA-256 of what the network says about noise.
    """
    noise = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    digest = hashlib.sha256()
    for name, values in sorted(engine.infer(noise).items()):
        digest.update(name.encode() + values.tobytes())
    return digest.hexdigest()[:16]


def _engine(settings: Settings, model: bytes) -> Engine:
    return open_engine(
        model,
        engine=settings.engine,
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
