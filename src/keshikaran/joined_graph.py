"""Several networks side by side as one ONNX graph: an input for each shape, their features joined.

A network that looks at two shapes has its operators twice and its weights once. The other way, both
shapes one after the other through the same operators, would need networks that take any number of
images, and rounds some sums otherwise; on processors it is no faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from keshikaran.backbones import read_graph
from keshikaran.errors import BackboneError
from keshikaran.parts import Inputs, Part

_LEAST_IR_VERSION = 4  # before it, weights had to be inputs


def join_networks(parts: Sequence[Part]) -> ModelProto:
    """Put the networks of some parts side by side.

    Args:
        parts: two at least.

    Returns:
        A model with the inputs `images`, `images_2` … uint8 [N, H, W, 3], one for each shape, and
        the output `features` float32 [N, D], the parts' features one after the other.

    Raises:
        BackboneError: the networks were written for different operator sets.
    """
    networks = {part.backbone.digest: part.backbone for part in parts}
    models = {key: read_graph(one.model, one.name)[0] for key, one in networks.items()}
    inputs = Inputs.of(parts)
    names = ["images", *(f"images_{n}" for n in range(2, 1 + len(inputs.spec.shapes)))]
    joined = ModelProto(
        ir_version=max(_LEAST_IR_VERSION, *(model.ir_version for model in models.values()))
    )
    joined.opset_import.extend(_operator_set(list(models.values())))
    graph = joined.graph
    graph.name = "side by side"
    prefixes = {key: f"network_{number}/" for number, key in enumerate(models)}
    for key, model in models.items():
        _add_weights(graph, model.graph, prefixes[key])
        _add_notes(joined, model, prefixes[key])
    made = []
    for number, (part, place) in enumerate(zip(parts, inputs.places, strict=True)):
        key = part.backbone.digest
        prefix = f"part_{number}/"
        _add_nodes(graph, models[key].graph, prefixes[key], prefix, names[place])
        made.append(prefix + part.backbone.output)
    graph.node.append(helper.make_node("Concat", made, ["features"], axis=1))
    for name, shape in zip(names, inputs.spec.shapes, strict=True):
        sides: list[str | int | None] = ["N", shape.height, shape.width, 3]
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.UINT8, sides))
    return joined


def _operator_set(models: Sequence[ModelProto]) -> list[onnx.OperatorSetIdProto]:
    sets = {tuple(sorted((o.domain, o.version) for o in m.opset_import)) for m in models}
    if len(sets) > 1:
        msg = "These networks were written for different ONNX operator sets and cannot be joined."
        raise BackboneError(msg, "Export them with the same operator set, or use one of them.")
    return list(models[0].opset_import)


def _add_weights(graph: GraphProto, network: GraphProto, prefix: str) -> None:
    for tensor in network.initializer:
        added = graph.initializer.add()
        added.CopyFrom(tensor)
        added.name = prefix + tensor.name


def _add_notes(joined: ModelProto, model: ModelProto, prefix: str) -> None:
    """Where each network came from, and its licence."""
    for entry in model.metadata_props:
        added = joined.metadata_props.add()
        added.key, added.value = prefix + entry.key, entry.value


def _add_nodes(
    graph: GraphProto, network: GraphProto, weights: str, prefix: str, images: str
) -> None:
    """The network's operators under names of their own."""
    known = {tensor.name: weights + tensor.name for tensor in network.initializer}
    (given,) = (value.name for value in network.input if value.name not in known)
    known[given] = images

    def renamed(names: Sequence[str]) -> list[str]:
        return [known.get(name, prefix + name) if name else "" for name in names]

    for node in network.node:
        added: NodeProto = graph.node.add()
        added.CopyFrom(node)
        added.name = prefix + node.name if node.name else ""
        added.input[:], added.output[:] = renamed(node.input), renamed(node.output)
