"""A parsed network: nothing but one plain graph whose values follow from each other in order."""

from __future__ import annotations

from onnx import GraphProto, ModelProto

from keshikaran.backbones.operators import check_node, tensors_of
from keshikaran.backbones.refusal import DAMAGED, STANDARD, NetworkRefusedError
from keshikaran.backbones.tensors import check_slice_only, check_tensor, refuse_external

MAX_NODES = 20_000
MAX_WEIGHTS = 20_000
IR_VERSIONS = range(3, 15)
OPSETS = range(7, 29)

_MODEL_FIELDS = {
    "ir_version",
    "opset_import",
    "producer_name",
    "producer_version",
    "domain",
    "model_version",
    "doc_string",
    "graph",
    "metadata_props",
}


def check_structure(model: ModelProto) -> None:
    """Refuse whatever is not one plain graph of accepted operators and honest weights.

    Raises:
        NetworkRefusedError: says what was found.
    """
    _check_model(model)
    graph = model.graph
    _refuse_external_anywhere(graph)
    for node in graph.node:
        check_node(node)
    if graph.sparse_initializer:
        raise NetworkRefusedError("holds sparse weights, which are not accepted.", STANDARD)
    enormous = {tensor.name for tensor in graph.initializer if check_tensor(tensor)}
    for node in graph.node:
        if any([check_tensor(tensor) for tensor in tensors_of(node)]):
            enormous.update(node.output)
    _check_order(graph)
    for node in graph.node:
        for name in enormous.intersection(node.input):
            check_slice_only(name, node.op_type)


def _check_model(model: ModelProto) -> None:
    if model.functions:
        words = "defines functions of its own, which are not accepted."
        raise NetworkRefusedError(words, "Export the network with functions inlined.")
    extra = {field.name for field, _ in model.ListFields()} - _MODEL_FIELDS
    if extra:
        words = f"carries more than a network ({min(extra)}), which is not accepted."
        raise NetworkRefusedError(words, STANDARD)
    if len(model.graph.node) > MAX_NODES or len(model.graph.initializer) > MAX_WEIGHTS:
        words = f"has more than {MAX_NODES:,} operators or sets of weights."
        raise NetworkRefusedError(words, DAMAGED)
    opsets = [entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}]
    if model.ir_version not in IR_VERSIONS or len(opsets) != 1 or opsets[0] not in OPSETS:
        words = f"has ONNX format {model.ir_version} and operator set {opsets}, not one of ours."
        hint = (
            f"Export it with one operator set from {OPSETS[0]} to {OPSETS[-1]} and format"
            f" {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}."
        )
        raise NetworkRefusedError(words, hint)


def _refuse_external_anywhere(graph: GraphProto) -> None:
    """Before anything else is asked of them, so that this is what people are told."""
    for tensor in graph.initializer:
        refuse_external(tensor)
    for sparse in graph.sparse_initializer:
        refuse_external(sparse.values)
        refuse_external(sparse.indices)
    for node in graph.node:
        for tensor in tensors_of(node):
            refuse_external(tensor)


def _check_order(graph: GraphProto) -> None:
    """Each value has one origin and comes before its use: no second meaning, no circle."""
    weights = [tensor.name for tensor in graph.initializer]
    inputs = [value.name for value in graph.input]
    outputs = [value.name for value in graph.output]
    for names in (weights, inputs, outputs):
        if len(set(names)) != len(names) or "" in names:
            words = "names two of its values alike, or leaves one without a name."
            raise NetworkRefusedError(words, DAMAGED)
    known = {*weights, *inputs}
    for node in graph.node:
        missing = [name for name in node.input if name and name not in known]
        if missing:
            words = f"uses the value {missing[0]} before it is computed, or in a circle."
            raise NetworkRefusedError(words, DAMAGED)
        for name in filter(None, node.output):
            if name in known:
                words = f"computes the value {name} twice."
                raise NetworkRefusedError(words, DAMAGED)
            known.add(name)
    if not known.issuperset(outputs):
        raise NetworkRefusedError("promises an output that it does not compute.", DAMAGED)
