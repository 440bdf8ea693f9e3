"""A tiny network that can be taught, and jobs for it. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from keshikaran.finetune import FinetuneSettings, Job, write_array, write_job
from keshikaran.types import UInt8Array

SIDE = 16


def tiny_network(side: int = SIDE, features: int = 8, seed: int = 0) -> bytes:
    """Three convolutions, one of them residual: uint8 [N, side, side, 3] → [N, features]."""
    rng, channels = np.random.default_rng(seed), 4
    weights: dict[str, np.ndarray] = {
        "centre": np.array(127.5),
        "zero": np.array(0.0),
        "six": np.array(6.0),
        "one.weight": rng.normal(0, 0.004, (channels, 3, 3, 3)),
        "one.bias": rng.normal(0, 0.1, channels),
        "two.weight": rng.normal(0, 0.3, (channels, 1, 3, 3)),
        "two.bias": rng.normal(0, 0.1, channels),
        "three.weight": rng.normal(0, 0.3, (features, channels, 3, 3)),
        "three.bias": rng.normal(0, 0.1, features),
    }
    node = helper.make_node
    nodes = [
        node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2]),
        node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        node("Sub", ["floats", "centre"], ["centred"]),
        node("Conv", ["centred", "one.weight", "one.bias"], ["one"],
             kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Clip", ["one", "zero", "six"], ["one.clipped"]),
        node("Conv", ["one.clipped", "two.weight", "two.bias"], ["two"],
             kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=channels),
        node("Clip", ["two", "zero", "six"], ["two.clipped"]),
        node("Add", ["two.clipped", "one.clipped"], ["sum"]),
        node("Conv", ["sum", "three.weight", "three.bias"], ["three"],
             kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Clip", ["three", "zero", "six"], ["three.clipped"]),
        node("GlobalAveragePool", ["three.clipped"], ["pooled"]),
        node("Flatten", ["pooled"], ["features"], axis=1),
    ]  # fmt: skip
    shape: list[str | int | None] = ["N", side, side, 3]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", features])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def striped(count: int, side: int, seed: int) -> tuple[UInt8Array, np.ndarray]:
    """Noisy pictures of stripes, upright (1) or lying (0): uint8 [count, side, side, 3], labels."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.int8)
    images = rng.integers(0, 90, (count, side, side, 3))
    for image, label in zip(images, labels, strict=True):
        place, light = rng.integers(0, 2), rng.integers(60, 140)
        if label:
            image[:, place::2] += light
        else:
            image[place::2] += light
    return images.astype(np.uint8), labels


def make_job(folder: Path, network: bytes | None = None, count: int = 96, **settings: Any) -> Job:
    """A job that teaches the tiny network to tell stripes apart."""
    larger = round(SIDE * 8 / 7)
    sides = {"train": striped(count, larger, 1), "validation": striped(48, SIDE, 2)}
    for side, (images, _) in sides.items():
        write_array(folder / f"{side}.npy", images.shape, "uint8", [images[:20], images[20:]])
    usual: dict[str, Any] = {
        "epochs": 3, "batch_size": 16, "copies": 2, "learning_rate": 0.05,
    }  # fmt: skip
    job = Job(
        folder=folder,
        name="tiny",
        output="features",
        settings=FinetuneSettings(**(usual | settings)),
        weights=np.linspace(-0.5, 0.5, 8),
        bias=0.0,
        train_labels=sides["train"][1],
        validation_labels=sides["validation"][1],
    )
    write_job(job, network or tiny_network())
    return job
