"""What a network may contain: the hostile are refused before anything runs, the usual pass."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from stress.hostile_bundles import CANARY, KINDS, good
from stress.opened_files import FolderWatch, opened_by_python

from bundle_support import changed, scoring_model
from keshikaran.backbones import load_backbone, open_engine, read_graph
from keshikaran.backbones.operators import ALLOWED_OPERATORS
from keshikaran.backbones.wire import check_wire
from keshikaran.bundle import parse_bundle, read_bundle
from keshikaran.errors import BackboneError, BundleError
from keshikaran.predictor import Predictor
from support import fake_backbone

# What is refused


@pytest.mark.parametrize(("make", "words"), KINDS.values(), ids=KINDS.keys())
def test_hostile_bundle_is_refused_with_words(make: Callable[[], bytes], words: str) -> None:
    with pytest.raises(BundleError) as caught:
        parse_bundle(make(), "theirs.onnx")
    assert words in caught.value.what
    assert caught.value.what.startswith("theirs.onnx")
    assert caught.value.what.isprintable()
    assert caught.value.hint


def test_the_bundle_they_are_made_from_is_accepted() -> None:
    assert parse_bundle(good(), "good.onnx").manifest.model_id == "20260101T000000Z-0123abcd"


@pytest.mark.parametrize("kind", [name for name in KINDS if "other file" in name])
def test_refusing_opens_the_file_and_nothing_else(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / CANARY).write_bytes(np.ones(3, np.float32).tobytes())
    path = tmp_path / "theirs.onnx"
    path.write_bytes(KINDS[kind][0]())
    watch = FolderWatch(tmp_path) if sys.platform == "linux" else None
    with opened_by_python() as names, pytest.raises(BundleError):
        Predictor.load(path, isolation="off")
    assert names == [str(path)]
    if watch is not None:
        assert watch.opened() == {"theirs.onnx"}
        watch.close()


def test_loading_a_good_bundle_opens_no_other_file_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.onnx"
    path.write_bytes(good())
    with opened_by_python() as names:
        read_bundle(path)
    assert names == [str(path)]


def test_the_watch_sees_what_is_opened(tmp_path: Path) -> None:
    """The two tests above would prove nothing with a blind one."""
    path = tmp_path / "seen.bin"
    path.write_bytes(b"")
    with opened_by_python() as names:
        os.close(os.open(path, os.O_RDONLY))
    assert names == [str(path)]
    if sys.platform == "linux":
        watch = FolderWatch(tmp_path)
        path.read_bytes()
        assert watch.opened() == {"seen.bin"}
        watch.close()


def test_a_file_that_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    """Opening a pipe would wait for ever."""
    pipe = tmp_path / "model.onnx"
    os.mkfifo(pipe)
    with pytest.raises(BundleError, match="it is not a plain file"):
        read_bundle(pipe)


# Whatever the bytes are, the answer is a typed refusal or a network


@settings(max_examples=300)
@given(st.data())
def test_mutated_network_is_read_or_refused(data: st.DataObject) -> None:
    model = bytearray(fake_backbone())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(model) - 1))
        model[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    words = "was accepted"
    try:
        _, signature = read_graph(bytes(model), "theirs.onnx")
        assert 1 <= signature.height <= 4096
    except BackboneError as error:
        words = error.what
    assert words == "was accepted" or words.startswith("theirs.onnx ")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(BackboneError, match=r"^theirs\.onnx "):
        read_graph(data, "theirs.onnx")


def test_what_the_parser_itself_refuses_is_told_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keshikaran.backbones.graph.check_wire", len)
    with pytest.raises(BackboneError, match=r"theirs\.onnx is not an ONNX file"):
        read_graph(fake_backbone()[:-3], "theirs.onnx")


# What passes


def test_own_networks_pass() -> None:
    data = load_backbone().model
    check_wire(data)
    used = {node.op_type for node in onnx.load_model_from_string(data).graph.node}
    used |= {node.op_type for node in scoring_model().graph.node}
    assert used <= ALLOWED_OPERATORS


def test_every_accepted_operator_is_one_of_onnx() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    assert known >= ALLOWED_OPERATORS
    assert not ALLOWED_OPERATORS & {"If", "Loop", "Scan", "NonZero", "ImageDecoder", "SequenceAt"}


def _weights(**arrays: Any) -> list[TensorProto]:
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]


def _network(
    nodes: list[onnx.NodeProto], weights: list[TensorProto], dim: int, opset: int = 17
) -> bytes:
    """A network on 32×32 pixels; `planes` is float32 [N, 3, 32, 32] in [0, 1]."""
    first = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "white"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    graph = helper.make_graph(
        [*first, *nodes],
        "network",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 32, 32, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", dim])],
        [*_weights(white=np.float32(255)), *weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _transformer() -> bytes:
    """Patches, a class token repeated for each image of the batch, attention: as exporters do it.

    The batch is read from the input's shape at run time, twice.
    """
    make = helper.make_node
    nodes = [
        make("Conv", ["planes", "patch"], ["map"], kernel_shape=[8, 8], strides=[8, 8]),
        make("Shape", ["map"], ["shape"]),
        make("Gather", ["shape", "first"], ["batch"], axis=0),
        make("Unsqueeze", ["batch", "axis0"], ["batch1"]),
        make("Concat", ["batch1", "rest"], ["flat_shape"], axis=0),
        make("Reshape", ["map", "flat_shape"], ["columns"]),
        make("Transpose", ["columns"], ["tokens"], perm=[0, 2, 1]),
        make("Concat", ["batch1", "token_rest"], ["token_shape"], axis=0),
        make("Expand", ["token", "token_shape"], ["tokens0"]),
        make("Concat", ["tokens0", "tokens"], ["all"], axis=1),
        make("Transpose", ["all"], ["turned"], perm=[0, 2, 1]),
        make("MatMul", ["all", "turned"], ["likeness"]),
        make("Softmax", ["likeness"], ["attention"], axis=-1),
        make("MatMul", ["attention", "all"], ["mixed"]),
        make("LayerNormalization", ["mixed", "gain"], ["normal"], axis=-1),
        make("Slice", ["normal", "start", "end", "axis1"], ["rows"]),
        make("ReduceMean", ["rows"], ["features"], axes=[1], keepdims=0),
    ]
    rng = np.random.default_rng(0)
    weights = _weights(
        patch=rng.normal(0, 0.1, (16, 3, 8, 8)).astype(np.float32),
        token=np.zeros((1, 1, 16), np.float32),
        gain=np.ones(16, np.float32),
        first=np.array(0),
        axis0=np.array([0]),
        axis1=np.array([1]),
        rest=np.array([16, -1]),
        token_rest=np.array([1, 16]),
        start=np.array([0]),
        end=np.array([2**63 - 1]),
    )
    return _network(nodes, weights, 16)


def _quantised() -> bytes:
    make = helper.make_node
    nodes = [
        make("QuantizeLinear", ["planes", "scale", "zero"], ["small"]),
        make("DequantizeLinear", ["small", "scale", "zero"], ["near"]),
        make("DequantizeLinear", ["kernel", "scale", "kernel_zero"], ["kernel_near"]),
        make("Conv", ["near", "kernel_near"], ["map"]),
        make("HardSwish", ["map"], ["active"]),
        make("GlobalAveragePool", ["active"], ["mean"]),
        make("Flatten", ["mean"], ["features"]),
    ]
    weights = _weights(
        scale=np.float32(1 / 255),
        zero=np.uint8(0),
        kernel=np.ones((8, 3, 3, 3), np.int8),
        kernel_zero=np.int8(0),
    )
    return _network(nodes, weights, 8)


def _half() -> bytes:
    """Weights in float16, large enough to be left out of the sizes' copy, and a large constant."""
    make = helper.make_node
    kernel = numpy_helper.from_array(np.ones((8, 3, 16, 16), np.float32), "value")
    nodes = [
        make("Cast", ["half"], ["wide"], to=TensorProto.FLOAT),
        make("Constant", [], ["constant"], value=kernel),
        make("Add", ["wide", "constant"], ["kernel"]),
        make("Conv", ["planes", "kernel"], ["map"], strides=[16, 16]),
        make("Dropout", ["map"], ["kept", "mask"]),
        make("GlobalMaxPool", ["kept"], ["most"]),
        make("Flatten", ["most"], ["features"]),
    ]
    weights = _weights(half=np.ones((8, 3, 16, 16), np.float16))
    return _network(nodes, weights, 8, opset=11)


def _old() -> bytes:
    """An operator set of 2017, weights listed as inputs too."""
    make = helper.make_node
    nodes = [
        make("Dropout", ["planes"], ["kept", "mask"], ratio=0.5),
        make("LRN", ["kept"], ["even"], size=3),
        make("GlobalAveragePool", ["even"], ["mean"]),
        make("Slice", ["mean"], ["all"], axes=[2], starts=[0], ends=[2**63 - 1]),
        make("Flatten", ["all"], ["features"]),
    ]

    def list_weights(model: onnx.ModelProto) -> None:
        value = helper.make_tensor_value_info("white", TensorProto.FLOAT, [])
        model.graph.input.insert(0, value)

    return changed(list_weights, _network(nodes, [], 3, opset=7))


def _typed() -> bytes:
    """Numbers in the fields for their type instead of plain bytes."""
    gain = helper.make_tensor("gain", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    half = helper.make_tensor("half", TensorProto.FLOAT16, [3], [1.0, 2.0, 3.0])
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 3])
    nodes = [
        helper.make_node("GlobalAveragePool", ["planes"], ["mean"]),
        helper.make_node("Reshape", ["mean", "shape"], ["row"]),
        helper.make_node("Cast", ["half"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["row", "gain"], ["more"]),
        helper.make_node("Mul", ["more", "wide"], ["features"]),
    ]
    return _network(nodes, [gain, half, shape], 3)


@pytest.mark.parametrize("make", [_transformer, _quantised, _half, _old, _typed])
def test_usual_network_passes_and_runs(make: Callable[[], bytes]) -> None:
    data = make()
    _, signature = read_graph(data, "usual.onnx")
    features = open_engine(data, engine="onnxruntime", streams=1).infer(
        np.full((2, 32, 32, 3), 100, np.uint8)
    )["features"]
    assert features.shape == (2, *signature.outputs["features"])
    assert np.isfinite(features).all()
    assert np.array_equal(features[0], features[1])


_LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.mark.parametrize(
    "name", ["densenet121", "inception_v1", "inception_v2", "shufflenet", "squeezenet"]
)
def test_networks_that_others_exported_pass(name: str) -> None:
    """The real graphs that come with onnx, their weights replaced by computed ones."""

    def take_pixels(model: onnx.ModelProto) -> None:
        graph = model.graph
        weights = {tensor.name for tensor in graph.initializer}
        image = next(value for value in graph.input if value.name not in weights)
        first = [
            helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["floats"], [image.name], perm=[0, 3, 1, 2]),
        ]
        for node in reversed(first):
            graph.node.insert(0, node)
        value = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 224, 224, 3])
        image.CopyFrom(value)

    data = changed(take_pixels, (_LIGHT / f"light_{name}.onnx").read_bytes())
    _, signature = read_graph(data, name)
    assert [shape[0] for shape in signature.outputs.values()] == [1000]
