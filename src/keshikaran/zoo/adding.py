"""The order in which a network becomes a backbone: make → check → measure → register."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keshikaran.backbones import (
    DEFAULT_BACKBONE,
    Backbone,
    Engine,
    make_backbone,
    open_engine,
    read_backbone_file,
)
from keshikaran.backbones.cost import Contender, ms_per_image
from keshikaran.backbones.registered import BackboneRecord, is_name, register
from keshikaran.errors import BackboneError, UsageError
from keshikaran.zoo.candidate import Candidate
from keshikaran.zoo.packages import from_package
from keshikaran.zoo.timm_export import Pictures, from_timm, need_torch


@dataclass(frozen=True, slots=True)
class AddRequest:
    """What is asked for.

    Attributes:
        source: `timm:NAME`, `package:NAME` or the path of an ONNX file.
        name: what to call it; empty: after its source.
        licence: of the weights; empty: what its source says.
        random_weights: for `timm:` random weights; for trials.
    """

    source: str
    name: str = ""
    licence: str = ""
    random_weights: bool = False


@dataclass(frozen=True, slots=True)
class Added:
    """What came of it.

    Attributes:
        record: what is registered.
        difference: from torch, as a share of the largest feature; None where there was no torch.
        checked_on: number of pictures that the difference was taken on.
    """

    record: BackboneRecord
    difference: float | None
    checked_on: int


def add_backbone(request: AddRequest, pictures: Pictures) -> Added:
    """Make, check, measure and register a network.

    Args:
        request: which one.
        pictures: what it is tried on.

    Raises:
        UsageError: the source is none of the three kinds, or an option has no effect.
        MissingExtraError: timm is not installed.
        BackboneError: the network cannot be had, is unfit, or its name is taken.
        StoreError: the registry's folder cannot be written.
    """
    check_request(request)
    candidate = _candidate(request, pictures)
    name = request.name or candidate.name
    if name == DEFAULT_BACKBONE:
        msg = f"{name} is in the package already."
        raise BackboneError(msg, "Use it as it is, or give another one a --name of its own.")
    licence = request.licence or candidate.licence
    backbone = make_backbone(name, candidate.model, licence, candidate.source)
    engine = open_engine(backbone.model, streams=1)
    _try(backbone, engine, pictures)
    contender = Contender(engine, backbone.height, backbone.width)
    record = BackboneRecord(
        name=name,
        digest=backbone.digest,
        bytes=len(backbone.model),
        height=backbone.height,
        width=backbone.width,
        dim=backbone.dim,
        licence=licence,
        source=candidate.source,
        source_sha256=candidate.source_sha256,
        ms_per_image=round(ms_per_image([contender])[0], 3),
        processor=platform.processor() or platform.machine(),
        random_weights=candidate.random_weights,
    )
    return Added(register(record, backbone.model), candidate.difference, candidate.checked_on)


def check_request(request: AddRequest) -> None:
    """Refuse early what cannot come to anything.

    Raises:
        UsageError: the name is unfit, or an option has no effect.
        MissingExtraError: the source needs packages that are not installed.
    """
    if request.random_weights and not request.source.startswith("timm:"):
        msg = "--random changes nothing without timm:NAME."
        raise UsageError(msg, "Leave it out.")
    if request.name and not is_name(request.name):
        msg = f"A backbone cannot be called {request.name}."
        raise UsageError(msg, "Use small letters, digits, '.', '_' and '-': --name my-network")
    if request.source.startswith("timm:"):
        need_torch("A network of timm")


def _candidate(request: AddRequest, pictures: Pictures) -> Candidate:
    kind, _, name = request.source.partition(":")
    if kind == "timm":
        return from_timm(name, pictures, random_weights=request.random_weights)
    if kind == "package":
        return from_package(name)
    path = Path(request.source)
    if path.suffix.lower() != ".onnx":
        msg = f"{request.source} is no backbone."
        raise UsageError(msg, "Use timm:NAME, package:efficientnet-lite2, or a file.onnx")
    data = read_backbone_file(path)
    return Candidate(path.stem.lower(), data, "unknown", str(path.resolve()))


def _try(backbone: Backbone, engine: Engine, pictures: Pictures) -> None:
    """Refuse a network that gives no numbers, or the same ones for all pictures."""
    images = pictures(backbone.height, backbone.width)
    rows = np.concatenate([engine.infer(image[None])[backbone.output] for image in images])
    if not np.isfinite(rows).all():
        msg = f"{backbone.name} gives features that are not numbers."
        raise BackboneError(msg, "Check how the network was exported.")
    if len(rows) > 1 and (rows == rows[0]).all():
        msg = f"{backbone.name} gives the same features for different pictures."
        raise BackboneError(msg, "Check how the network was exported.")
