"""The operators a network may use, and what their attributes may say."""

from __future__ import annotations

import math
from collections.abc import Iterable

from onnx import AttributeProto, NodeProto, TensorProto

from keshikaran.backbones.refusal import DAMAGED, SIMPLIFY, STANDARD, NetworkRefusedError

# What frozen vision networks are exported as: convolutional (EfficientNet, ResNet, MobileNet,
# ConvNeXt, DenseNet …), transformers (ViT, Swin, CLIP and DINO image towers), and their integer
# quantisations. Each computes numbers from numbers, has a shape known before it runs, and touches
# nothing outside the graph. Left out on purpose: control flow, sequences, strings, optional values,
# random numbers, image decoders, and operators whose output size depends on the pixels (NonZero,
# Unique, Compress, NonMaxSuppression).
_ACCEPTED = """
arithmetic   Abs Add And Cast Ceil Clip Cos Div Equal Erf Exp Floor Greater GreaterOrEqual Identity
             Less LessOrEqual Log Max Mean Min Mod Mul Neg Not Or Pow Reciprocal Round Sign Sin Sqrt
             Sub Sum Where
activation   Celu Elu Gelu HardSigmoid HardSwish LeakyRelu LogSoftmax Mish PRelu Relu Selu Sigmoid
             Softmax Softplus Softsign Swish Tanh ThresholdedRelu
layer        AveragePool BatchNormalization Conv Dropout GlobalAveragePool GlobalMaxPool
             GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization LpPool
             MaxPool RMSNormalization
matrix       ArgMax Einsum Gemm MatMul ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd
             ReduceSum ReduceSumSquare
shape        Concat Constant ConstantOfShape DepthToSpace Expand Flatten Gather GatherElements
             GatherND Pad Range Reshape Resize Shape Size Slice SpaceToDepth Split Squeeze Tile
             Transpose Unsqueeze Upsample
whole number ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv
             QLinearMatMul QuantizeLinear
"""
ALLOWED_OPERATORS = frozenset(word for word in _ACCEPTED.split() if word[0].isupper())

MAX_INTEGER = 2**31
"""Sizes and places are smaller, so that products of two of them still fit 64 bits."""

_DOMAINS = {"", "ai.onnx"}
_CONTROL_FLOW = {"If", "Loop", "Scan"}
_GRAPHS = {"g", "graphs"}
_FIELD_OF_TYPE = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
}
_DESCRIPTION = {"name", "type", "doc_string"}
# Engines divide by these.
_POSITIVE = {
    "blocksize",
    "dilations",
    "group",
    "kernel_shape",
    "num_groups",
    "num_outputs",
    "p",
    "size",
    "strides",
}


def check_node(node: NodeProto) -> None:
    """Refuse an operator that is not on the list, or one with odd attributes.

    Raises:
        NetworkRefusedError: says which.
    """
    if node.domain not in _DOMAINS:
        words = f"uses the operator {node.domain}::{node.op_type} from outside ONNX."
        raise NetworkRefusedError(words, STANDARD)
    fields = [{field.name for field, _ in item.ListFields()} for item in node.attribute]
    if node.op_type in _CONTROL_FLOW or any(names & _GRAPHS for names in fields):
        words = f"contains control flow ({node.op_type}), which is not accepted."
        raise NetworkRefusedError(words, "Export the network by tracing, as one plain graph.")
    if node.op_type not in ALLOWED_OPERATORS or node.overload:
        words = f"uses the operator {node.op_type}, which is not on the list of accepted ones."
        raise NetworkRefusedError(words, STANDARD)
    names = [attribute.name for attribute in node.attribute]
    if len(set(names)) != len(names):
        words = f"gives an attribute of {node.op_type} twice."
        raise NetworkRefusedError(words, DAMAGED)
    for attribute, present in zip(node.attribute, fields, strict=True):
        _check_attribute(node.op_type, attribute, present)


def _check_attribute(operator: str, attribute: AttributeProto, present: set[str]) -> None:
    fitting = _FIELD_OF_TYPE.get(attribute.type)
    if fitting is None or not present <= {fitting} | _DESCRIPTION:
        words = f"gives {operator} the attribute {attribute.name} in a form that is not accepted."
        raise NetworkRefusedError(words, STANDARD)
    numbers = {"f": [attribute.f], "floats": attribute.floats}.get(fitting, [])
    if not all(map(math.isfinite, numbers)):
        words = f"gives {operator} the attribute {attribute.name} that is not a finite number."
        raise NetworkRefusedError(words, DAMAGED)
    integers = {"i": [attribute.i], "ints": attribute.ints}.get(fitting, [])
    least = 1 if attribute.name in _POSITIVE else -MAX_INTEGER
    if operator != "Slice" and not within(integers, least):
        words = f"gives {operator} the attribute {attribute.name} out of its range."
        raise NetworkRefusedError(words, SIMPLIFY)


def within(integers: Iterable[int], least: int = -MAX_INTEGER) -> bool:
    """Whether all of them are from `least` to `MAX_INTEGER`."""
    return all(least <= value <= MAX_INTEGER for value in integers)


def tensors_of(node: NodeProto) -> list[TensorProto]:
    """All tensors in a node's attributes, wherever they hide."""
    found = []
    for attribute in node.attribute:
        found += [attribute.t] if attribute.HasField("t") else []
        found += attribute.tensors
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for item in [*sparse, *attribute.sparse_tensors]:
            found += [item.values, item.indices]
    return found
