"""Several networks and shapes in one model: trained, cached, packed and asked as one."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from bundle_support import HEAD, fake, opened, packed, resealed, scoring_model
from cli_support import cli
from keshikaran import Predictor
from keshikaran.backbones import Engine, make_backbone, open_engine
from keshikaran.bundle import METADATA_KEY, parse_bundle, read_bundle
from keshikaran.errors import BackboneError, BundleError
from keshikaran.featurize import FeaturizeAhead, Featurizer, featurize
from keshikaran.ingest import import_source, scan_folder
from keshikaran.joined_graph import join_networks
from keshikaran.known import export_memory
from keshikaran.manifest import MOST_PARTS
from keshikaran.memory import read_memory
from keshikaran.parts import Part
from keshikaran.pixels import DecodedImage, InProcessDecoder, PixelSpec, decode_image
from keshikaran.presets import PartName, load_backbones
from keshikaran.recognition import key_of
from keshikaran.scoring_graph import build_joined_graph, build_scoring_graph
from keshikaran.store import FeatureCache, Store, Workspace
from keshikaran.training import TrainingOptions, TrainingResult, train
from keshikaran.types import Float32Array, SilentProgress, UInt8Array
from keshikaran.web.drift_watch import watch_drift
from known_support import copies, scene
from presets_support import (
    PLANES,
    QUADRANTS,
    REAL,
    TWO_PARTS,
    TWO_SHAPES,
    by_hand,
    use_fake_presets,
)
from serve_support import api, ask
from support import FAKE_SIDE, bluish, encode, reddish
from zoo_support import plane_means

_FILES = [
    encode(reddish(7_001).resize((90, 50)), "JPEG"),
    encode(bluish(7_002).resize((40, 80))),
    encode(reddish(7_003), "GIF", save_all=True, append_images=[bluish(7_004)]),
]


@pytest.fixture(scope="module", autouse=True)
def _fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_fake_presets(patch, tmp_path_factory.mktemp("networks"))
        yield


@pytest.fixture(scope="module")
def place(trained: TrainingResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained workspace: its features are those of the first part."""
    folder = tmp_path_factory.mktemp("presets") / "ws"
    shutil.copytree(trained.model_path.parent.parent, folder)
    return folder


@pytest.fixture(scope="module")
def accurate(place: Path) -> TrainingResult:
    return train(Workspace(place), (), TrainingOptions(preset="accurate"))


@pytest.fixture(scope="module")
def balanced(place: Path) -> TrainingResult:
    options = TrainingOptions(preset="balanced", tensorboard=False)
    return train(Workspace(place), (), options)


# One model, by all roads


def test_features_stand_side_by_side(accurate: TrainingResult, trained: TrainingResult) -> None:
    table = accurate.features
    assert table.matrix.shape == (240, 15)
    assert table.image_ids == trained.features.image_ids
    assert np.array_equal(table.matrix[:, :12], trained.features.matrix)
    assert np.array_equal(table.first_part, trained.features.matrix)
    assert trained.features.first_part is not None
    assert len(accurate.calibrated.head.weights) == 15


def test_score_is_what_the_head_makes_of_all_parts(
    accurate: TrainingResult, balanced: TrainingResult
) -> None:
    for done, parts in ((accurate, TWO_PARTS), (balanced, TWO_SHAPES)):
        head = done.calibrated.head
        with Predictor.load(done.model_path, isolation="off") as predictor:
            for data in _FILES[:2]:
                logit = float(by_hand(data, parts) @ head.weights + head.bias)
                score = predictor.predict(data).score
                assert score == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-4)


def test_every_road_gives_the_same_score(
    accurate: TrainingResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for number, data in enumerate(_FILES):
        paths.append(tmp_path / f"{number}.img")
        paths[-1].write_bytes(data)
    model = accurate.model_path
    with Predictor.load(model) as predictor:
        expected = [predictor.predict(path).score for path in paths]
        many = [prediction.score for prediction in predictor.predict_many(paths)]
        assert many == expected
        with Predictor.load(model, engine="onnxruntime", isolation="off") as other:
            assert [other.predict(path).score for path in paths] == pytest.approx(
                expected, abs=1e-3
            )
        served = [
            ask(api(lambda _: predictor), body=path.read_bytes()).json()["score"] for path in paths
        ]
    assert served == pytest.approx(expected, abs=1e-6)
    done = cli(capsys, "predict", "--model", model, "--json", *paths)
    told = [json.loads(line)["score"] for line in done.out.splitlines()]
    assert told == pytest.approx(expected, abs=1e-6)


def test_any_onnx_runtime_can_run_the_file(accurate: TrainingResult) -> None:
    session = onnxruntime.InferenceSession(accurate.model_path)
    given = [(value.name, value.shape[1:]) for value in session.get_inputs()]
    assert given == [("images", [32, 32, 3]), ("images_2", [8, 8, 3])]
    image = decode_image(_FILES[0], accurate.manifest.pixels)
    pixels = dict(zip(("images", "images_2"), image.inputs, strict=True))
    score, features = session.run(["score", "features"], pixels)
    with Predictor.load(accurate.model_path, isolation="off") as predictor:
        assert float(score[0]) == pytest.approx(predictor.predict(_FILES[0]).score, abs=1e-4)
    assert features[0] == pytest.approx(by_hand(_FILES[0], TWO_PARTS), abs=1e-4)


def test_of_an_animation_the_worst_frame_counts(accurate: TrainingResult) -> None:
    frames = [bluish(7_101), bluish(7_102), reddish(7_103), bluish(7_101)]
    data = encode(
        frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:],
        duration=[40, 50, 60, 70],
    )  # fmt: skip
    with Predictor.load(accurate.model_path, isolation="off") as predictor:
        alone = [predictor.predict(encode(frame)).score for frame in frames]
        assert predictor.predict(data).score == pytest.approx(max(s or 0 for s in alone), abs=1e-4)


def test_the_manifest_names_parts_networks_and_shapes(
    accurate: TrainingResult, balanced: TrainingResult
) -> None:
    manifest = read_bundle(accurate.model_path).manifest
    assert [one["name"] for one in manifest.backbones] == [QUADRANTS, PLANES]
    assert [part["features"] for part in manifest.parts] == [12, 3]
    assert manifest.pixels == PixelSpec(32, 32, "crop", (PixelSpec(8, 8, "stretch"),))
    assert manifest.lead == PixelSpec(32, 32, "crop")
    assert manifest.reference["dim"] == 12
    two = read_bundle(balanced.model_path).manifest
    assert [one["name"] for one in two.backbones] == [QUADRANTS]
    assert [shape["resize_mode"] for shape in two.inputs] == ["crop", "pad"]


def test_weights_of_a_network_with_two_shapes_are_there_once(balanced: TrainingResult) -> None:
    graph = onnx.load_model(balanced.model_path).graph
    weights = [t.name for t in graph.initializer if not t.name.startswith("keshikaran_head_")]
    assert weights == ["network_0/white"]
    assert sum(node.op_type == "AveragePool" for node in graph.node) == 2


# What one part gives is what it always gave


def test_one_part_gives_the_graph_of_its_network_alone() -> None:
    one = build_joined_graph([Part(fake(), PixelSpec(FAKE_SIDE, FAKE_SIDE))], HEAD)
    made = one.SerializeToString(deterministic=True)
    assert made == build_scoring_graph(fake(), HEAD).SerializeToString(deterministic=True)
    # As it was before a model could have several parts.
    assert hashlib.sha256(made).hexdigest() == (
        "953bf229b5097bacf67aea22aa060030254da030ad7a3b8f27fd748b03cd673c"
    )


def test_a_file_of_the_schema_before_gives_the_same_score() -> None:
    def as_before(model: onnx.ModelProto) -> None:
        (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
        fields = json.loads(entry.value)
        fields |= {"schema": 3, "backbone": fields["backbones"][0], **fields["inputs"][0]}
        for name in ("inputs", "backbones", "parts"):
            del fields[name]
        entry.value = json.dumps(fields, sort_keys=True, separators=(",", ":"))

    old = parse_bundle(resealed(as_before), "old.onnx")
    new = parse_bundle(packed(), "new.onnx")
    assert replace(old.manifest, schema=new.manifest.schema) == new.manifest
    engine = opened(scoring_model())
    first, second = Predictor(old, engine), Predictor(new, engine)
    assert first.predict(_FILES[0]) == second.predict(_FILES[0])


# The cache


class _Counts:
    """How many images each network saw, and how often images were decoded."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self.decoded = 0

    def open(self, model: bytes) -> Engine:
        return _Counting(self, open_engine(model, streams=1))


class _Counting:
    def __init__(self, counts: _Counts, engine: Engine) -> None:
        self.name, self.precision, self.streams = engine.name, engine.precision, engine.streams
        self.batch_size = engine.batch_size
        self._counts, self._engine = counts, engine

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        side = images.shape[1]
        self._counts.seen[side] = self._counts.seen.get(side, 0) + len(images)
        return self._engine.infer(images, *beside)


class _CountingDecoder(InProcessDecoder):
    def __init__(self, counts: _Counts) -> None:
        super().__init__()
        self._counts = counts

    def decode(self, data: bytes, spec: PixelSpec) -> DecodedImage:
        self._counts.decoded += 1
        return super().decode(data, spec)


def _featurizer(counts: _Counts, *parts: Part) -> Featurizer:
    first, *beside = parts
    how = (counts.open, _CountingDecoder(counts))
    return Featurizer(first.backbone, first.spec, "f32", *how, tuple(beside))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "w") as opened_store:
        folder = tmp_path / "pictures"
        folder.mkdir()
        for number in range(4):
            (folder / f"{number}.png").write_bytes(encode(reddish(number)))
        (folder / "moving.gif").write_bytes(
            encode(reddish(8), "GIF", save_all=True, append_images=[bluish(9), reddish(10)])
        )
        import_source(opened_store, scan_folder(folder))
        yield opened_store


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FeatureCache]:
    with FeatureCache(tmp_path / "features.sqlite") as opened_cache:
        yield opened_cache


@pytest.fixture
def parts() -> tuple[Part, Part]:
    small = make_backbone(PLANES, plane_means("Mul", [0.01, 0.02, 0.03]), "CC0", PLANES)
    return Part(fake(), PixelSpec(32, 32, "crop")), Part(small, PixelSpec(8, 8))


def test_only_what_a_further_part_lacks_is_computed(
    store: Store, cache: FeatureCache, parts: tuple[Part, Part]
) -> None:
    counts, ids = _Counts(), store.image_ids()
    alone = featurize(store, cache, _featurizer(counts, parts[0]), ids)
    assert counts.seen == {32: 7}  # four pictures and three frames
    both = featurize(store, cache, _featurizer(counts, *parts), ids)
    assert counts.seen == {32: 7, 8: 7}
    assert counts.decoded == 10
    assert (alone.cached, both.cached) == (0, 0)
    assert np.array_equal(both.matrix[:, :12], alone.matrix)
    again = featurize(store, cache, _featurizer(counts, *parts), ids)
    assert counts.decoded == 10
    assert again.cached == 5
    assert np.array_equal(again.matrix, both.matrix)


def test_an_image_is_decoded_once_for_all_parts_that_lack_it(
    store: Store, cache: FeatureCache, parts: tuple[Part, Part]
) -> None:
    counts = _Counts()
    table = featurize(store, cache, _featurizer(counts, *parts), store.image_ids())
    assert counts.decoded == 5
    assert counts.seen == {32: 7, 8: 7}
    assert table.matrix.shape == (7, 15)


def test_views_of_old_features_whose_order_is_not_known_are_computed_again(
    store: Store, cache: FeatureCache, parts: tuple[Part, Part]
) -> None:
    counts, ids = _Counts(), store.image_ids()
    featurize(store, cache, _featurizer(counts, parts[0]), ids)
    cache._db.connection.execute("DELETE FROM orders")
    featurize(store, cache, _featurizer(counts, parts[0]), ids)
    assert counts.seen == {32: 7}  # one part by itself needs no order
    featurize(store, cache, _featurizer(counts, *parts), ids)
    assert counts.seen == {32: 10, 8: 7}  # the three frames once more


def test_each_frame_meets_itself_in_the_other_part(
    store: Store, cache: FeatureCache, parts: tuple[Part, Part], tmp_path: Path
) -> None:
    dark, light = ((9, 9, 9), (240, 240, 240))
    wide = [Image.new("RGB", (96, 32), dark) for _ in range(3)]
    wide[1].paste(light, (0, 0, 20, 32))  # differs where the crop does not look
    wide[2].paste(light, (40, 0, 60, 32))
    data = encode(wide[0], "WEBP", lossless=True, save_all=True, append_images=wide[1:])
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "a.webp").write_bytes(data)
    import_source(store, scan_folder(tmp_path / "wide"))
    counts, ids = _Counts(), store.image_ids()
    for part in parts:
        featurize(store, cache, _featurizer(counts, part), ids)
    table = featurize(store, cache, _featurizer(counts, *parts), ids)
    fresh = FeatureCache(tmp_path / "fresh.sqlite")
    with fresh:
        at_once = featurize(store, fresh, _featurizer(counts, *parts), ids)
    assert np.array_equal(table.starts, at_once.starts)
    assert np.array_equal(table.matrix, at_once.matrix)
    image = decode_image(data, PixelSpec(32, 32, "crop", (PixelSpec(8, 8),)))
    assert len(image.views) == 3


def test_images_are_featurized_for_all_parts_while_they_are_imported(
    store: Store, cache: FeatureCache, parts: tuple[Part, Part]
) -> None:
    counts = _Counts()
    featurizer = _featurizer(counts, *parts)
    extensions = store.extension_of(store.image_ids())
    with FeaturizeAhead(store, cache, featurizer, SilentProgress()) as ahead:
        ahead.add([*extensions.items()])
        ahead.finish()
    assert len(ahead.computed) == counts.decoded == 5
    table = featurize(store, cache, featurizer, store.image_ids())
    assert (table.cached, table.matrix.shape, counts.decoded) == (5, (7, 15), 5)


# What goes by the first part alone


def test_known_images_of_one_preset_fit_models_of_all(
    scenes_workspace: Workspace, scenes: Path, tmp_path: Path
) -> None:
    shutil.copytree(scenes_workspace.folder, tmp_path / "ws")
    workspace, known = Workspace(tmp_path / "ws"), tmp_path / "known.bin"
    fast = workspace.latest_model()
    assert fast is not None
    options = TrainingOptions(preset="accurate", tensorboard=False)
    accurate = train(workspace, (), options).model_path
    report = export_memory(workspace, accurate, known, isolation="off")
    assert report.images == 60
    assert read_memory(known).key == key_of(read_bundle(fast).manifest)
    kept = scenes / "red" / "0007.jpg"
    for model in (accurate, fast):
        with Predictor.load(model, memory=known, isolation="off") as predictor:
            assert predictor.predict(kept).source == "exact"
            assert predictor.predict(copies(scene(7))["half"]).source == "near_duplicate"


def test_drift_is_watched_by_the_first_part(accurate: TrainingResult) -> None:
    with Predictor.load(accurate.model_path, isolation="off") as predictor:
        figures = watch_drift(predictor, 50)
        assert figures is not None
        for seed in range(50):
            predictor.predict(encode((reddish if seed % 2 else bluish)(9_000 + seed)))
        assert figures().images == 50


# What goes wrong


def test_a_network_that_is_not_there_is_named_with_the_command(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("KESHIKARAN_BACKBONES", str(tmp_path))
    with pytest.raises(BackboneError) as caught:
        load_backbones("accurate")
    assert caught.value.hint == "Run: keshikaran backbone add package:quadrants"
    done = cli(capsys, "train", "--preset", "accurate", "-w", place)
    assert done.code == 1
    assert "The preset accurate needs the backbone quadrants" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--backbone", "x.onnx"], "says itself which backbones and shapes"),
        (["--resize", "pad"], "says itself which backbones and shapes"),
        (["--finetune"], "Fine-tuning teaches one backbone; the preset balanced looks twice."),
    ],
)
def test_a_preset_leaves_nothing_to_choose(
    words: list[str], said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli(capsys, "train", "--preset", "balanced", *words, "-w", place)
    assert done.code == 2
    assert said in done.err


def test_a_model_is_judged_only_with_its_own_networks(
    accurate: TrainingResult,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    words = ("evaluate", "--model", accurate.model_path, "-w", place, "--json")
    done = cli(capsys, *words)
    assert done.code == 0, done.err
    area = json.loads(done.out)["test"]["roc_auc"]
    assert area == pytest.approx(accurate.evaluation.test.roc_auc)
    monkeypatch.setenv("KESHIKARAN_BACKBONES", str(tmp_path))
    done = cli(capsys, *words)
    assert done.code == 1
    assert "needs the backbone quadrants, which is not here" in done.err


def test_networks_for_different_operator_sets_are_not_joined(parts: tuple[Part, Part]) -> None:
    proto = onnx.load_model_from_string(parts[1].backbone.model)
    proto.opset_import[0].version = 16
    other = replace(parts[1].backbone, model=proto.SerializeToString(), digest="other")
    with pytest.raises(BackboneError, match="different ONNX operator sets"):
        join_networks([parts[0], Part(other, parts[1].spec)])


def test_a_graph_with_other_inputs_than_its_manifest_is_refused(accurate: TrainingResult) -> None:
    def swapped(model: onnx.ModelProto) -> None:
        first, second = model.graph.input[0], model.graph.input[1]
        kept = onnx.ValueInfoProto()
        kept.CopyFrom(first)
        first.CopyFrom(second)
        second.CopyFrom(kept)

    data = resealed(swapped, accurate.model_path.read_bytes())
    with pytest.raises(BundleError, match="does not fit its manifest"):
        parse_bundle(data, "theirs.onnx")


def test_more_inputs_than_any_model_has_are_refused(accurate: TrainingResult) -> None:
    def crowded(model: onnx.ModelProto) -> None:
        for number in range(3, 3 + MOST_PARTS):
            added = model.graph.input.add()
            added.CopyFrom(model.graph.input[0])
            added.name = f"images_{number}"

    data = resealed(crowded, accurate.model_path.read_bytes())
    with pytest.raises(BundleError, match="has 10 inputs, not 1 to 8"):
        parse_bundle(data, "theirs.onnx")


def test_a_model_of_several_shapes_is_no_backbone(accurate: TrainingResult) -> None:
    with pytest.raises(BackboneError, match="has 2 inputs, not one"):
        make_backbone("model", accurate.model_path.read_bytes(), "unknown", "model.onnx")


# The presets themselves


def test_all_presets_begin_with_what_fast_computed() -> None:
    usual = TrainingOptions()
    first = PartName(usual.backbone, usual.resize_mode)
    assert REAL["fast"] == (first,)
    assert [parts[0] for parts in REAL.values()] == [first] * 3
    assert all(len(set(parts)) == len(parts) <= MOST_PARTS for parts in REAL.values())
