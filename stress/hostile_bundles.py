"""Model files that want something else than to score an image, each its own kind.

Every one is a small good bundle with one thing changed, sealed again with a digest that fits: the
attacker knows the format. Beside each stand the words it must be refused with.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from keshikaran.bundle import DIGEST_KEY, METADATA_KEY, Manifest, SelfTest, pack, seal
from keshikaran.pixels import PIXEL_CONTRACT_VERSION
from keshikaran.types import Thresholds

Change = Callable[[onnx.ModelProto], object]

SIDE = 8
CANARY = "canary.bin"
"""The file that hostile networks name; it lies beside them and must never be opened."""


def network() -> onnx.ModelProto:
    """The mean of each colour, and a score from it: `images` → `score`, `features`."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["planes"], ["means"]),
        helper.make_node("Flatten", ["means"], ["raw"], axis=1),
        helper.make_node("Mul", ["raw", "scale"], ["features"]),
        helper.make_node("ReduceSum", ["features", "axis"], ["sum"], keepdims=0),
        helper.make_node("Sigmoid", ["sum"], ["score"]),
    ]
    weights = {"scale": np.full(3, 1 / 255, np.float32), "axis": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def manifest() -> Manifest:
    """A manifest that fits `network`."""
    return Manifest(
        model_id="20260101T000000Z-0123abcd",
        created="2026-01-01T00:00:00+00:00",
        keshikaran_version="0.1.0",
        classes={"0": "acceptable", "1": "objectionable"},
        thresholds=Thresholds(0.25, 0.75),
        thresholds_chosen_for="a test",
        policy={},
        promises=[],
        prevalence=0.5,
        calibration={
            "kind": "none",
            "below": 1.0,
            "above": 1.0,
            "shift": 0.0,
            "label_prevalence": 0.5,
            "log_loss": {},
        },
        reference={},
        pixel_contract=PIXEL_CONTRACT_VERSION,
        inputs=[{"height": SIDE, "width": SIDE, "resize_mode": "stretch"}],
        backbones=[{"name": "means", "digest": "00", "licence": "unknown"}],
        parts=[{"backbone": 0, "input": 0, "features": 3}],
        precision="f32",
        recipe={},
        training_set={},
        split={},
        metrics={},
        self_test=SelfTest(0.5, [0.5, 0.5, 0.5]),
        licence="unknown",
    )


def good() -> bytes:
    """The bundle that all others are made from. Its checks pass; its self-test is made up."""
    return pack(network(), manifest())


def after(change: Change) -> Callable[[], bytes]:
    """The good bundle after one change of its network."""

    def make() -> bytes:
        model = network()
        helper.set_model_props(model, {METADATA_KEY: manifest().to_json()})
        change(model)
        return seal(model.SerializeToString())

    return make


def plus(operator: str, inputs: list[str], **options: Any) -> Callable[[], bytes]:
    """The good bundle with one more operator, whose answer nobody uses.

    Options that are arrays become weights of that name; the others are attributes.
    """
    arrays = {name: value for name, value in options.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in options.items() if name not in arrays}

    def change(model: onnx.ModelProto) -> None:
        for name, value in arrays.items():
            model.graph.initializer.append(numpy_helper.from_array(value, name))
        model.graph.node.append(helper.make_node(operator, inputs, ["extra"], **rest))

    return after(change)


def saying(**changed: Any) -> Callable[[], bytes]:
    """The good bundle whose manifest says something else; None leaves a field out."""
    fields = json.loads(manifest().to_json())
    for name, value in changed.items():
        fields[name] = value
        if value is None:
            del fields[name]
    return noted(json.dumps(fields))


def noted(text: str) -> Callable[[], bytes]:
    """The good bundle with any text for a manifest."""
    return after(lambda model: helper.set_model_props(model, {METADATA_KEY: text}))


def _outside(tensor: TensorProto, location: str = CANARY) -> TensorProto:
    """Say that the values lie in a file of the attacker's choice."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def _weights(name: str = "w", *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape or 3, np.float32), name)


def _add(tensor: TensorProto) -> Change:
    return lambda model: model.graph.initializer.append(tensor)


def _edit(**fields: Any) -> Callable[[], bytes]:
    """The weights `scale` with some of their fields changed; None clears one."""

    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        for name, value in fields.items():
            tensor.ClearField(name)
            if isinstance(value, list):
                getattr(tensor, name).extend(value)
            elif value is not None:
                setattr(tensor, name, value)

    return after(change)


def _attribute(**fields: Any) -> Callable[[], bytes]:
    """A harmless operator with one attribute built by hand."""

    def change(model: onnx.ModelProto) -> None:
        node = helper.make_node("Flatten", ["raw"], ["extra"])
        node.attribute.append(AttributeProto(name="axis", **fields))
        model.graph.node.append(node)

    return after(change)


def _sparse() -> onnx.SparseTensorProto:
    sparse = onnx.SparseTensorProto(dims=[9])
    sparse.values.CopyFrom(_outside(_weights("v")))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.arange(3), "i"))
    return sparse


def _nested() -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [_outside(_weights())])


def _nodes(*nodes: onnx.NodeProto) -> Callable[[], bytes]:
    return after(lambda model: model.graph.node.extend(nodes))


def _doubling() -> list[onnx.NodeProto]:
    names = ["features", *(f"twice{number}" for number in range(40))]
    return [
        helper.make_node("Concat", [before, before], [name], axis=1)
        for before, name in itertools.pairwise(names)
    ]


def _opset(domain: str, version: int) -> Change:
    return lambda model: model.opset_import.append(helper.make_opsetid(domain, version))


def _io(kind: str, *shape: int | str, element: int = TensorProto.FLOAT) -> Callable[[], bytes]:
    def change(model: onnx.ModelProto) -> None:
        place = model.graph.input[0] if kind == "images" else model.graph.output[1]
        place.CopyFrom(helper.make_tensor_value_info(kind, element, list(shape)))

    return after(change)


def _one_more_output(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("nobody", TensorProto.FLOAT, ["N"])
    model.graph.output.append(value)


def _one_more_input(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("more", TensorProto.FLOAT, ["N"])
    model.graph.input.append(value)


def _one_more_picture(model: onnx.ModelProto) -> None:
    shape: list[str | int | None] = ["N", SIDE, SIDE, 3]
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.UINT8, shape))


def _function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Identity", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("ours", "F", ["x"], ["y"], body, opsets))


def _backwards(model: onnx.ModelProto) -> None:
    nodes = [*model.graph.node][::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _note(key: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        entry = model.metadata_props.add()
        entry.key, entry.value = key, manifest().to_json()

    return change


def _raw(tail: bytes) -> Callable[[], bytes]:
    """The good network and bytes of the attacker's choice behind it."""

    def make() -> bytes:
        model = network()
        helper.set_model_props(model, {METADATA_KEY: manifest().to_json()})
        data: bytes = model.SerializeToString()
        return seal(data + tail)

    return make


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    size, length = len(content), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def _deep() -> bytes:
    graph = b""
    for _ in range(200):
        graph = _field(1, _field(5, _field(6, graph)))  # node, its attribute, the graph in that
    return _field(7, graph)


def _big(*sizes: int) -> np.ndarray:
    return np.array(sizes, dtype=np.int64)


_EXTERNAL = "keeps weights in other files"
_MEMORY = "asks for too much memory"
_DAMAGED = "the manifest is damaged"
_COUNT = "holds more or fewer numbers than it declares"
_FORM = "in a form that is not accepted"

KINDS: dict[str, tuple[Callable[[], bytes], str]] = {
    # other files
    "weights in another file": (after(_add(_outside(_weights()))), _EXTERNAL),
    "weights in a system file": (after(_add(_outside(_weights(), "/etc/passwd"))), _EXTERNAL),
    "weights above the folder": (after(_add(_outside(_weights(), "../" + CANARY))), _EXTERNAL),
    "weights at an address": (
        after(_add(_outside(_weights(), "*/_ORT_MEM_ADDR_/*"))),
        _EXTERNAL,
    ),
    "other file in a constant": (plus("Constant", [], value=_outside(_weights())), _EXTERNAL),
    "other file in sparse weights": (
        after(lambda model: model.graph.sparse_initializer.append(_sparse())),
        _EXTERNAL,
    ),
    "other file in a sparse constant": (
        plus("Constant", [], sparse_value=_sparse()),
        _EXTERNAL,
    ),
    "other file in an inner graph": (
        plus("If", ["sum"], then_branch=_nested(), else_branch=_nested()),
        "contains control flow (If)",
    ),
    # more than a plain graph
    "function": (after(_function), "defines functions of its own"),
    "training": (
        after(lambda model: model.training_info.add()),
        "carries more than a network (training_info)",
    ),
    "loop": (plus("Loop", ["sum"], body=_nested()), "contains control flow (Loop)"),
    "graph in an attribute": (
        plus("Relu", ["sum"], body=_nested()),
        "contains control flow (Relu)",
    ),
    "foreign operator": (
        plus("Python", ["sum"], domain="com.example"),
        "the operator com.example::Python from outside ONNX",
    ),
    "operator that decodes files": (plus("ImageDecoder", ["images"]), "not on the list"),
    "operator that counts pixels": (plus("NonZero", ["images"]), "not on the list"),
    "random numbers": (plus("RandomNormal", [], shape=[1]), "not on the list"),
    "two operator sets": (after(_opset("ai.onnx", 7)), "operator set [17, 7]"),
    "format of the future": (
        after(lambda model: setattr(model, "ir_version", 99)),
        "has ONNX format 99",
    ),
    "sparse weights": (
        after(lambda model: model.graph.sparse_initializer.add()),
        "holds sparse weights",
    ),
    # attributes
    "attribute with two contents": (
        _attribute(type=AttributeProto.INT, i=1, s=b"1"),
        _FORM,
    ),
    "attribute by reference": (_attribute(type=AttributeProto.INT, ref_attr_name="x"), _FORM),
    "attribute of a type": (
        _attribute(type=AttributeProto.TYPE_PROTO, tp=onnx.TypeProto()),
        _FORM,
    ),
    "attribute given twice": (
        _nodes(
            onnx.NodeProto(
                op_type="Elu",
                input=["sum"],
                output=["extra"],
                attribute=[helper.make_attribute("alpha", value) for value in (1.0, 2.0)],
            )
        ),
        "gives an attribute of Elu twice",
    ),
    "attribute that is no number": (plus("Elu", ["sum"], alpha=float("nan")), "not a finite"),
    "division by zero groups": (
        plus("Conv", ["planes", "kernel"], group=0, kernel=np.ones((3, 3, 1, 1), np.float32)),
        "the attribute group out of its range",
    ),
    "steps of zero": (
        plus("MaxPool", ["planes"], kernel_shape=[2, 2], strides=[0, 0]),
        "the attribute strides out of its range",
    ),
    "borders beyond 64 bits": (
        plus("MaxPool", ["planes"], kernel_shape=[2, 2], pads=[2**62] * 4),
        "the attribute pads out of its range",
    ),
    "operator against its definition": (plus("Relu", ["sum", "sum"]), "against its definition"),
    "constant that goes nowhere": (
        _nodes(helper.make_node("Constant", [], [], value=_weights("v", 2000))),
        "against its definition",
    ),
    "constant with two values": (
        plus("Constant", [], value_int=1, value=_weights("v", 2000)),
        "against its definition",
    ),
    # names and order
    "values in a circle": (
        _nodes(
            helper.make_node("Relu", ["one"], ["other"]),
            helper.make_node("Relu", ["other"], ["one"]),
        ),
        "in a circle",
    ),
    "operators backwards": (after(_backwards), "before it is computed"),
    "value computed twice": (
        _nodes(helper.make_node("Relu", ["sum"], ["features"])),
        "computes the value features twice",
    ),
    "weights named alike": (after(_add(_weights("scale"))), "names two of its values alike"),
    "output that is not computed": (after(_one_more_output), "does not compute"),
    "too many operators": (
        _nodes(
            *(helper.make_node("Relu", ["sum"], [f"extra{number}"]) for number in range(20_000))
        ),
        "has more than 20,000 operators",
    ),
    # numbers
    "fewer numbers than declared": (_edit(dims=[1_000_000]), _COUNT),
    "more numbers than declared": (_edit(dims=[1]), _COUNT),
    "numbers in two places": (_edit(float_data=[1.0, 1.0, 1.0]), _COUNT),
    "a billion billion numbers": (_edit(dims=[2**40, 2**40]), "of an impossible size"),
    "negative size": (_edit(dims=[-3]), "of an impossible size"),
    "sizes whose product wraps around": (_edit(dims=[2**62, 4, 3]), "of an impossible size"),
    "words for weights": (
        _edit(data_type=TensorProto.STRING, raw_data=None, string_data=[b"a"] * 3),
        "of a kind that is not accepted",
    ),
    "weights of a kind nobody knows": (_edit(data_type=99), "of a kind that is not accepted"),
    "weights that are no number": (
        _edit(raw_data=np.array([1, np.nan, 1], np.float32).tobytes()),
        "not finite numbers",
    ),
    "endless weights": (
        _edit(raw_data=np.array([1, np.inf, 1], np.float32).tobytes()),
        "not finite numbers",
    ),
    "constant that is no number": (
        plus("Constant", [], value=numpy_helper.from_array(np.array(np.nan), "v")),
        "not finite numbers",
    ),
    # memory
    "40 GB of one number": (plus("ConstantOfShape", ["to"], to=_big(10**5, 10**5)), _MEMORY),
    "expansion": (plus("Expand", ["sum", "to"], to=_big(10**5, 10**5)), _MEMORY),
    "tiling": (plus("Tile", ["features", "by"], by=_big(10**5, 10**5)), _MEMORY),
    "tiling that wraps around": (
        plus("Tile", ["features", "by"], by=_big(1, 2**62)),
        "gives Tile an enormous number (by)",
    ),
    "enlarging": (
        plus("Resize", ["planes", "", "by"], by=np.array([1, 1, 1e4, 1e4], np.float32)),
        _MEMORY,
    ),
    "wide borders": (
        plus("Pad", ["planes", "by"], by=_big(0, 0, 10**5, 10**5, 0, 0, 0, 0)),
        _MEMORY,
    ),
    "long range": (
        plus("Range", ["a", "b", "c"], a=np.array(0), b=np.array(2**31), c=np.array(1)),
        _MEMORY,
    ),
    "wide borders of a convolution": (
        plus("Conv", ["planes", "k"], pads=[30_000] * 4, k=np.ones((1, 3, 1, 1), np.float32)),
        _MEMORY,
    ),
    "column times row": (
        plus("Mul", ["a", "b"], a=np.ones((30_000, 1), np.float32), b=np.ones(30_000, np.float32)),
        _MEMORY,
    ),
    "product of many axes": (
        plus("Einsum", ["planes"] * 4, equation="abcd,aefg,ahij,aklm->abcdefghijklm"),
        _MEMORY,
    ),
    "forty doublings": (_nodes(*_doubling()), _MEMORY),
    "hundreds of megabytes while loading": (
        plus("ConstantOfShape", ["to"], to=_big(50_000_000)),
        "bytes from constants alone",
    ),
    "size that the pixels decide": (
        _nodes(
            helper.make_node("Cast", ["raw"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Flatten", ["whole"], ["row"], axis=0),
            helper.make_node("Squeeze", ["row"], ["to"]),
            helper.make_node("ConstantOfShape", ["to"], ["extra"]),
        ),
        "whose size cannot be told beforehand",
    ),
    "half a million empty operators": (
        _raw(_field(7, b"\x0a\x00" * 500_001)),
        "has a graph of more",
    ),
    "40 MB of small numbers": (
        _raw(_field(7, _field(5, _field(7, bytes(40_000_000))))),
        "has a graph of more",
    ),
    "graphs in graphs in graphs": (_raw(_deep()), "nested too deeply"),
    # the encoding
    "field that nobody knows": (_raw(_field(15, b"?")), "newer kind than this program knows"),
    "name that is no text": (_raw(_field(2, b"\xff\xfe")), "is not an ONNX file"),
    "group of the old days": (_raw(b"\x0b\x0c"), "is not an ONNX file"),
    "graph that is a number": (_raw(b"\x38\x01"), "is not an ONNX file"),
    "number without end": (_raw(b"\x08" + b"\xff" * 10 + b"\x01"), "is not an ONNX file"),
    "field that ends nowhere": (_raw(b"\x3a\xff\xff\xff\x7f"), "is not an ONNX file"),
    # inputs and outputs
    "picture as decimal numbers": (
        _io("images", "N", SIDE, SIDE, 3),
        "takes float [?, 8, 8, 3] as its input",
    ),
    "enormous picture": (
        _io("images", "N", 10**6, 10**6, 3, element=TensorProto.UINT8),
        "takes uint8 [?, 1000000, 1000000, 3] as its input",
    ),
    "second input": (after(_one_more_input), "takes float [?] as its input"),
    "second picture": (after(_one_more_picture), "does not fit its manifest"),
    "more features than declared": (_io("features", "N", 2), "declares the output features"),
    "size that the manifest does not say": (
        saying(inputs=[{"height": 9, "width": SIDE, "resize_mode": "stretch"}]),
        "does not fit its manifest",
    ),
    "a part that looks at no input": (
        saying(parts=[{"backbone": 0, "input": 1, "features": 3}]),
        _DAMAGED,
    ),
    "parts with more features than there are": (
        saying(parts=[{"backbone": 0, "input": 0, "features": 4}]),
        "does not fit its manifest",
    ),
    "more answers than features": (
        saying(self_test={"score": 0.5, "features": [0.5] * 4}),
        "does not fit its manifest",
    ),
    # the manifest
    "cuts in the wrong order": (saying(thresholds={"review": 0.9, "block": 0.1}), _DAMAGED),
    "cut that nothing reaches": (saying(thresholds={"review": 0.9, "block": 2.0}), _DAMAGED),
    "cut that is no number": (saying(thresholds={"review": float("nan"), "block": 1}), _DAMAGED),
    "manifest without a version": (saying(schema=None), _DAMAGED),
    "prevalence of 200 per cent": (saying(prevalence=2.0), _DAMAGED),
    "name with control characters": (saying(model_id="\x1b[2Jgood"), _DAMAGED),
    "name that is a path": (saying(model_id="../../etc/passwd"), _DAMAGED),
    "key given twice": (noted('{"schema": 2, "schema": 2}'), _DAMAGED),
    "brackets without end": (noted("[" * 500_000), _DAMAGED),
    "manifest of two megabytes": (noted('"' + "a" * 2_000_000 + '"'), _DAMAGED),
    "number of 5,000 digits": (noted('{"schema": ' + "1" * 5_000 + "}"), _DAMAGED),
    "two manifests": (after(_note(METADATA_KEY)), "not a keshikaran model"),
    # the digest
    "two digests": (after(_note(DIGEST_KEY)), "not a keshikaran model"),
    "no digest": (lambda: network().SerializeToString(), "its end has no digest"),
    "digest of something else": (lambda: good()[:-1] + b"x", "its digest does not fit"),
    "something behind the digest": (lambda: good() + b"\x72\x00", "its end has no digest"),
    "words": (lambda: seal(b"This is not a model."), "is not an ONNX file"),
    "nothing": (lambda: b"", "its end has no digest"),
    "a digest of nothing": (lambda: seal(b""), "its graph is empty"),
}
