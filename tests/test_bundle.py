"""The model file: what was written is what is read, and nothing else is accepted."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from bundle_support import (
    SHAPE,
    bundle,
    manifest,
    opened,
    packed,
    resealed,
    right_answer,
    scoring_model,
)
from keshikaran.backbones import Engine
from keshikaran.bundle import (
    DIGEST_KEY,
    METADATA_KEY,
    SCHEMA_VERSION,
    SelfTest,
    check_self_test,
    pack,
    parse_bundle,
    read_bundle,
    run_self_test,
    self_test_pixels,
    write_bundle,
)
from keshikaran.errors import BundleError, StoreError
from keshikaran.hashing import image_id_of
from keshikaran.pixels import PIXEL_CONTRACT_VERSION, PixelSpec
from keshikaran.types import Float32Array, Precision, Thresholds, UInt8Array
from support import FAKE_SIDE, fake_backbone

_OUR_KEYS = [METADATA_KEY, DIGEST_KEY]


def _with_manifest(text: str) -> bytes:
    """A bundle whose manifest is any text."""
    return resealed(lambda model: helper.set_model_props(model, {METADATA_KEY: text}))


def _with_fields(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A bundle whose manifest was changed by hand."""
    fields = json.loads(manifest().to_json())
    change(fields)
    return _with_manifest(json.dumps(fields))


def _refusal(data: bytes) -> BundleError:
    with pytest.raises(BundleError) as caught:
        parse_bundle(data, "theirs.onnx")
    assert "theirs.onnx" in caught.value.what
    assert caught.value.hint
    return caught.value


# Round trip


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "models" / "model.onnx"
    write_bundle(path, packed())
    read = read_bundle(path)
    assert read.manifest == manifest()
    assert read.model == path.read_bytes() == packed()
    assert [entry.name for entry in path.parent.iterdir()] == ["model.onnx"]
    check_self_test(read, opened(read.model))


def test_manifest_keeps_its_types() -> None:
    read = bundle(resize_mode="pad").manifest
    assert read.thresholds == Thresholds(0.25, 0.75)
    assert isinstance(read.self_test, SelfTest)
    assert read.pixels == PixelSpec(FAKE_SIDE, FAKE_SIDE, "pad")
    assert read.schema == SCHEMA_VERSION


def test_manifest_is_canonical_json() -> None:
    text = manifest().to_json()
    fields = json.loads(text)
    assert text == json.dumps(fields, sort_keys=True, separators=(",", ":"))
    with pytest.raises(ValueError, match="JSON compliant"):
        manifest(prevalence=math.nan).to_json()


def test_bundle_is_valid_onnx_that_tells_about_itself() -> None:
    model = onnx.load_model_from_string(packed())
    onnx.checker.check_model(model)
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(notes["keshikaran"])["classes"]["1"] == "objectionable"


def test_packing_keeps_other_notes_and_replaces_an_old_manifest() -> None:
    graph = onnx.load_model_from_string(packed(model_id="old"))
    helper.set_model_props(graph, {METADATA_KEY: "old", "author": "somebody"})
    model = onnx.load_model_from_string(pack(graph, manifest(model_id="new")))
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert notes["author"] == "somebody"
    assert json.loads(notes[METADATA_KEY])["model_id"] == "new"
    assert sorted(entry.key for entry in model.metadata_props) == ["author", *_OUR_KEYS]


def test_packing_leaves_the_graph_it_was_given() -> None:
    before = scoring_model().SerializeToString(deterministic=True)
    pack(scoring_model(), manifest())
    assert scoring_model().SerializeToString(deterministic=True) == before


def test_fields_that_a_later_version_may_add_are_ignored() -> None:
    data = _with_fields(lambda fields: fields.update(mood="good"))
    assert parse_bundle(data, "theirs.onnx").manifest == manifest()


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(StoreError, match="could not be written"):
        write_bundle(tmp_path / "models" / "model.onnx", packed())


# No bundle at all


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere\.onnx cannot be read: No such file") as caught:
        read_bundle(tmp_path / "nowhere.onnx")
    assert "--model" in caught.value.hint


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(tmp_path)


def test_text_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("This is not a model.")
    with pytest.raises(BundleError, match=r"notes\.txt is not a keshikaran model"):
        read_bundle(path)


def test_enormous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keshikaran.bundle.MAX_BUNDLE_BYTES", 1_000)
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(1_001))
    with pytest.raises(BundleError, match=r"model\.onnx is larger than 1,000 bytes"):
        read_bundle(path)


def test_network_that_is_not_ours() -> None:
    assert "not a keshikaran model" in _refusal(fake_backbone()).what


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_part_of_a_bundle(share: float) -> None:
    data = packed()
    _refusal(data[: int(len(data) * share)])


def test_unsafe_network_with_a_good_manifest() -> None:
    def foreign(model: onnx.ModelProto) -> None:
        model.graph.node[0].domain = "com.example"

    assert "from outside ONNX" in _refusal(resealed(foreign)).what


# Damaged manifests

_NO_MANIFEST = {
    "empty": "",
    "cut off": manifest().to_json()[:100],
    "list": "[]",
    "words": '"words"',
    "very deep": "[" * 100_000,
    "enormous number": '{"schema":' + "1" * 5_000 + "}",
}


@pytest.mark.parametrize("text", _NO_MANIFEST.values(), ids=_NO_MANIFEST.keys())
def test_manifest_that_is_no_json_object(text: str) -> None:
    assert "the manifest is" in _refusal(_with_manifest(text)).what


@pytest.mark.parametrize("name", sorted(json.loads(manifest().to_json())))
def test_manifest_without_one_of_its_fields(name: str) -> None:
    data = _with_fields(lambda fields: fields.pop(name))
    assert f"the manifest is damaged ('{name}' is missing)" in _refusal(data).what


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema", 0),
        ("schema", "2"),
        ("schema", True),
        ("schema", None),
        ("model_id", 7),
        ("model_id", ""),
        ("model_id", "../model"),
        ("model_id", "a" * 101),
        ("created", 20260101),
        ("keshikaran_version", None),
        ("classes", {"0": "acceptable"}),
        ("classes", {"0": "acceptable", "1": "objectionable", "2": "else"}),
        ("classes", {"0": "acceptable", "1": 1}),
        ("classes", ["acceptable", "objectionable"]),
        ("thresholds_chosen_for", "a" * 10_001),
        ("policy", "mine"),
        ("prevalence", 1.01),
        ("prevalence", -0.1),
        ("prevalence", True),
        ("prevalence", "0.5"),
        ("prevalence", math.inf),
        ("pixel_contract", 1.0),
        ("pixel_contract", True),
        ("pixel_contract", -1),
        ("backbones", [{"name": "fake", "digest": "00"}]),
        ("backbones", [{"name": "fake", "digest": "00", "licence": None}]),
        ("backbones", {}),
        ("backbones", []),
        ("backbones", 2 * [{"name": "fake", "digest": "00", "licence": "unknown"}]),
        ("parts", []),
        ("parts", 9 * [{"backbone": 0, "input": 0, "features": 12}]),
        ("parts", [{"backbone": 0, "input": 0}]),
        ("parts", [{"backbone": 0, "input": 0, "features": 0}]),
        ("parts", [{"backbone": 1, "input": 0, "features": 12}]),
        ("parts", [{"backbone": 0, "input": 1, "features": 12}]),
        ("parts", [{"backbone": -1, "input": 0, "features": 12}]),
        ("parts", [{"backbone": True, "input": 0, "features": 12}]),
        ("recipe", []),
        ("training_set", None),
        ("split", {"train": {"0": -1}}),
        ("split", {"train": {"0": 1.5}}),
        ("split", {"train": 5}),
        ("split", []),
        ("metrics", 0.99),
        ("licence", 7),
        ("precision", "f8"),
        ("precision", []),
        ("inputs", {}),
        ("inputs", [{**SHAPE, "resize_mode": "squash"}]),
        ("inputs", [{**SHAPE, "resize_mode": None}]),
        ("inputs", [{**SHAPE, "height": "32"}]),
        ("inputs", [{**SHAPE, "height": 0}]),
        ("inputs", [{**SHAPE, "height": 5_000}]),
        ("inputs", [{**SHAPE, "width": 32.0}]),
        ("inputs", [{**SHAPE, "width": 0}]),
        ("inputs", [{**SHAPE, "beside": []}]),
        ("inputs", [SHAPE, SHAPE]),
        ("thresholds", None),
        ("thresholds", {}),
        ("thresholds", {"review": 0.7, "block": 0.2}),
        ("thresholds", {"review": "a", "block": "b"}),
        ("thresholds", {"review": 0.5, "block": 1.5}),
        ("thresholds", {"review": -0.5, "block": 0.5}),
        ("thresholds", {"review": False, "block": True}),
        ("thresholds", {"review": 0.2, "block": 0.5, "hide": 0.1}),
        ("thresholds", {"review": math.nan, "block": 0.5}),
        ("self_test", None),
        ("self_test", {"score": 0.5}),
        ("self_test", {"score": 0.5, "features": []}),
        ("self_test", {"score": 0.5, "features": "abc"}),
        ("self_test", {"score": 0.5, "features": {"0": 1}}),
        ("self_test", {"score": 0.5, "features": [[0.5]]}),
        ("self_test", {"score": "high", "features": [0.5]}),
        ("self_test", {"score": None, "features": [0.5]}),
        ("self_test", {"score": 1.5, "features": [0.5]}),
        ("self_test", {"score": 10**400, "features": [0.5]}),
        ("self_test", {"score": 0.5, "features": [math.nan]}),
        ("self_test", {"score": 0.5, "features": [10**400]}),
        ("self_test", {"score": 0.5, "features": [0.5] * 17}),
    ],
)
def test_manifest_with_a_wrong_value(name: str, value: object) -> None:
    data = _with_fields(lambda fields: fields.update({name: value}))
    assert "the manifest is damaged" in _refusal(data).what


def test_bundle_of_a_newer_version_asks_for_an_update() -> None:
    refusal = _refusal(_with_fields(lambda fields: fields.update(schema=SCHEMA_VERSION + 1)))
    assert "newer version" in refusal.what
    assert refusal.hint == "Update keshikaran."


def test_bundle_of_a_version_before_the_first_release_asks_for_training() -> None:
    refusal = _refusal(_with_fields(lambda fields: fields.update(schema=1)))
    assert "before the first release" in refusal.what
    assert "keshikaran train" in refusal.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema":2,"schema":2}', "a key is given twice"),
        ('{"schema":2,"policy":{"a":1,"a":2}}', "a key is given twice"),
        ('{"schema":2,"metrics":1e999}', "a number is too large"),
        ('{"schema":2,"metrics":-Infinity}', "-Infinity is not a number"),
        ('{"schema":2,"metrics":' + "[" * 17 + "]" * 17 + "}", "nested more than 16 deep"),
        ('{"schema":"' + "a" * 1_000_000 + '"}', "more than 1,000,000 characters"),
    ],
)
def test_manifest_that_a_careless_reader_could_misread(text: str, words: str) -> None:
    assert words in _refusal(_with_manifest(text)).what


def test_bundle_made_for_other_decoding_rules() -> None:
    refusal = _refusal(packed(pixel_contract=PIXEL_CONTRACT_VERSION + 1))
    assert f"wants pixel contract {PIXEL_CONTRACT_VERSION + 1}" in refusal.what


def _without_score(model: onnx.ModelProto) -> None:
    del model.graph.output[0]


def _without_features(model: onnx.ModelProto) -> None:
    del model.graph.output[1]


def _with_two_scores(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 2])
    model.graph.output[0].CopyFrom(value)


def _with_a_third_output(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("keshikaran_head_sum", TensorProto.FLOAT, ["N"])
    model.graph.output.append(value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_score, "does not fit its manifest"),
        (_without_features, "does not fit its manifest"),
        (_with_two_scores, "declares the output score as [0, 2]"),
        (_with_a_third_output, "does not fit its manifest"),
    ],
)
def test_graph_without_the_right_outputs(
    change: Callable[[onnx.ModelProto], None], words: str
) -> None:
    assert words in _refusal(resealed(change)).what


@pytest.mark.parametrize("count", [1, 5, 11])
def test_self_test_with_fewer_answers_than_features(count: int) -> None:
    answer = SelfTest(right_answer().score, right_answer().features[:count])
    assert "does not fit its manifest" in _refusal(packed(self_test=answer)).what


def test_graph_of_another_size_than_the_manifest_says() -> None:
    assert "does not fit its manifest" in _refusal(packed(width=64)).what


# Self-test


def test_self_test_picture_never_changes() -> None:
    pixels = self_test_pixels(224, 224)
    assert pixels.shape == (1, 224, 224, 3)
    assert pixels[0, 0, :3].tolist() == [[0, 83, 166], [5, 88, 171], [10, 93, 176]]
    assert pixels[0, 100, 50].tolist() == [(103 + 250 + 81 + plane) % 256 for plane in (0, 83, 166)]
    assert image_id_of(pixels.tobytes()) == (
        "e1a14071dada6124fd4083e1006d6da2ef0032fc76a8a0b5a1b56daf4fe3669e"
    )


def test_self_test_keeps_the_first_features() -> None:
    answer = run_self_test(opened(scoring_model()), FAKE_SIDE, FAKE_SIDE)
    assert answer == right_answer()
    assert len(answer.features) == 12


def _tamper(name: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == name:
                values = numpy_helper.to_array(tensor) * np.float32(-2)
                tensor.CopyFrom(numpy_helper.from_array(values, name))
                return
        pytest.fail(f"no weights named {name}")

    return change


@pytest.mark.parametrize("name", ["keshikaran_head_weights", "keshikaran_head_bias", "white"])
def test_tampered_weights_fail_the_self_test(name: str) -> None:
    tampered = parse_bundle(resealed(_tamper(name)), "theirs.onnx")
    with pytest.raises(BundleError, match="fails its self-test: score") as caught:
        check_self_test(tampered, opened(tampered.model))
    assert tampered.manifest.model_id in caught.value.what
    assert "copy it again" in caught.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        SelfTest(right_answer().score + 0.002, right_answer().features),
        SelfTest(right_answer().score, [*right_answer().features[:-1], 2.0]),
        SelfTest(0.0, right_answer().features),
    ],
)
def test_an_answer_that_is_off_fails_the_self_test(answer: SelfTest) -> None:
    theirs = bundle(self_test=answer)
    with pytest.raises(BundleError, match="fails its self-test"):
        check_self_test(theirs, opened(theirs.model))


class _Answering:
    """An engine with a ready answer."""

    name = "ready"
    streams = 1
    batch_size = 1

    def __init__(self, score: float, off: float = 0.0, precision: Precision = "f32") -> None:
        self.precision = precision
        self.outputs = {
            "score": np.array([score], dtype=np.float32),
            "features": np.array([right_answer().features], dtype=np.float32) + np.float32(off),
        }

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        assert images.shape == (1, FAKE_SIDE, FAKE_SIDE, 3)
        return self.outputs


class _Failing(_Answering):
    """An engine that fails when it runs."""

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        msg = f"cannot run {len(images)} images"
        raise RuntimeError(msg)


def _passes(engine: Engine, precision: Precision = "f32") -> bool:
    try:
        check_self_test(bundle(precision=precision), engine)
    except BundleError:
        return False
    return True


def test_engine_whose_answer_is_no_number_fails_the_self_test() -> None:
    score = right_answer().score
    assert _passes(_Answering(score))
    assert not _passes(_Answering(math.nan))
    assert not _passes(_Answering(score, off=math.nan))


def test_engine_that_fails_when_it_runs_fails_the_self_test() -> None:
    with pytest.raises(BundleError, match="cannot answer its self-test: cannot run 1 images"):
        check_self_test(bundle(), _Failing(0.5))


def test_other_precisions_are_allowed_a_larger_difference() -> None:
    score = right_answer().score
    off = score - 0.05
    assert not _passes(_Answering(off))
    assert _passes(_Answering(off, precision="bf16"))
    assert _passes(_Answering(off), precision="bf16")
    assert not _passes(_Answering(score - 0.2, precision="bf16"))
    assert not _passes(_Answering(score, off=0.01))
    assert _passes(_Answering(score, off=0.5, precision="bf16"))
    assert not _passes(_Answering(score, off=1.0, precision="bf16"))


def test_output_of_another_shape_than_declared_is_refused_before_it_runs() -> None:
    def one_score_more(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if list(node.output) == ["score"])
        node.output[0] = "flat"
        axis = "keshikaran_head_axis"
        model.graph.node.append(helper.make_node("Unsqueeze", ["flat", axis], ["score"]))

    assert "but gives [1, 1] for one image" in _refusal(resealed(one_score_more)).what


def test_engine_that_gives_fewer_features_fails_the_self_test() -> None:
    engine = _Answering(right_answer().score)
    engine.outputs["features"] = engine.outputs["features"][:, :5]
    with pytest.raises(BundleError, match="it gives 5 features instead of 12"):
        check_self_test(bundle(), engine)


# Damage


def test_every_flipped_bit_of_the_digest_and_the_manifests_end_is_refused() -> None:
    good = packed()
    for at in range(len(good) - 200, len(good)):
        for bit in range(8):
            data = bytearray(good)
            data[at] ^= 1 << bit
            with pytest.raises(BundleError, match="digest"):
                parse_bundle(bytes(data), "theirs.onnx")


@given(st.data())
def test_any_change_of_the_bytes_is_refused(data: st.DataObject) -> None:
    good = packed()
    at = data.draw(st.integers(0, len(good)))
    cut = data.draw(st.integers(0, 20))
    new = good[:at] + data.draw(st.binary(max_size=20)) + good[at + cut :]
    if new == good:
        assert parse_bundle(new, "theirs.onnx").manifest == manifest()
    else:
        with pytest.raises(BundleError):
            parse_bundle(new, "theirs.onnx")


def test_damage_is_told_as_damage() -> None:
    data = bytearray(packed())
    data[100] ^= 1
    refusal = _refusal(bytes(data))
    assert "is damaged, or was changed after it was made" in refusal.what
    assert "Copy it again" in refusal.hint


def test_digest_can_be_checked_with_other_tools() -> None:
    """What docs/model-file.md promises: SHA-256 of everything but the last 64 characters."""
    data = packed()
    assert data[-64:].decode() == hashlib.sha256(data[:-64]).hexdigest()
    notes = {entry.key: entry.value for entry in onnx.load_model_from_string(data).metadata_props}
    assert notes[DIGEST_KEY] == data[-64:].decode()


def test_digest_of_another_entry_is_not_the_files() -> None:
    def add(model: onnx.ModelProto) -> None:
        entry = model.metadata_props.add()
        entry.key, entry.value = DIGEST_KEY, "0" * 64

    assert "not a keshikaran model" in _refusal(resealed(add)).what
