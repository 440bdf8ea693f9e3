"""Predictions by many machines: sources → tasks → shards → predictions in the sources' order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from keshikaran.backbones import Engine, EngineName, device_of, open_engine
from keshikaran.backbones.devices import Device
from keshikaran.bundle import Bundle, check_self_test, read_bundle
from keshikaran.errors import BackboneError
from keshikaran.pixels import DEFAULT_LIMITS, Limits
from keshikaran.scale.cluster import Cluster, need_ray
from keshikaran.scale.listing import Listed, list_sources
from keshikaran.scale.parquet import read_batches
from keshikaran.scale.running import Order, run
from keshikaran.scale.settings import Settings
from keshikaran.scale.shards import ShardFolder, absolute
from keshikaran.scale.tasks import PIECES_PER_TASK
from keshikaran.signature import SignatureCheck
from keshikaran.types import Precision, Prediction, Progress


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What is to be scored, by which model, and on what.

    Attributes:
        cluster: the machines.
        model: a model file.
        sources: addresses of images and archives.
        shards: where shards are written and stay.
        engine: what runs the model.
        device: where it runs; `auto` is settled on this machine.
        precision: None takes the model's own where this machine has it, else f32.
        limits: what an image file may ask for.
        signature: who must have signed the model; None asks for no signature.
        task_size: images to a task, on average at most.
    """

    cluster: Cluster
    model: Path
    sources: tuple[str, ...]
    shards: str
    engine: EngineName = "auto"
    device: Device = "auto"
    precision: Precision | None = None
    limits: Limits = DEFAULT_LIMITS
    signature: SignatureCheck | None = None
    task_size: int = PIECES_PER_TASK


@dataclass(frozen=True, slots=True)
class Predicted:
    """What became of it.

    Attributes:
        shards: names of the files with predictions, one for each task.
        reused: how many of them were there before.
        machines: names of those that worked.
        arithmetics: in how many ways they round; above 1, the last bits differ between machines.
        names: of the images and archives, in the order given.
        folder: where the shards lie.
    """

    shards: tuple[str, ...]
    reused: int
    machines: tuple[str, ...]
    arithmetics: int
    names: tuple[str, ...]
    folder: ShardFolder

    def predictions(self) -> Iterator[Prediction]:
        """All predictions, in the order of the sources; members of an archive by their place in it.

        Raises:
            DamagedStoreError: a shard is not what was written.
        """
        place = {name: index for index, name in reversed(list(enumerate(self.names)))}
        found: list[tuple[int, Prediction]] = []
        for shard in self.shards:
            with self.folder.fetched(shard) as path:
                found += ((_place(row["path"], place), _prediction(row)) for row in _rows(path))
        found.sort(key=lambda pair: pair[0])  # stable: members of an archive stay in order
        yield from (prediction for _, prediction in found)


def predict_on(request: PredictRequest, progress: Progress) -> Predicted:
    """Score images on a cluster; every row is in a shard at the end.

    Args:
        request: what, by which model, and on what.
        progress: told of images.

    Raises:
        MissingExtraError: Ray, or what it needs, is not installed.
        SourceError: a source cannot be listed.
        BundleError: the model file cannot be used.
        BackboneError: the engine or precision cannot be had.
        ClusterError: no token, no cluster, or work failed there.
        StoreError: the shards cannot be read or written.
    """
    need_ray("Predicting on many machines")
    bundle = read_bundle(request.model, request.signature)
    settings = _settings(bundle, request)
    listed = _listed(bundle, settings, request)
    ran = run(listed.tasks, Order(request.cluster, settings, bundle.model), progress)
    return Predicted(
        shards=tuple(ran.shards),
        reused=ran.reused,
        machines=tuple(sorted(ran.machines)),
        arithmetics=len(ran.arithmetics),
        names=tuple(listed.names),
        folder=ShardFolder(request.shards),
    )


def _settings(bundle: Bundle, request: PredictRequest) -> Settings:
    engine = _opened(bundle, request)
    check_self_test(bundle, engine)
    return Settings(
        shards=absolute(request.shards),
        engine=cast("EngineName", engine.name),
        device=device_of(engine),
        precision=engine.precision,
        streams=1,
        formats=tuple(sorted(request.limits.formats)),
    )


def _opened(bundle: Bundle, request: PredictRequest) -> Engine:
    """The model's own precision where it can be had, else f32, as `Predictor` chooses."""
    own = bundle.manifest.precision

    def opened(precision: Precision) -> Engine:
        return open_engine(
            bundle.model,
            engine=request.engine,
            device=request.device,
            precision=precision,
            streams=1,
        )

    if request.precision is not None:
        return opened(request.precision)
    try:
        return opened(own)
    except BackboneError:
        if own == "f32":
            raise
        return opened("f32")


def _listed(bundle: Bundle, settings: Settings, request: PredictRequest) -> Listed:
    purpose = {
        "model": bundle.manifest.model_id,
        "digest": hashlib.sha256(bundle.model).hexdigest(),
        "precision": settings.precision,
        "engine": settings.engine,
        "device": settings.device,
        "formats": settings.formats,
    }
    return list_sources(request.sources, purpose, size=request.task_size)


def _place(path: str, places: dict[str, int]) -> int:
    """Of an image, or of the archive it is a member of."""
    return places[path] if path in places else places[path.partition("!/")[0]]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for batch in read_batches(path):
        yield from batch.to_pylist()


def _prediction(row: dict[str, Any]) -> Prediction:
    return Prediction(**row)
