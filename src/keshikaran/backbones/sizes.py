"""How large do a network's values become? Known, and bounded, before anything runs.

A hundred bytes of graph can ask for 40 GB. onnx's own shape inference says what every value's
size is for one image; it is asked of a copy without the large weights, so it costs little.
"""

from __future__ import annotations

import math
from collections.abc import Set

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from keshikaran.backbones.refusal import DAMAGED, SIMPLIFY, NetworkRefusedError
from keshikaran.backbones.tensors import BYTES_PER_ELEMENT

MAX_VALUE_BYTES = 2**29
MAX_ALL_VALUES_BYTES = 2**32
# Engines compute what depends on constants alone while they load, and keep it.
MAX_CONSTANT_BYTES = 2**26
_MAX_CONSTANT_GROWTH = 8

_SMALL = 1024
"""Weights of up to so many elements may be shapes, and stay in the copy that is judged."""


def check_sizes(model: ModelProto, input_names: Set[str], file_bytes: int) -> None:
    """Refuse a network whose values are of unknown or absurd size.

    Args:
        model: passed `check_structure`.
        input_names: its inputs, uint8 [N, H, W, 3].
        file_bytes: size of the file.

    Raises:
        NetworkRefusedError: an operator is used against its definition, a size cannot be told
            beforehand or is too large, or an output is not what is declared.
    """
    light = _without_large_weights(model, input_names)
    declared = {value.name: _shape(value) for value in light.graph.output}
    try:
        onnx.checker.check_model(light)
        for value in light.graph.output:
            value.type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(light, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        words = f"uses an operator against its definition: {_first_words(error)}"
        raise NetworkRefusedError(words, "Check the file with onnx.checker.") from error
    sizes = _sizes(inferred.graph)
    _check_totals(light.graph, sizes, input_names, file_bytes)
    for value in inferred.graph.output:
        _check_output(value.name, declared[value.name], _shape(value))


def largest_value_bytes(model: ModelProto, input_names: Set[str]) -> int:
    """Bytes of the largest value that a network makes of one image.

    Args:
        model: passed `check_sizes`.
        input_names: its inputs.
    """
    light = _without_large_weights(model, input_names)
    inferred = onnx.shape_inference.infer_shapes(light, strict_mode=True, data_prop=True)
    return max(_sizes(inferred.graph).values(), default=0)


def _check_output(name: str, declared: list[int], computed: list[int]) -> None:
    """A declared size of 0 is a free one; the first is the number of images."""
    same = len(declared) == len(computed) and all(
        one in (0, other) for one, other in zip(declared[1:], computed[1:], strict=True)
    )
    if not same or computed[:1] != [1]:
        words = f"declares the output {name} as {declared}, but gives {computed} for one image."
        raise NetworkRefusedError(words, DAMAGED)


def _without_large_weights(model: ModelProto, input_names: Set[str]) -> ModelProto:
    """The same graph for one image, with large weights as inputs and no claims about sizes."""
    graph = model.graph
    large = [tensor for tensor in graph.initializer if math.prod(tensor.dims) > _SMALL]
    constants = [node for node in graph.node if _is_large_constant(node)]
    stand_ins = [_stand_in(tensor.name, tensor) for tensor in large]
    stand_ins += [_stand_in(node.output[0], node.attribute[0].t) for node in constants]
    gone = {value.name for value in stand_ins}
    inputs = [value for value in graph.input if value.name not in gone]
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = "light"
    light.graph.node.extend(node for node in graph.node if not _is_large_constant(node))
    light.graph.initializer.extend(
        tensor for tensor in graph.initializer if tensor.name not in gone
    )
    light.graph.input.extend([*inputs, *stand_ins])
    light.graph.output.extend(graph.output)
    for value in light.graph.input:
        if value.name in input_names:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    return light


def _is_large_constant(node: NodeProto) -> bool:
    """Any other Constant stays in the copy, to be judged as it is."""
    if node.op_type != "Constant" or node.input or len(node.output) != 1:
        return False
    names = [attribute.name for attribute in node.attribute]
    return names == ["value"] and math.prod(node.attribute[0].t.dims) > _SMALL


def _stand_in(name: str, tensor: TensorProto) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))


def _sizes(graph: GraphProto) -> dict[str, int]:
    """Bytes of every value that was inferred."""
    sizes = {}
    for value in [*graph.value_info, *graph.output]:
        tensor = value.type.tensor_type
        each = BYTES_PER_ELEMENT.get(tensor.elem_type)
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
        if each is None or not tensor.HasField("shape") or min(dims, default=0) < 0:
            continue
        sizes[value.name] = each * math.prod(dims)
    return sizes


def _check_totals(
    graph: GraphProto, sizes: dict[str, int], input_names: Set[str], file_bytes: int
) -> None:
    constant = {value.name for value in [*graph.initializer, *graph.input]} - input_names
    folded = total = 0
    for node in graph.node:
        made = [_size(name, node, sizes) for name in node.output if name]
        total += sum(made)
        if max(made, default=0) > MAX_VALUE_BYTES or total > MAX_ALL_VALUES_BYTES:
            words = f"asks for too much memory ({node.op_type} makes {sum(made):,} bytes)."
            raise NetworkRefusedError(words, SIMPLIFY)
        if constant.issuperset(filter(None, node.input)):
            constant.update(node.output)
            folded += sum(made)
    if folded > MAX_CONSTANT_BYTES + _MAX_CONSTANT_GROWTH * file_bytes:
        words = f"computes {folded:,} bytes from constants alone."
        raise NetworkRefusedError(words, SIMPLIFY)


def _size(name: str, node: NodeProto, sizes: dict[str, int]) -> int:
    if name not in sizes and node.op_type == "Dropout":
        name = node.output[0]  # inference is silent about the mask, which has the same shape
    if name not in sizes:
        words = f"computes a value whose size cannot be told beforehand ({name})."
        raise NetworkRefusedError(words, SIMPLIFY)
    return sizes[name]


def _shape(value: ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _first_words(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
