"""Where to cut a network in two: what stays as it is, and the last blocks, which are taught.

A cut lies where a single value carries all that the picture decides, as between two residual
blocks. Of those places the one is taken where the value is smallest, so that it can be kept for
every image, among those that leave some third of the multiplications behind them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from keshikaran.errors import BackboneError

LEAST_LEFT, MOST_LEFT = 0.25, 0.45
"""Share of all multiplications that the last blocks may have."""

_WEIGHTED = {"Conv", "Gemm", "MatMul"}


@dataclass(frozen=True, slots=True)
class Halves:
    """A network in two parts.

    Attributes:
        front: nodes that stay as they are; none where all are taught.
        back: nodes that are taught.
        source: the network's input.
        middle: the value between them; the input where all are taught.
        target: the features.
        share: of all multiplications that lie in `back`, in (0, 1].
    """

    front: Sequence[onnx.NodeProto]
    back: Sequence[onnx.NodeProto]
    source: str
    middle: str
    target: str
    share: float


def whole(graph: onnx.GraphProto, source: str, target: str) -> Halves:
    """All blocks are taught."""
    return Halves([], list(graph.node), source, source, target, 1.0)


def last_blocks(model: onnx.ModelProto, source: str, target: str, name: str) -> Halves:
    """The last blocks are taught.

    Args:
        model: a network that passed the checks of `backbones`.
        source: its input.
        target: its features.
        name: what messages call it.

    Raises:
        BackboneError: there is no place to cut it at.
    """
    nodes = list(model.graph.node)
    shapes = _shapes(model, source)
    costs = [_multiplications(node, shapes) for node in nodes]
    total = sum(costs) or 1
    best: tuple[int, int, str, float] | None = None
    for place, value in _single_values(model.graph, source):
        left = sum(costs[place:]) / total
        size = math.prod(shapes.get(value, [0])) or 2**40
        if LEAST_LEFT <= left <= MOST_LEFT and (best is None or size < best[0]):
            best = (size, place, value, left)
    if best is None:
        msg = f"{name} has no place between blocks where about a third of its work is left."
        raise BackboneError(msg, "Teach all of it: --blocks all")
    _, place, value, left = best
    return Halves(nodes[:place], nodes[place:], source, value, target, left)


def _single_values(graph: onnx.GraphProto, source: str) -> list[tuple[int, str]]:
    """Places before which one value alone carries what the picture decides, with that value."""
    nodes = list(graph.node)
    moving = {source}
    last = {source: -1}
    for number, node in enumerate(nodes):
        for name in set(node.input) & moving:
            last[name] = number
        if set(node.input) & moving:
            moving.update(node.output)
    found = []
    alive = {source}
    for number, node in enumerate(nodes):
        alive.update(set(node.output) & moving)
        alive = {name for name in alive if last.get(name, -1) > number}
        if len(alive) == 1:
            found.append((number + 1, next(iter(alive))))
    return found


def _shapes(model: onnx.ModelProto, source: str) -> dict[str, list[int]]:
    """Name → shape for one image, of every value whose shape is known."""
    one = onnx.ModelProto()
    one.CopyFrom(model)
    for value in one.graph.input:
        if value.name == source:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in one.graph.output:
        value.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(one, data_prop=True).graph
    found = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output, *graph.input]
    }
    found.update((tensor.name, list(tensor.dims)) for tensor in graph.initializer)
    return found


def _multiplications(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    """How many multiplications one image takes in a convolution or product; 0 elsewhere."""
    if node.op_type not in _WEIGHTED:
        return 0
    made = math.prod(shapes.get(node.output[0], [0]))
    weights = shapes.get(node.input[1], [1])
    each = math.prod(weights[1:]) if node.op_type == "Conv" else shapes[node.input[0]][-1]
    return made * each
