"""Backbone + head → one ONNX graph that gives `score` and `features`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from keshikaran.backbones import Backbone, Engine, read_graph
from keshikaran.bundle import Manifest, SelfTest, pack, parse_bundle, run_self_test, write_bundle
from keshikaran.errors import BackboneError, BundleError
from keshikaran.head import Head
from keshikaran.inference import Pipeline, infer_image
from keshikaran.pixels import Decoder

PARITY_TOLERANCE = 1e-3

_PREFIX = "keshikaran_head_"


def build_scoring_graph(backbone: Backbone, head: Head) -> onnx.ModelProto:
    """Append the head to the backbone.

    The head is a product and a sum rather than a matrix product: engines that run heavy
    operators in bfloat16 leave these in float32, so that no score is rounded to 8 bits.

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
    weights = head.weights.astype(np.float32).reshape(1, -1)
    bias = np.array([head.bias], dtype=np.float32)
    axis = np.array([1], dtype=np.int64)
    shape = np.array([-1], dtype=np.int64)
    for name, value in (("weights", weights), ("bias", bias), ("axis", axis), ("shape", shape)):
        graph.initializer.append(numpy_helper.from_array(value, _PREFIX + name))
    graph.node.extend(_head_nodes(_opset(model)))
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", backbone.dim]),
        ]
    )
    _free_batch(graph)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        msg = f"The head cannot be joined to {backbone.name}: {str(error).splitlines()[0][:200]}"
        raise BackboneError(msg, "Check the file with onnx.checker.") from error
    return model


def export_bundle(
    path: Path,
    graph: onnx.ModelProto,
    describe: Callable[[SelfTest], Manifest],
    open_loaded: Callable[[bytes], Engine],
    proof: Sequence[tuple[bytes, float]],
    decoder: Decoder,
) -> Manifest:
    """Write a bundle, unless it answers otherwise than the pipeline did.

    Args:
        path: where to.
        graph: from `build_scoring_graph`.
        describe: makes the manifest, given the self-test's answer.
        open_loaded: loads a network's bytes into an engine.
        proof: image files that were not trained on, each with the score the pipeline gave it.
        decoder: turns those files into views.

    Returns:
        The manifest that was written.

    Raises:
        BundleError: a score differs by more than 1e-3; nothing is written.
        StoreError: the disk is full or cannot be written.
    """
    model: bytes = graph.SerializeToString(deterministic=True)
    engine = open_loaded(model)
    _, signature = read_graph(model, path.name)
    self_test = run_self_test(engine, signature.height, signature.width)
    manifest = describe(self_test)
    pipeline = Pipeline(decoder, engine, manifest.pixels)
    for data, expected in proof:
        found = infer_image(data, pipeline).score()
        if not abs(found - expected) <= PARITY_TOLERANCE:
            msg = f"The exported model scores an image {found:.5f}; training says {expected:.5f}."
            raise BundleError(msg, "Nothing was written. Try another --engine, and report this.")
    data = pack(graph, manifest)
    parse_bundle(data, path.name)
    write_bundle(path, data)
    return manifest


def _head_nodes(opset: int) -> list[onnx.NodeProto]:
    p = _PREFIX
    if opset >= 13:
        total = helper.make_node("ReduceSum", [p + "products", p + "axis"], [p + "sum"], keepdims=0)
    else:
        total = helper.make_node("ReduceSum", [p + "products"], [p + "sum"], axes=[1], keepdims=0)
    return [
        helper.make_node("Mul", ["features", p + "weights"], [p + "products"]),
        total,
        helper.make_node("Add", [p + "sum", p + "bias"], [p + "logit"]),
        helper.make_node("Sigmoid", [p + "logit"], [p + "probability"]),
        helper.make_node("Reshape", [p + "probability", p + "shape"], ["score"]),
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
