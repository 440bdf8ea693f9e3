"""Is this ONNX file something we are willing to run, and what goes in and out of it?

Every network, our own bundles included, passes `read_graph` before an engine sees it. Engines
are only ever given bytes, never a path, so that nothing beside the file is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

from keshikaran.errors import BackboneError

MAX_MODEL_BYTES = 1_500_000_000
_DOMAINS = {"", "ai.onnx"}
_CONTROL_FLOW = {"If", "Loop", "Scan"}


@dataclass(frozen=True, slots=True)
class GraphSignature:
    """What a network takes and gives.

    Attributes:
        input_name: the one input, uint8 [N, height, width, 3].
        height: rows it wants.
        width: columns it wants.
        outputs: float32 output names, each with its shape after N (`()` for a plain [N]).
    """

    input_name: str
    height: int
    width: int
    outputs: dict[str, tuple[int, ...]]


def read_graph(data: bytes, origin: str) -> tuple[ModelProto, GraphSignature]:
    """Parse an ONNX file and refuse what is unsafe or does not fit.

    Args:
        data: the whole file.
        origin: its name, for messages.

    Returns:
        The parsed model and its signature.

    Raises:
        BackboneError: not ONNX, external data, functions, foreign operators, control flow, or
            inputs and outputs of another kind than ours.
    """
    if len(data) > MAX_MODEL_BYTES:
        msg = f"{origin} has {len(data):,} bytes; the limit is {MAX_MODEL_BYTES:,}."
        raise BackboneError(msg)
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        msg = f"{origin} is not an ONNX file."
        raise BackboneError(msg, "Check that the path is right and the copy complete.") from error
    if not model.graph.node:
        msg = f"{origin} is not an ONNX file, or its graph is empty."
        raise BackboneError(msg, "Check that the path is right and the copy complete.")
    _refuse_unsafe(model, origin)
    return model, _signature(model.graph, origin)


def _refuse_unsafe(model: ModelProto, origin: str) -> None:
    if model.functions:
        msg = f"{origin} defines functions of its own, which are not accepted."
        raise BackboneError(msg, "Export the network with functions inlined.")
    for node in model.graph.node:
        if node.domain not in _DOMAINS:
            msg = f"{origin} uses the operator {node.domain}::{node.op_type} from outside ONNX."
            raise BackboneError(msg, "Export the network with standard operators only.")
        if node.op_type in _CONTROL_FLOW or any(_subgraphs(node.attribute)):
            msg = f"{origin} contains control flow ({node.op_type}), which is not accepted."
            raise BackboneError(msg, "Export the network by tracing, as one plain graph.")
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            msg = f"{origin} keeps weights in other files ({tensor.name}), which is not accepted."
            raise BackboneError(msg, "Save the network as one file.")


def _subgraphs(attributes: Iterable[AttributeProto]) -> Iterator[GraphProto]:
    for attribute in attributes:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _signature(graph: GraphProto, origin: str) -> GraphSignature:
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    hint = "A backbone takes uint8 [N, H, W, 3] (RGB, fixed H and W) and gives float32 [N, D]."
    if len(inputs) != 1:
        msg = f"{origin} has {len(inputs)} inputs, not one."
        raise BackboneError(msg, hint)
    shape = _shape(inputs[0])
    kind = inputs[0].type.tensor_type.elem_type
    if kind != TensorProto.UINT8 or len(shape) != 4 or shape[3] != 3 or min(shape[1:3]) < 1:
        kind_name = TensorProto.DataType.Name(kind).lower()
        msg = f"{origin} takes {kind_name} {_words(shape)} as its input."
        raise BackboneError(msg, hint)
    outputs = {
        value.name: tuple(_shape(value)[1:])
        for value in graph.output
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    return GraphSignature(inputs[0].name, shape[1], shape[2], outputs)


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    """Dimensions; 0 for one that is not fixed."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _words(shape: list[int]) -> str:
    return "[" + ", ".join(str(size) if size else "?" for size in shape) + "]"
