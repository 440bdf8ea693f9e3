"""A network in f32 → the same one in f16, for cards: half the memory, tensor cores.

What comes after `features` stays in f32: a head is a sum of a thousand products.
"""

from __future__ import annotations

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

_CUT = "features"


def in_half_precision(model: bytes) -> bytes:
    """The converted network; input and outputs keep their types.

    Args:
        model: an ONNX file that passed `read_graph`.
    """
    whole = onnx.load_model_from_string(model)
    before, behind = _parts(whole.graph)
    used = {name for node in before for name in node.input}
    made = {name for node in behind for name in node.output}
    weights = whole.graph.initializer
    # The converter rounds what lies between operators that it is told to leave alone, so it never
    # sees them.
    front = onnx.ModelProto()
    front.CopyFrom(whole)
    for field in (front.graph.node, front.graph.initializer, front.graph.output):
        del field[:]
    front.graph.node.extend(before)
    front.graph.initializer.extend(tensor for tensor in weights if tensor.name in used)
    front.graph.output.extend(out for out in whole.graph.output if out.name not in made)
    converted = convert_float_to_float16(front, keep_io_types=True)
    converted.graph.node.extend(behind)
    converted.graph.initializer.extend(tensor for tensor in weights if tensor.name not in used)
    del converted.graph.output[:]
    converted.graph.output.extend(whole.graph.output)
    data: bytes = converted.SerializeToString()
    return data


def _parts(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Operators that do not need `features`, and those that do; a graph's are in order."""
    reached = {_CUT}
    before: list[onnx.NodeProto] = []
    behind: list[onnx.NodeProto] = []
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            behind.append(node)
        else:
            before.append(node)
    return before, behind
