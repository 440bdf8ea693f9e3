"""Weights files and networks for tests, made without torch."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from keshikaran.backbones import make_backbone
from keshikaran.backbones.efficientnet_lite import VARIANTS, Weights, expected_shapes
from keshikaran.backbones.registered import BackboneRecord, register

MAGIC = 0x1950A86A20F9469CFC6C


class _Storage:
    def __init__(self, key: str, kind: str, elements: int) -> None:
        self.key, self.kind, self.elements = key, kind, elements


class _Named:
    """Stands for a name of torch, which the pickle is to ask for."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


_Python: Any = pickle._Pickler  # the one that can be extended


class _Pickler(_Python):  # type: ignore[misc]
    """Writes the steps that torch writes, with no torch about."""

    def persistent_id(self, item: Any) -> Any:
        if isinstance(item, _Storage):
            return ("storage", _Named("torch", item.kind), item.key, "cpu", item.elements, None)
        return None

    def save(self, item: Any, save_persistent_id: bool = True) -> None:
        if isinstance(item, _Named):
            self.write(b"c" + item.module.encode() + b"\n" + item.name.encode() + b"\n")
            return
        if isinstance(item, _Call):
            self.save(item.function)
            self.save(item.arguments)
            self.write(b"R")
            return
        super().save(item, save_persistent_id)


class _Call:
    def __init__(self, function: _Named, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments


def call(module: str, name: str, *arguments: Any) -> Any:
    """What asks the reader of a pickle to call something."""
    return _Call(_Named(module, name), *arguments)


def pickled(item: Any) -> bytes:
    """One pickle of protocol 2, as torch wrote them."""
    out = io.BytesIO()
    _Pickler(out, 2).dump(item)
    return out.getvalue()


def weights_file(
    tensors: Mapping[str, np.ndarray],
    *,
    magic: int = MAGIC,
    extra: Mapping[str, Any] | None = None,
    kinds: Mapping[str, str] | None = None,
    strides: Mapping[str, tuple[int, ...]] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> bytes:
    """A `.pth` file as torch before 1.6 wrote it.

    Args:
        tensors: name → values; float32, or int64 for counters.
        magic: the number at its beginning.
        extra: other things in the dictionary.
        kinds: kind of storage by name, where it is not the fitting one.
        strides: by name, where they are not the usual ones.
        shapes: by name, where the data are looked at in another way.
    """
    state: dict[str, Any] = OrderedDict()
    data: dict[str, np.ndarray] = {}
    for number, (name, values) in enumerate(tensors.items()):
        key = str(1000 + number)
        data[key] = values
        kind = "FloatStorage" if values.dtype == np.float32 else "LongStorage"
        steps = tuple(step // values.itemsize for step in values.strides)
        state[name] = call(
            "torch._utils",
            "_rebuild_tensor_v2",
            _Storage(key, (kinds or {}).get(name, kind), values.size),
            0,
            (shapes or {}).get(name, values.shape),
            (strides or {}).get(name, steps),
            False,
            OrderedDict(),
        )
    state.update(extra or {})
    parts = [pickled(item) for item in (magic, 1001, {"little_endian": True}, state, list(data))]
    for values in data.values():
        parts.append(struct.pack("<q", values.size) + values.tobytes())
    return b"".join(parts)


def made_up_weights(name: str, seed: int = 0) -> Weights:
    """Weights of the right shapes for a network of the family; features stay of modest size."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    for tensor, shape in expected_shapes(VARIANTS[name]).items():
        if len(shape) == 4:
            fan_in = float(np.prod(shape[1:]))
            values = rng.normal(0.0, np.sqrt(2.0 / fan_in), shape)
        elif tensor.endswith(("running_var", ".weight")):
            values = np.ones(shape)
        else:
            values = np.zeros(shape)
        weights[tensor] = values.astype(np.float32)
    return weights


def plane_means(operator: str, weight: float | list[float]) -> bytes:
    """A network of 8×8 pixels: the mean of red, green and blue, then one step with a constant."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["planes"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"], axis=1),
        helper.make_node(operator, ["flat", "weight"], ["features"]),
    ]
    shape: list[str | int | None] = ["N", 8, 8, 3]
    graph = helper.make_graph(
        nodes,
        "planes",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.array(weight, dtype=np.float32), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def register_fake(name: str, model: bytes) -> BackboneRecord:
    """Put a network into the registry, without the checks of `backbone add`."""
    from keshikaran.backbones.registered import BackboneRecord

    backbone = make_backbone(name, model, "CC0-1.0", name)
    record = BackboneRecord(
        name=name,
        digest=backbone.digest,
        bytes=len(model),
        height=backbone.height,
        width=backbone.width,
        dim=backbone.dim,
        licence="CC0-1.0",
        source="made in a test",
        source_sha256="",
        ms_per_image=1.5,
        processor="",
    )
    return register(record, model)
