"""An ONNX graph as a torch module whose weights can be taught, and those weights back as ONNX.

The graph stays as it is: no exporter writes another one, so that what is taught is run by the same
operators afterwards, and what was checked when the network was added stays checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from keshikaran.errors import BackboneError
from keshikaran.finetune.operators import OPERATORS
from keshikaran.types import Float32Array

_WEIGHTED = {"Conv", "Gemm", "MatMul"}


def unknown_operators(graph: onnx.GraphProto) -> list[str]:
    """Operators of the graph that cannot be taught through, ascending."""
    return sorted({node.op_type for node in graph.node} - {*OPERATORS, "Constant"})


class GraphModule(torch.nn.Module):  # type: ignore[misc]
    """Some nodes of a graph, from one value to another.

    Args:
        graph: the whole graph.
        nodes: those to run, in order; what they need besides `source` are constants.
        source: name of the value that comes in.
        target: name of the value that comes out.
        taught: names of the constants that are parameters.
    """

    def __init__(
        self,
        graph: onnx.GraphProto,
        nodes: Sequence[onnx.NodeProto],
        source: str,
        target: str,
        taught: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.source, self.target, self.taught = source, target, list(taught)
        self._steps = [
            (node.op_type, list(node.input), node.output[0], _attributes(node))
            for node in nodes
            if node.op_type != "Constant"
        ]
        needed = {name for _, inputs, _, _ in self._steps for name in inputs if name}
        values = {name: value for name, value in constants_of(graph).items() if name in needed}
        parts = [torch.nn.Parameter(_laid_out(values.pop(name))) for name in self.taught]
        self.parts = torch.nn.ParameterList(parts)
        self._sizes = {n: v for n, v in values.items() if not v.is_floating_point()}
        self._fixed = [name for name, value in values.items() if value.is_floating_point()]
        for number, name in enumerate(self._fixed):
            self.register_buffer(f"fixed_{number}", _laid_out(values[name]))
        self._last = _last_uses(self._steps)

    def forward(self, given: Any) -> Any:  # noqa: ANN401
        """The value of `target` where that of `source` is `given`; first axis: images."""
        values: dict[str, Any] = {"": None, self.source: given, **self._sizes}
        values.update(zip(self.taught, self.parts, strict=True))
        values.update((n, getattr(self, f"fixed_{i}")) for i, n in enumerate(self._fixed))
        for number, (operator, inputs, output, attributes) in enumerate(self._steps):
            values[output] = OPERATORS[operator](attributes, *[values[n] for n in inputs])
            for name in self._last.get(number, ()):
                del values[name]
        return values[self.target]


def constants_of(graph: onnx.GraphProto) -> dict[str, Any]:
    """Name → tensor of everything in the graph that no picture decides."""
    found = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            value = helper.get_attribute_value(node.attribute[0])
            is_tensor = isinstance(value, onnx.TensorProto)
            found[node.output[0]] = numpy_helper.to_array(value) if is_tensor else np.array(value)
    return {name: torch.from_numpy(np.array(value)) for name, value in found.items()}


def teachable(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """Names of the weights that the nodes use, in order: numbers that tell features apart.

    What comes before the first convolution or product (a normalisation of colours) is no weight,
    nor is a single number.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    order = [node.output[0] for node in graph.node]
    first = next((i for i, node in enumerate(graph.node) if node.op_type in _WEIGHTED), 0)
    after = set(order[first:])
    used = [name for node in nodes if node.output[0] in after for name in node.input]
    return [name for name in dict.fromkeys(used) if name in tensors and _is_weight(tensors[name])]


def _is_weight(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) > 1


def with_weights(model: onnx.ModelProto, weights: Mapping[str, Float32Array]) -> onnx.ModelProto:
    """The same graph with other numbers.

    Args:
        model: the network.
        weights: name of an initialiser → its new values, of the shape it has.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name in weights:
            values = np.ascontiguousarray(weights[tensor.name], dtype=np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return made


def check_teachable(graph: onnx.GraphProto, name: str) -> None:
    """Refuse a network with operators that torch is not told how to compute.

    Raises:
        BackboneError: says which.
    """
    unknown = unknown_operators(graph)
    if unknown:
        msg = f"{name} cannot be fine-tuned: it uses {', '.join(unknown)}."
        raise BackboneError(msg, "Fine-tune efficientnet-lite0, or another network of timm.")


def _laid_out(value: Any) -> Any:  # noqa: ANN401
    """Kernels with channels last, which is what convolutions are fastest with."""
    if value.is_floating_point() and value.dim() == 4:
        return value.contiguous(memory_format=torch.channels_last)
    return value.clone()


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _last_uses(steps: Sequence[tuple[str, list[str], str, dict[str, Any]]]) -> dict[int, list[str]]:
    """Number of a step → computed values that nothing needs after it."""
    made = {output for _, _, output, _ in steps}
    last: dict[str, int] = {}
    for number, (_, inputs, _, _) in enumerate(steps):
        last.update((name, number) for name in inputs if name in made)
    found: dict[int, list[str]] = {}
    for name, number in last.items():
        found.setdefault(number, []).append(name)
    return found
