"""Networks that are refused, networks that run, and where they come from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from bundle_support import changed, noise, quadrant_means, rename, scoring_model
from keshikaran.backbones import (
    DEFAULT_BACKBONE,
    ENGINE_NAMES,
    Engine,
    EngineName,
    load_backbone,
    open_engine,
    read_graph,
    usable_cores,
)
from keshikaran.backbones.openvino_engine import has_bf16
from keshikaran.errors import BackboneError, MissingExtraError
from keshikaran.pixels import PixelSpec, read_pixels
from keshikaran.types import Float32Array, UInt8Array
from support import FAKE_DIM, FAKE_SIDE, bluish, encode, fake_backbone, reddish

_ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")


def _floats(name: str) -> TensorProto:
    return numpy_helper.from_array(np.ones(3, dtype=np.float32), name)


def _external(tensor: TensorProto) -> TensorProto:
    """Say that the values lie in a file of the user's choice."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


def _external_weights(model: onnx.ModelProto) -> None:
    _external(model.graph.initializer[0])


def _external_without_saying_so(model: onnx.ModelProto) -> None:
    _external(model.graph.initializer[0]).data_location = TensorProto.DEFAULT


def _external_without_a_place(model: onnx.ModelProto) -> None:
    del _external(model.graph.initializer[0]).external_data[:]


def _external_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=_external(_floats("v"))))


def _external_constants(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"])
    attribute = AttributeProto(name="values", type=AttributeProto.TENSORS)
    attribute.tensors.append(_external(_floats("v")))
    node.attribute.append(attribute)
    model.graph.node.append(node)


def _external_sparse_weights(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(_external(_floats("v")))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.arange(3), "i"))


def _external_sparse_places(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(_floats("v"))
    sparse.indices.CopyFrom(_external(_floats("i")))


def _function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Identity", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("ours", "F", ["x"], ["y"], body, opsets))


def _foreign_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def _subgraph() -> onnx.GraphProto:
    return helper.make_graph([], "branch", [], [])


def _branch(model: onnx.ModelProto) -> None:
    branches = {"then_branch": _subgraph(), "else_branch": _subgraph()}
    model.graph.node.append(helper.make_node("If", ["white"], ["c"], **branches))


def _loop_without_a_body(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", ["white"], ["c"]))


def _graph_in_another_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("SequenceMap", ["white"], ["c"], body=_subgraph()))


def _list_of_graphs(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Odd", ["white"], ["c"], bodies=[_subgraph()]))


def _input(kind: int, *shape: int | str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        value = helper.make_tensor_value_info("images", kind, list(shape))
        model.graph.input[0].CopyFrom(value)

    return change


def _two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.UINT8, [1]))


def _no_input(model: onnx.ModelProto) -> None:
    del model.graph.input[:]


def _output(kind: int, *shape: int | str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        value = helper.make_tensor_value_info("features", kind, list(shape))
        model.graph.output[0].CopyFrom(value)

    return change


def _last(node: onnx.NodeProto, *shape: int | str) -> Callable[[onnx.ModelProto], None]:
    """Another last operator, and its output as declared."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.node[-1].CopyFrom(node)
        value = helper.make_tensor_value_info("features", TensorProto.FLOAT, list(shape))
        model.graph.output[0].CopyFrom(value)

    return change


_UNFLAT = helper.make_node("Identity", ["means"], ["features"])
_MEAN = helper.make_node("ReduceMean", ["means"], ["features"], axes=[1, 2, 3], keepdims=0)
_UINT8, _FLOAT = TensorProto.UINT8, TensorProto.FLOAT

_UNSAFE = {
    "external weights": (_external_weights, "keeps weights in other files"),
    "external weights unsaid": (_external_without_saying_so, "keeps weights in other files"),
    "external weights nowhere": (_external_without_a_place, "keeps weights in other files"),
    "external constant": (_external_constant, "keeps weights in other files"),
    "external constants": (_external_constants, "keeps weights in other files"),
    "external sparse weights": (_external_sparse_weights, "keeps weights in other files"),
    "external sparse places": (_external_sparse_places, "keeps weights in other files"),
    "function": (_function, "defines functions of its own"),
    "foreign operator": (_foreign_operator, "the operator com.example::Cast from outside ONNX"),
    "branch": (_branch, "contains control flow (If)"),
    "loop": (_loop_without_a_body, "contains control flow (Loop)"),
    "graph in an operator": (_graph_in_another_operator, "contains control flow (SequenceMap)"),
    "list of graphs": (_list_of_graphs, "contains control flow (Odd)"),
}
_UNFIT = {
    "float input": (_input(_FLOAT, "N", 32, 32, 3), "takes float [?, 32, 32, 3] as its input"),
    "no batch": (_input(_UINT8, 32, 32, 3), "takes uint8 [32, 32, 3] as its input"),
    "channels first": (_input(_UINT8, "N", 3, 32, 32), "takes uint8 [?, 3, 32, 32]"),
    "free height": (_input(_UINT8, "N", "H", 32, 3), "takes uint8 [?, ?, 32, 3]"),
    "negative height": (_input(_UINT8, "N", -5, 32, 3), "takes uint8 [?, -5, 32, 3]"),
    "two inputs": (_two_inputs, "has 2 inputs, not one"),
    "no input": (_no_input, "has 0 inputs, not one"),
    "features per place": (_last(_UNFLAT, "N", 3, 2, 2), "has no output of the shape"),
    "no features axis": (_last(_MEAN, "N"), "has no output of the shape"),
    "free features axis": (_output(_FLOAT, "N", "D"), "has no output of the shape"),
    "other shape": (_output(_FLOAT, "N", 3, 2, 2), "declares the output features as [0, 3, 2, 2]"),
    "other rank": (_output(_FLOAT, "N"), "but gives [1, 12] for one image"),
    "whole numbers": (_output(_UINT8, "N", 12), "against its definition"),
}
_REFUSED = {**_UNSAFE, **_UNFIT}


@pytest.mark.parametrize(("change", "words"), _REFUSED.values(), ids=_REFUSED.keys())
def test_unsafe_or_unfit_network_is_refused_by_name(
    change: Callable[[onnx.ModelProto], None], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(changed(change))
    with pytest.raises(BackboneError) as caught:
        load_backbone(str(path))
    assert words in caught.value.what
    assert str(path) in caught.value.what
    assert caught.value.hint


_NO_NETWORK = {
    "empty": b"",
    "words": b"just some words",
    "garbage": bytes(range(256)),
    "cut off": fake_backbone()[:200],
    "no nodes": onnx.ModelProto(ir_version=9).SerializeToString(),
}


@pytest.mark.parametrize("data", _NO_NETWORK.values(), ids=_NO_NETWORK.keys())
def test_what_is_no_network_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(data)
    with pytest.raises(BackboneError, match="is not an ONNX file") as caught:
        load_backbone(str(path))
    assert str(path) in caught.value.what


def test_enormous_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keshikaran.backbones.graph.MAX_MODEL_BYTES", 100)
    with pytest.raises(BackboneError, match=r"theirs\.onnx has .* bytes; the limit is 100"):
        read_graph(fake_backbone(), "theirs.onnx")


def test_enormous_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    with path.open("wb") as file:
        file.truncate(1_600_000_000)
    with pytest.raises(BackboneError, match="is not a file of at most 1,500,000,000 bytes"):
        load_backbone(str(path))


def test_folder_with_the_name_of_a_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(BackboneError, match="is not a file") as caught:
        load_backbone(str(tmp_path / "folder.onnx"))
    assert caught.value.hint


def test_weights_listed_as_inputs_are_no_inputs() -> None:
    def list_weights(model: onnx.ModelProto) -> None:
        model.graph.input.append(helper.make_tensor_value_info("white", TensorProto.FLOAT, []))

    _, signature = read_graph(changed(list_weights), "theirs.onnx")
    assert signature.input_name == "images"


def test_signature_tells_what_goes_in_and_out() -> None:
    _, signature = read_graph(scoring_model().SerializeToString(), "model.onnx")
    assert (signature.height, signature.width) == (FAKE_SIDE, FAKE_SIDE)
    assert signature.outputs == {"score": (), "features": (FAKE_DIM,)}


# Where a backbone comes from


def test_default_backbone_is_in_the_package() -> None:
    backbone = load_backbone()
    assert backbone.name == DEFAULT_BACKBONE
    assert (backbone.height, backbone.width, backbone.dim) == (224, 224, 1280)
    assert backbone.licence == "Apache-2.0"
    assert backbone.digest == hashlib.sha256(backbone.model).hexdigest()


def test_backbone_from_a_file(backbone_file: Path) -> None:
    backbone = load_backbone(str(backbone_file))
    assert (backbone.name, backbone.licence) == ("quadrants", "unknown")
    assert (backbone.height, backbone.width, backbone.dim) == (FAKE_SIDE, FAKE_SIDE, FAKE_DIM)
    assert backbone.output == "features"
    assert backbone.model == backbone_file.read_bytes()


def test_extension_may_be_in_capitals(tmp_path: Path) -> None:
    path = tmp_path / "THEIRS.ONNX"
    path.write_bytes(fake_backbone())
    assert load_backbone(str(path)).name == "THEIRS"


def _second_output(name: str, *shape: int | str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        rename(model, "features", "pooled")
        source = "pooled" if len(shape) == 2 else "means"
        model.graph.node.append(helper.make_node("Identity", [source], [name]))
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
        model.graph.output.append(value)

    return change


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (_second_output("features", "N", FAKE_DIM), "features"),
        (_second_output("logits", "N", FAKE_DIM), "pooled"),
        (_second_output("map", "N", 3, 2, 2), "pooled"),
    ],
)
def test_output_called_features_is_preferred_else_the_first_flat_one(
    change: Callable[[onnx.ModelProto], None], output: str, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(changed(change))
    assert load_backbone(str(path)).output == output


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(BackboneError, match="no backbone named resnet") as caught:
        load_backbone("resnet")
    assert DEFAULT_BACKBONE in caught.value.hint


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"nowhere\.onnx cannot be read"):
        load_backbone(str(tmp_path / "nowhere.onnx"))


# Engines


@pytest.fixture(scope="module", params=_ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return open_engine(fake_backbone(), engine=request.param, streams=2)


def test_features_are_what_the_network_computes(engine: Engine) -> None:
    images = noise(3)
    features = engine.infer(images)["features"]
    assert features.dtype == np.float32
    assert np.abs(features - quadrant_means(images)).max() < 1e-5


def test_features_are_the_same_alone_and_in_a_batch(engine: Engine) -> None:
    images = noise(5)
    together = engine.infer(images)["features"]
    alone = [engine.infer(images[index : index + 1])["features"][0] for index in range(5)]
    assert np.array_equal(together, alone)
    assert np.array_equal(engine.infer(images[::-1])["features"], together[::-1])


def test_pixels_may_be_a_view_of_others(engine: Engine) -> None:
    images = noise(3)
    mirrored = engine.infer(images[:, :, ::-1])["features"]
    assert np.abs(mirrored - quadrant_means(images[:, :, ::-1])).max() < 1e-5


def test_engine_can_be_used_from_several_threads(engine: Engine) -> None:
    images = noise(40)
    expected = engine.infer(images)["features"]

    def one(index: int) -> Float32Array:
        row: Float32Array = engine.infer(images[index : index + 1])["features"][0]
        return row

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one, range(len(images))))
    assert np.array_equal(found, expected)


def test_answers_stay_as_they_are_when_the_engine_is_used_again(engine: Engine) -> None:
    first = engine.infer(noise(1, seed=1))["features"]
    kept = first.copy()
    engine.infer(noise(1, seed=2))
    assert np.array_equal(first, kept)


def test_engine_says_what_it_is(engine: Engine) -> None:
    assert engine.name in _ENGINES
    assert (engine.precision, engine.streams) == ("f32", 2)


@pytest.fixture(scope="module")
def made_pictures() -> UInt8Array:
    spec = PixelSpec(224, 224)
    pictures = [reddish(1), bluish(2), reddish(3), bluish(4), reddish(5)]  # more than a batch
    return np.stack([read_pixels(encode(picture, "JPEG"), spec) for picture in pictures])


@pytest.fixture(scope="module")
def embedded_features(made_pictures: UInt8Array) -> dict[str, Float32Array]:
    model = load_backbone().model
    return {
        name: open_engine(model, engine=name, streams=1).infer(made_pictures)["features"]
        for name in _ENGINES
    }


def test_engines_agree_on_the_embedded_backbone(
    embedded_features: dict[str, Float32Array],
) -> None:
    first, second = (embedded_features[name] for name in _ENGINES)
    assert first.shape == (5, 1280)
    assert first.std() > 0.1
    assert np.abs(first - second).max() <= 1e-3


def test_embedded_backbone_gives_the_same_alone_and_in_a_batch(
    made_pictures: UInt8Array, embedded_features: dict[str, Float32Array]
) -> None:
    engine = open_engine(load_backbone().model, engine="openvino", streams=2)
    alone = engine.infer(made_pictures[1:2])["features"]
    assert np.array_equal(alone[0], embedded_features["openvino"][1])


def test_bf16_runs_where_the_processor_has_it_and_says_so_elsewhere(
    made_pictures: UInt8Array, embedded_features: dict[str, Float32Array]
) -> None:
    model = load_backbone().model
    if not has_bf16():
        with pytest.raises(BackboneError, match="no bfloat16"):
            open_engine(model, engine="openvino", precision="bf16", streams=1)
        return
    engine = open_engine(model, engine="openvino", precision="bf16", streams=1)
    assert engine.precision == "bf16"
    exact = embedded_features["openvino"]
    together = engine.infer(made_pictures)["features"]
    assert 0 < np.abs(together - exact).mean() < 0.1 * exact.std()
    assert engine.batch_size == 4
    turned = engine.infer(made_pictures[::-1].copy())["features"][::-1]
    alone = np.concatenate([engine.infer(picture[None])["features"] for picture in made_pictures])
    assert np.array_equal(together, alone)
    assert np.array_equal(together, turned)


def test_bf16_is_refused_on_a_processor_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keshikaran.backbones.openvino_engine.has_bf16", lambda _: False)
    with pytest.raises(BackboneError, match="no bfloat16") as caught:
        open_engine(fake_backbone(), engine="openvino", precision="bf16")
    assert "f32" in caught.value.hint


def test_bf16_is_refused_by_onnx_runtime() -> None:
    with pytest.raises(BackboneError, match="ONNX Runtime runs bf16 on no processor"):
        open_engine(fake_backbone(), engine="onnxruntime", precision="bf16")


def test_onnx_runtime_alone_would_not_open_other_files_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beside(model: onnx.ModelProto) -> None:
        tensor = _external(model.graph.initializer[0])
        tensor.external_data[0].value = "white.bin"

    monkeypatch.chdir(tmp_path)
    (tmp_path / "white.bin").write_bytes(np.float32(255).tobytes())
    with pytest.raises(BackboneError, match="ONNX Runtime cannot run this network"):
        open_engine(changed(beside), engine="onnxruntime")


def _unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "NoSuchOperator"


@pytest.mark.parametrize("name", _ENGINES)
def test_network_that_an_engine_cannot_run_is_refused_with_the_cause(name: EngineName) -> None:
    with pytest.raises(BackboneError, match=r"cannot run this network: .*NoSuchOperator") as caught:
        open_engine(changed(_unknown_operator), engine=name)
    assert caught.value.hint


def _installed(*present: str) -> Callable[[str], object]:
    def find_spec(name: str) -> object:
        return name if name in present else None

    return find_spec


def _cuda_build(*, installed: bool) -> Callable[[str], str]:
    def version(name: str) -> str:
        if name != "onnxruntime-gpu" or not installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.22.0"

    return version


@pytest.mark.parametrize(
    ("packages", "chosen"),
    [(("openvino", "onnxruntime"), "openvino"), (("onnxruntime",), "onnxruntime")],
)
def test_the_fastest_engine_that_is_installed_is_chosen(
    packages: tuple[str, ...], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", _cuda_build(installed=False))
    monkeypatch.setattr("importlib.util.find_spec", _installed(*packages))
    assert open_engine(fake_backbone()).name == chosen


def test_openvino_is_taken_where_it_is_asked_for_beside_a_cuda_build(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.metadata.version", _cuda_build(installed=True))
    assert open_engine(fake_backbone(), engine="openvino").name == "openvino"


@pytest.mark.parametrize("name", ["auto", "onnxruntime"])
def test_missing_engine_names_the_extra(name: EngineName, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", _cuda_build(installed=False))
    monkeypatch.setattr("importlib.util.find_spec", _installed())
    with pytest.raises(MissingExtraError, match=r"keshikaran\[onnxruntime\]"):
        open_engine(fake_backbone(), engine=name)


def test_openvino_asked_for_and_not_installed_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", _installed("onnxruntime"))
    with pytest.raises(BackboneError, match="openvino is not installed"):
        open_engine(fake_backbone(), engine="openvino")


def test_every_engine_name_can_be_opened() -> None:
    assert set(ENGINE_NAMES) == {"auto", *_ENGINES}
    for name in ENGINE_NAMES:
        assert open_engine(fake_backbone(), engine=name).streams == usable_cores()


def test_processors_are_counted_where_affinity_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
