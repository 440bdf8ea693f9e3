"""Backbone and head as one ONNX graph: joining them, and reading the head back.

The head is a product and a sum rather than a matrix product: engines that run heavy operators in
bfloat16 leave these in float32, so that no score is rounded to 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from keshikaran.backbones import Backbone, read_graph
from keshikaran.errors import BackboneError, BundleError
from keshikaran.head import Bend, Head
from keshikaran.joined_graph import join_networks
from keshikaran.parts import Part
from keshikaran.types import Float64Array

_PREFIX = "keshikaran_head_"
_BEND = ("below", "above", "shift")


def build_scoring_graph(backbone: Backbone, head: Head) -> onnx.ModelProto:
    """Append the head to the backbone.

    Args:
        backbone: a network that passed its checks.
        head: folded weights, float64 [D], and bias.

    Returns:
        A model with the input `images` uint8 [N, H, W, 3] and the outputs `score` float32 [N]
        and `features` float32 [N, D].

    Raises:
        BackboneError: the backbone is no valid ONNX graph, though an engine runs it.
    """
    model, signature = read_graph(backbone.model, backbone.name)
    graph = model.graph
    _rename(graph, signature.input_name, "images")
    features = backbone.output
    if features != "features":
        _rename(graph, features, "features")
    _rename(graph, "score", "backbone_score")
    _free_batch(graph)
    return _with_head(model, backbone.dim, head, backbone.name)


def build_joined_graph(parts: Sequence[Part], head: Head) -> onnx.ModelProto:
    """Put the networks of some parts side by side and append the head.

    Args:
        parts: at least one; what one gives is the same as `build_scoring_graph`.
        head: folded weights of all their features, float64 [D], and bias.

    Returns:
        As `build_scoring_graph`, with an input for each shape: `images`, `images_2` …

    Raises:
        BackboneError: the networks cannot be joined to each other or to the head.
    """
    if len(parts) == 1:
        return build_scoring_graph(parts[0].backbone, head)
    dim = sum(part.backbone.dim for part in parts)
    names = ", ".join(dict.fromkeys(part.backbone.name for part in parts))
    return _with_head(join_networks(parts), dim, head, names)


def _with_head(model: onnx.ModelProto, dim: int, head: Head, origin: str) -> onnx.ModelProto:
    """Append the head behind the value `features`, and declare what comes out."""
    graph = model.graph
    for name, value in _head_values(head).items():
        graph.initializer.append(numpy_helper.from_array(value, _PREFIX + name))
    graph.node.extend(_head_nodes(_opset(model), bent=head.bend is not None))
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", dim]),
        ]
    )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        msg = f"The head cannot be joined to {origin}: {str(error).splitlines()[0][:200]}"
        raise BackboneError(msg, "Check the file with onnx.checker.") from error
    return model


def read_head(model: bytes, origin: str, inputs: int = 1) -> Head:
    """The head of a scoring graph, in the single precision that it is kept in.

    Args:
        model: the bytes of a graph that `build_scoring_graph` made.
        origin: the file's name, for messages.
        inputs: how many it has.

    Raises:
        BackboneError: no ONNX graph that may be run.
        BundleError: it has no head of ours.
    """
    graph, _ = read_graph(model, origin, inputs)
    found: dict[str, Float64Array] = {
        tensor.name.removeprefix(_PREFIX): numpy_helper.to_array(tensor).astype(np.float64)
        for tensor in graph.graph.initializer
        if tensor.name.startswith(_PREFIX)
    }
    try:
        bend = Bend(*(float(found[name][0]) for name in _BEND)) if "shift" in found else None
        return Head(found["weights"].ravel(), float(found["bias"][0]), bend)
    except (KeyError, IndexError) as error:
        msg = f"{origin} has no head that keshikaran joined to it."
        raise BundleError(msg, "Use a file that `keshikaran train` wrote.") from error


def _head_values(head: Head) -> dict[str, np.ndarray]:
    """Name → value, without the prefix."""
    values: dict[str, np.ndarray] = {
        "weights": head.weights.astype(np.float32).reshape(1, -1),
        "bias": np.array([head.bias], dtype=np.float32),
        "axis": np.array([1], dtype=np.int64),
        "shape": np.array([-1], dtype=np.int64),
    }
    if head.bend is not None:
        for name in _BEND:
            values[name] = np.array([getattr(head.bend, name)], dtype=np.float32)
    return values


def _head_nodes(opset: int, *, bent: bool) -> list[onnx.NodeProto]:
    p = _PREFIX
    if opset >= 13:
        total = helper.make_node("ReduceSum", [p + "products", p + "axis"], [p + "sum"], keepdims=0)
    else:
        total = helper.make_node("ReduceSum", [p + "products"], [p + "sum"], axes=[1], keepdims=0)
    return [
        helper.make_node("Mul", ["features", p + "weights"], [p + "products"]),
        total,
        helper.make_node("Add", [p + "sum", p + "bias"], [p + "logit"]),
        *(_bend_nodes() if bent else ()),
        helper.make_node("Sigmoid", [p + ("bent" if bent else "logit")], [p + "probability"]),
        helper.make_node("Reshape", [p + "probability", p + "shape"], ["score"]),
    ]


def _bend_nodes() -> list[onnx.NodeProto]:
    p = _PREFIX
    return [
        helper.make_node("Softplus", [p + "logit"], [p + "right"]),
        helper.make_node("Neg", [p + "logit"], [p + "mirrored"]),
        helper.make_node("Softplus", [p + "mirrored"], [p + "left"]),
        helper.make_node("Mul", [p + "right", p + "above"], [p + "rising"]),
        helper.make_node("Mul", [p + "left", p + "below"], [p + "falling"]),
        helper.make_node("Sub", [p + "rising", p + "falling"], [p + "both"]),
        helper.make_node("Add", [p + "both", p + "shift"], [p + "bent"]),
    ]


def _opset(model: onnx.ModelProto) -> int:
    return max((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), default=1)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give a value another name wherever it is used; a value that has it already steps aside."""
    if old == new:
        return
    for node in graph.node:
        node.input[:] = [new if name == old else _aside(name, new) for name in node.input]
        node.output[:] = [new if name == old else _aside(name, new) for name in node.output]
    for value in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]:
        value.name = new if value.name == old else _aside(value.name, new)


def _aside(name: str, taken: str) -> str:
    return f"backbone_{name}" if name == taken else name


def _free_batch(graph: onnx.GraphProto) -> None:
    """Any number of images at once, also where a user's network was exported for one."""
    for value in graph.input:
        if value.name == "images":
            dim = value.type.tensor_type.shape.dim[0]
            dim.Clear()
            dim.dim_param = "N"
