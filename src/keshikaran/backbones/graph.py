"""Is this ONNX file something we are willing to run, and what goes in and out of it?

Every network, our own bundles included, passes `read_graph` before an engine sees it. Engines
are only ever given bytes, never a path, so that nothing beside the file is opened.

The checks go from cheap to dear, each protecting the next: size, `wire` (before parsing),
parsing, inputs and outputs, `structure` with `operators` and `tensors`, `sizes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto

from keshikaran.backbones.refusal import NetworkRefusedError
from keshikaran.backbones.sizes import check_sizes
from keshikaran.backbones.structure import check_structure
from keshikaran.backbones.wire import check_wire
from keshikaran.errors import BackboneError

MAX_MODEL_BYTES = 1_500_000_000
MAX_SIDE = 4096


@dataclass(frozen=True, slots=True)
class GraphSignature:
    """What a network takes and gives.

    Attributes:
        inputs: name → rows and columns of each input, uint8 [N, rows, columns, 3].
        outputs: float32 output names, each with its shape after N (`()` for a plain [N]).
    """

    inputs: dict[str, tuple[int, int]]
    outputs: dict[str, tuple[int, ...]]

    @property
    def input_name(self) -> str:
        """The first input."""
        return next(iter(self.inputs))

    @property
    def height(self) -> int:
        """Rows that the first input wants."""
        return self.inputs[self.input_name][0]

    @property
    def width(self) -> int:
        """Columns that the first input wants."""
        return self.inputs[self.input_name][1]


def read_graph(data: bytes, origin: str, most_inputs: int = 1) -> tuple[ModelProto, GraphSignature]:
    """Parse an ONNX file and refuse what is unsafe or does not fit.

    Args:
        data: the whole file.
        origin: its name, for messages.
        most_inputs: how many inputs it may have: a backbone has one, a model file can have more.

    Returns:
        The parsed model and its signature.

    Raises:
        BackboneError: not ONNX, or against one of the rules in docs/model-file.md.
    """
    if len(data) > MAX_MODEL_BYTES:
        msg = f"{origin} has {len(data):,} bytes; the limit is {MAX_MODEL_BYTES:,}."
        raise BackboneError(msg, "Use a smaller network.")
    try:
        check_wire(data)
        model = _parse(data)
        signature = _signature(model.graph, most_inputs)
        check_structure(model)
        check_sizes(model, set(signature.inputs), len(data))
    except NetworkRefusedError as refused:
        msg = f"{origin} {refused.words}"
        raise BackboneError(msg, refused.hint) from refused
    return model, signature


def _parse(data: bytes) -> ModelProto:
    hint = "Check that the path is right and the copy complete."
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise NetworkRefusedError("is not an ONNX file.", hint) from error
    if not model.graph.node:
        raise NetworkRefusedError("is not an ONNX file, or its graph is empty.", hint)
    return model


def _signature(graph: GraphProto, most_inputs: int) -> GraphSignature:
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    hint = "A backbone takes uint8 [N, H, W, 3] (RGB, fixed H and W) and gives float32 [N, D]."
    if not 1 <= len(inputs) <= most_inputs:
        wanted = "one" if most_inputs == 1 else f"1 to {most_inputs}"
        words = f"has {len(inputs)} inputs, not {wanted}."
        raise NetworkRefusedError(words, hint)
    for value in inputs:
        shape, kind = _shape(value), value.type.tensor_type.elem_type
        if kind != TensorProto.UINT8 or not _is_image(shape):
            words = f"takes {_kind_name(kind)} {_words(shape)} as its input."
            raise NetworkRefusedError(words, hint)
    sides = {value.name: (_shape(value)[1], _shape(value)[2]) for value in inputs}
    outputs = {
        value.name: tuple(_shape(value)[1:])
        for value in graph.output
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    return GraphSignature(sides, outputs)


def _is_image(shape: list[int]) -> bool:
    return len(shape) == 4 and shape[3] == 3 and all(1 <= side <= MAX_SIDE for side in shape[1:3])


def _kind_name(kind: int) -> str:
    known = TensorProto.DataType.values()
    return TensorProto.DataType.Name(kind).lower() if kind in known else f"kind {kind}"


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    """Dimensions; 0 for one that is not fixed."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _words(shape: list[int]) -> str:
    return "[" + ", ".join(str(size) if size else "?" for size in shape) + "]"
