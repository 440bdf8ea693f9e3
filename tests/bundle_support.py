"""Networks with one thing changed, and bundles whose answer is computed by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx

from keshikaran.backbones import Backbone, Engine, open_engine
from keshikaran.bundle import (
    DIGEST_KEY,
    Bundle,
    Manifest,
    SelfTest,
    pack,
    parse_bundle,
    run_self_test,
    seal,
)
from keshikaran.head import Head
from keshikaran.pixels import PIXEL_CONTRACT_VERSION
from keshikaran.scoring_graph import build_scoring_graph
from keshikaran.types import Float64Array, Thresholds, UInt8Array
from support import FAKE_DIM, FAKE_SIDE, fake_backbone

HEAD = Head(np.linspace(-4.0, 5.0, FAKE_DIM), -0.5)


def changed(change: Callable[[onnx.ModelProto], object], model: bytes | None = None) -> bytes:
    """A network (by default the fake backbone) after one change."""
    proto = onnx.load_model_from_string(fake_backbone() if model is None else model)
    change(proto)
    data: bytes = proto.SerializeToString()
    return data


def rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Give a value another name wherever it is used."""
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in [*model.graph.input, *model.graph.output]:
        value.name = new if value.name == old else value.name


def quadrant_means(images: UInt8Array) -> Float64Array:
    """What the fake backbone answers to uint8 [N, 32, 32, 3]: float64 [N, 12]."""
    half = FAKE_SIDE // 2
    blocks = images.reshape(len(images), 2, half, 2, half, 3).astype(np.float64) / 255
    means: Float64Array = blocks.mean(axis=(2, 4)).transpose(0, 3, 1, 2)
    return means.reshape(len(images), FAKE_DIM)


def noise(count: int, side: int = FAKE_SIDE, seed: int = 0) -> UInt8Array:
    """Random pixels, uint8 [count, side, side, 3]."""
    shape = (count, side, side, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def fake(model: bytes | None = None) -> Backbone:
    """The fake backbone, or a changed one, as if it had been loaded from a file."""
    data = fake_backbone() if model is None else model
    return Backbone(
        name="fake",
        digest=hashlib.sha256(data).hexdigest(),
        model=data,
        height=FAKE_SIDE,
        width=FAKE_SIDE,
        dim=FAKE_DIM,
        output=onnx.load_model_from_string(data).graph.output[0].name,
        licence="unknown",
    )


SHAPE = {"height": FAKE_SIDE, "width": FAKE_SIDE, "resize_mode": "stretch"}

_BACKBONE = {"name": "fake", "digest": "00", "licence": "unknown"}

UNCALIBRATED: dict[str, Any] = {
    "kind": "none",
    "below": 1.0,
    "above": 1.0,
    "shift": 0.0,
    "label_prevalence": 0.5,
    "log_loss": {},
}


@cache
def scoring_model() -> onnx.ModelProto:
    """The fake backbone with `HEAD` behind it. Do not change it."""
    return build_scoring_graph(fake(), HEAD)


def opened(model: onnx.ModelProto | bytes) -> Engine:
    """Loaded into an engine with one stream."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return open_engine(data, streams=1)


@cache
def right_answer() -> SelfTest:
    """What `scoring_model` answers to the self-test."""
    return run_self_test(opened(scoring_model()), FAKE_SIDE, FAKE_SIDE)


def manifest(self_test: SelfTest | None = None, **fields: Any) -> Manifest:
    """A manifest that fits `scoring_model`, with some fields changed.

    `height`, `width`, `resize_mode` and `backbone` are those of the one input and network.
    """
    values: dict[str, Any] = {
        "model_id": "20260101T000000Z-0123abcd",
        "created": "2026-01-01T00:00:00+00:00",
        "keshikaran_version": "0.1.0",
        "classes": {"0": "acceptable", "1": "objectionable"},
        "thresholds": Thresholds(0.25, 0.75),
        "thresholds_chosen_for": "a test",
        "policy": {"objectionable": "objectionable"},
        "promises": [],
        "prevalence": 0.5,
        "calibration": UNCALIBRATED,
        "reference": {},
        "pixel_contract": PIXEL_CONTRACT_VERSION,
        "backbones": [_BACKBONE],
        "parts": [{"backbone": 0, "input": 0, "features": FAKE_DIM}],
        "precision": "f32",
        "recipe": {"name": "exact", "c": 1.0},
        "training_set": {"digest": "00"},
        "split": {"train": {"0": 1, "1": 1}},
        "metrics": {"test": {"roc_auc": 0.9}},
        "self_test": self_test or right_answer(),
        "licence": "unknown",
    }
    shape = {name: fields.pop(name) for name in SHAPE if name in fields}
    fields.setdefault("inputs", [{**SHAPE, **shape}])
    if "backbone" in fields:
        values["backbones"] = [{**_BACKBONE, **fields.pop("backbone")}]
    return Manifest(**{**values, **fields})


def packed(**fields: Any) -> bytes:
    """The bytes of a bundle around `scoring_model`, with some fields of its manifest changed."""
    return pack(scoring_model(), manifest(**fields))


def bundle(**fields: Any) -> Bundle:
    """The same, checked."""
    return parse_bundle(packed(**fields), "model.onnx")


def resealed(change: Callable[[onnx.ModelProto], object], data: bytes | None = None) -> bytes:
    """A bundle after one change by somebody who knows how to make the digest fit again."""

    def unsealed(model: onnx.ModelProto) -> None:
        for entry in [*model.metadata_props]:
            if entry.key == DIGEST_KEY:
                model.metadata_props.remove(entry)
        change(model)

    return seal(changed(unsealed, packed() if data is None else data))
