"""The exported graph answers as the pipeline did, or is not written."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bundle_support import (
    HEAD,
    changed,
    fake,
    manifest,
    noise,
    opened,
    quadrant_means,
    rename,
    scoring_model,
)
from keshikaran.backbones import EngineName, load_backbone, open_engine, read_graph
from keshikaran.bundle import Manifest, SelfTest, read_bundle
from keshikaran.errors import BackboneError, BundleError, StoreError
from keshikaran.export import export_bundle
from keshikaran.head import Bend, Head, predict_proba
from keshikaran.pixels import InProcessDecoder, PixelSpec, read_pixels
from keshikaran.scoring_graph import build_scoring_graph, read_head
from keshikaran.types import Float64Array
from support import FAKE_DIM, FAKE_SIDE, bluish, encode, fake_backbone, reddish

_ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")


def _by_hand(head: Head, features: Float64Array) -> Float64Array:
    probability: Float64Array = 1 / (1 + np.exp(-(features @ head.weights + head.bias)))
    return probability


@pytest.mark.parametrize("engine", _ENGINES)
def test_score_of_a_head_with_two_slopes_is_bent_in_the_graph(engine: EngineName) -> None:
    head = Head(HEAD.weights, HEAD.bias, Bend(0.5, 2.0, -0.3))
    images = noise(16)
    model = build_scoring_graph(fake(), head).SerializeToString()
    found = open_engine(model, engine=engine).infer(images)["score"]
    assert np.abs(found - predict_proba(head, quadrant_means(images))).max() < 1e-5
    assert np.abs(found - predict_proba(HEAD, quadrant_means(images))).max() > 1e-2


@pytest.mark.parametrize("bend", [None, Bend(0.5, 2.0, -0.25)])
def test_head_can_be_read_back_from_the_graph(bend: Bend | None) -> None:
    head = Head(HEAD.weights, HEAD.bias, bend)
    found = read_head(build_scoring_graph(fake(), head).SerializeToString(), "model.onnx")
    assert found.weights.tolist() == HEAD.weights.astype(np.float32).tolist()
    assert found.bias == pytest.approx(HEAD.bias)
    assert found.bend == bend


def test_graph_without_a_head_of_ours_is_refused() -> None:
    with pytest.raises(BundleError, match=r"plain\.onnx has no head that keshikaran joined"):
        read_head(fake_backbone(), "plain.onnx")


@pytest.mark.parametrize("engine", _ENGINES)
def test_score_is_the_sigmoid_of_the_weighted_features(engine: EngineName) -> None:
    images = noise(4)
    outputs = open_engine(scoring_model().SerializeToString(), engine=engine).infer(images)
    expected = quadrant_means(images)
    assert outputs["score"].shape == (4,)
    assert outputs["score"].dtype == np.float32
    assert np.abs(outputs["features"] - expected).max() < 1e-5
    assert np.abs(outputs["score"] - _by_hand(HEAD, expected)).max() < 1e-5


@pytest.mark.parametrize("engine", _ENGINES)
def test_extreme_logits_give_nought_and_one(engine: EngineName) -> None:
    for bias, expected in ((-5_000.0, 0.0), (5_000.0, 1.0)):
        graph = build_scoring_graph(fake(), Head(np.zeros(FAKE_DIM), bias))
        outputs = open_engine(graph.SerializeToString(), engine=engine).infer(noise(2))
        assert outputs["score"].tolist() == [expected, expected]


def test_graph_says_what_it_takes_and_gives() -> None:
    _, signature = read_graph(scoring_model().SerializeToString(), "model.onnx")
    assert signature.input_name == "images"
    assert list(signature.outputs) == ["score", "features"]


def test_embedded_backbone_scores_as_the_head_does_on_its_features() -> None:
    backbone = load_backbone()
    head = Head(np.random.default_rng(0).normal(0, 0.05, backbone.dim), 0.1)
    image = read_pixels(encode(reddish(1)), PixelSpec(224, 224))[None]
    features = opened(backbone.model).infer(image)["features"]
    expected = predict_proba(head, features)[0]
    assert 0.01 < expected < 0.99
    found = opened(build_scoring_graph(backbone, head)).infer(image)["score"][0]
    assert abs(found - expected) < 1e-4


def _older_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 11


def _one_image_only(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _names_of_its_own(model: onnx.ModelProto) -> None:
    rename(model, "images", "input")
    rename(model, "features", "embedding")


def _names_taken(model: onnx.ModelProto) -> None:
    _names_of_its_own(model)
    rename(model, "floats", "images")
    rename(model, "planes", "features")
    rename(model, "unit", "score")


def _features_called_score(model: onnx.ModelProto) -> None:
    rename(model, "features", "score")


def _weights_among_the_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("white", TensorProto.FLOAT, []))


def _other_outputs(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("means", TensorProto.FLOAT, ["N", 3, 2, 2])
    model.graph.output.append(value)


@pytest.mark.parametrize("engine", _ENGINES)
@pytest.mark.parametrize(
    "change",
    [
        _older_opset,
        _one_image_only,
        _names_of_its_own,
        _names_taken,
        _features_called_score,
        _weights_among_the_inputs,
        _other_outputs,
    ],
)
def test_backbones_of_other_makes_score_the_same(
    change: Callable[[onnx.ModelProto], None], engine: EngineName
) -> None:
    graph = build_scoring_graph(fake(changed(change)), HEAD)
    images = noise(3)
    outputs = open_engine(graph.SerializeToString(), engine=engine).infer(images)
    assert set(outputs) == {"score", "features"}
    assert np.abs(outputs["score"] - _by_hand(HEAD, quadrant_means(images))).max() < 1e-5


def test_any_number_of_images_goes_in_though_the_backbone_said_one() -> None:
    graph = build_scoring_graph(fake(changed(_one_image_only)), HEAD).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_backbone_that_uses_the_names_of_the_head_is_refused() -> None:
    def take_name(model: onnx.ModelProto) -> None:
        rename(model, "floats", "keshikaran_head_sum")

    with pytest.raises(BackboneError, match=r"The head cannot be joined to fake: .*head_sum"):
        build_scoring_graph(fake(changed(take_name)), HEAD)


# Writing

_DECODER = InProcessDecoder()


def _describe(answer: SelfTest) -> Manifest:
    return manifest(answer)


def _proof(count: int = 3) -> list[tuple[bytes, float]]:
    spec = PixelSpec(FAKE_SIDE, FAKE_SIDE)
    files = [encode(paint(seed)) for seed in range(count) for paint in (reddish, bluish)]
    features = quadrant_means(np.stack([read_pixels(data, spec) for data in files]))
    return list(zip(files, _by_hand(HEAD, features).tolist(), strict=True))


def test_exported_bundle_can_be_read_and_says_what_was_described(tmp_path: Path) -> None:
    path = tmp_path / "models" / "model.onnx"
    written = export_bundle(path, scoring_model(), _describe, opened, _proof(), _DECODER)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.onnx"]
    read = read_bundle(path)
    assert read.manifest == written
    found = opened(read.model).infer(noise(1))
    assert np.array_equal(found["score"], opened(scoring_model()).infer(noise(1))["score"])


def test_self_test_is_the_answer_of_the_exported_graph(tmp_path: Path) -> None:
    written = export_bundle(
        tmp_path / "m.onnx", scoring_model(), _describe, opened, [], InProcessDecoder()
    )
    assert 0 < written.self_test.score < 1
    assert len(written.self_test.features) == FAKE_DIM


@pytest.mark.parametrize("wrong", [0.002, -0.002, math.nan])
def test_a_score_that_differs_is_told_and_nothing_is_written(tmp_path: Path, wrong: float) -> None:
    proof = _proof()
    proof[-1] = (proof[-1][0], proof[-1][1] + wrong)
    path = tmp_path / "models" / "model.onnx"
    with pytest.raises(BundleError, match="The exported model scores an image") as caught:
        export_bundle(path, scoring_model(), _describe, opened, proof, _DECODER)
    assert "Nothing was written" in caught.value.hint
    assert list(tmp_path.rglob("*")) == []


def test_a_score_within_the_tolerance_is_written(tmp_path: Path) -> None:
    proof = [(data, score + 0.0009) for data, score in _proof()]
    export_bundle(
        tmp_path / "model.onnx", scoring_model(), _describe, opened, proof, InProcessDecoder()
    )
    assert (tmp_path / "model.onnx").exists()


def test_a_model_written_before_is_kept_when_the_new_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_bundle(path, scoring_model(), _describe, opened, _proof(), _DECODER)
    before = path.read_bytes()
    data, score = _proof(1)[0]
    with pytest.raises(BundleError):
        export_bundle(
            path, scoring_model(), _describe, opened, [(data, 1 - score)], InProcessDecoder()
        )
    assert path.read_bytes() == before


def test_a_manifest_that_does_not_fit_is_not_written(tmp_path: Path) -> None:
    def describe(answer: SelfTest) -> Manifest:
        return manifest(answer, height=64)

    with pytest.raises(BundleError, match="does not fit its manifest"):
        export_bundle(
            tmp_path / "model.onnx", scoring_model(), describe, opened, [], InProcessDecoder()
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").write_bytes(b"a file where the folder should be")
    with pytest.raises(StoreError, match="could not be written"):
        export_bundle(
            tmp_path / "models" / "m.onnx",
            scoring_model(),
            _describe,
            opened,
            [],
            InProcessDecoder(),
        )


def test_the_same_model_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        graph = build_scoring_graph(fake(fake_backbone()), HEAD)
        export_bundle(tmp_path / name, graph, _describe, opened, [], _DECODER)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
