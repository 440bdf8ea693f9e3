"""The whole way: what a training run makes of good, dirty, contradictory and missing images."""

from __future__ import annotations

import csv
import errno
import json
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
from onnx import TensorProto, helper, load_model_from_string
from PIL import Image

from cli_support import cli
from keshikaran import export, scoring_graph
from keshikaran.backbones import EngineName
from keshikaran.bundle import read_bundle
from keshikaran.errors import BackboneError, BundleError, NotEnoughImagesError, StoreError
from keshikaran.hashing import image_id_of
from keshikaran.head import predict_proba
from keshikaran.ingest import Source, scan_files, scan_folder
from keshikaran.pixels import read_pixels
from keshikaran.policy import Policy
from keshikaran.predictor import Predictor
from keshikaran.split import SplitScheme
from keshikaran.store import Store, Workspace
from keshikaran.training import TrainingOptions, TrainingResult, train
from keshikaran.types import Float32Array, ImageId, ProgressTask
from store_support import stored_files
from support import FAKE_DIM, bluish, encode, fake_backbone, quadrants, reddish, write_classes

_QUADRANTS = [(200, 30, 40), (60, 50, 20), (250, 10, 90), (120, 80, 100)]


@pytest.fixture(scope="session")
def quick(backbone_file: Path) -> TrainingOptions:
    """The fake backbone, and no TensorBoard run."""
    return TrainingOptions(backbone=str(backbone_file), tensorboard=False)


def _models(workspace: Path) -> list[Path]:
    folder = workspace / "models"
    return sorted(folder.iterdir()) if folder.is_dir() else []


# What a run says about itself


def test_result_has_the_keys_that_programs_read(trained: TrainingResult) -> None:
    found = json.loads(json.dumps(trained.to_dict(), allow_nan=False))
    assert {
        "model_id", "model_path", "report_path", "images", "split", "timing_s", "featurize",
        "metrics", "thresholds",
    } <= set(found)  # fmt: skip
    assert {"seen", "imported", "duplicates", "skipped"} <= set(found["images"])
    assert set(found["split"]) == {"train", "validation", "test"}
    assert all(set(counts) == {"0", "1"} for counts in found["split"].values())
    stages = {"import", "featurize", "fit", "evaluate", "bundle"}
    assert stages | {"total"} <= set(found["timing_s"])
    assert {"images", "cached", "images_per_s", "bound"} == set(found["featurize"])
    # The import ran beside it on the same processors: what was measured would be no bound.
    assert found["featurize"]["bound"] is None
    assert set(found["metrics"]) == {"validation", "test"}
    figures = {
        "roc_auc", "average_precision", "log_loss", "brier_score", "ece", "accuracy",
        "balanced_accuracy", "precision", "recall", "f1", "confusion_matrix",
    }  # fmt: skip
    assert figures <= set(found["metrics"]["test"])
    assert figures <= set(found["metrics"]["validation"])
    assert set(found["thresholds"]) == {"review", "block"}


def test_result_adds_up(trained: TrainingResult) -> None:
    found = trained.to_dict()
    images = found["images"]
    assert images["seen"] == images["imported"] == 240
    assert images["duplicates"] == images["skipped"] == 0
    assert sum(sum(counts.values()) for counts in found["split"].values()) == 240
    assert found["featurize"]["images"] == 240
    assert found["featurize"]["cached"] == 0
    stages = sum(value for name, value in found["timing_s"].items() if name != "total")
    assert stages <= found["timing_s"]["total"] + 1e-3
    for side in ("validation", "test"):
        counts = found["split"][side]
        assert found["metrics"][side]["images"] == counts["0"] + counts["1"]
        assert found["metrics"][side]["positives"] == counts["1"]


def test_model_learns_what_the_folders_show(trained: TrainingResult) -> None:
    assert trained.evaluation.test.roc_auc == 1.0
    assert trained.evaluation.test.accuracy == 1.0
    red, blue = trained.fit.head.weights[:4].mean(), trained.fit.head.weights[8:].mean()
    assert red > 0 > blue


def test_model_report_and_run_lie_where_the_result_says(trained: TrainingResult) -> None:
    workspace = trained.model_path.parent.parent
    assert trained.model_path == workspace / "models" / f"{trained.model_id}.onnx"
    assert trained.report_path == workspace / "reports" / f"{trained.model_id}.html"
    assert read_bundle(trained.model_path).manifest == trained.manifest
    assert trained.model_id in trained.report_path.read_text(encoding="utf-8")
    assert any((workspace / "runs" / trained.model_id).iterdir())
    assert Workspace(workspace).latest_model() == trained.model_path


def test_sources_are_left_as_they_were(trained: TrainingResult, red_and_blue: Path) -> None:
    assert trained.images.seen == 240
    files = sorted(path for path in red_and_blue.rglob("*") if path.is_file())
    assert [path.name for path in files] == [f"{n:04d}.png" for n in range(120)] * 2
    assert files[120].read_bytes() == encode(reddish(0))


# The same images give the same head


def _shuffled_copies(pictures: Path, to: Path) -> Path:
    """The same files under other names, in another order."""
    rng = np.random.default_rng(0)
    for name in ("blue", "red"):
        (to / name).mkdir(parents=True)
        files = sorted((pictures / name).iterdir())
        for number, index in enumerate(rng.permutation(len(files))):
            shutil.copyfile(files[index], to / name / f"z{number}.png")
    return to


def _shuffled_sources(pictures: Path) -> list[Source]:
    """The same files, one by one, in another order, the classes mixed."""
    files = [
        (path, name == "red") for name in ("red", "blue") for path in (pictures / name).iterdir()
    ]
    order = np.random.default_rng(1).permutation(len(files))
    parts = np.array_split(order, 8)
    return [
        scan_files([files[index][0] for index in part if files[index][1] == label], label)
        for part in parts
        for label in (1, 0)
    ]


@pytest.mark.parametrize("order", ["file names", "import"])
def test_head_is_bit_identical_whatever_the_order(
    order: str, trained: TrainingResult, red_and_blue: Path, quick: TrainingOptions, tmp_path: Path
) -> None:
    if order == "import":
        sources = _shuffled_sources(red_and_blue)
    else:
        sources = [scan_folder(_shuffled_copies(red_and_blue, tmp_path / "copies"), ["red"])]
    again = train(Workspace(tmp_path / "workspace"), sources, quick)
    assert again.fit.head.weights.tobytes() == trained.fit.head.weights.tobytes()
    assert again.fit.head.bias == trained.fit.head.bias
    assert again.fit.c == trained.fit.c
    assert again.evaluation.thresholds == trained.evaluation.thresholds
    assert again.manifest.training_set == trained.manifest.training_set
    assert again.manifest.metrics == trained.manifest.metrics
    assert again.model_id[-8:] == trained.model_id[-8:]


# Dirty folders


def _png_of_20000_by_20000() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def _turned(upright: Image.Image) -> bytes:
    """A JPEG whose pixels lie on their side, and whose EXIF block says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    return encode(stored, "JPEG", quality=95, exif=exif)


def _half_clear() -> bytes:
    """Transparent on the left, `_QUADRANTS` on the right."""
    image = quadrants(_QUADRANTS).convert("RGBA")
    image.putalpha(
        Image.fromarray(np.repeat([[0, 255]], 32, axis=1).repeat(64, 0).astype(np.uint8))
    )
    return encode(image)


def _odd_files() -> dict[str, bytes]:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    jpeg = encode(Image.fromarray(noise), "JPEG")
    grey16 = np.full((64, 64), 0x4040, dtype=np.uint16)
    return {
        "red/empty.jpg": b"",
        "red/text.jpg": b"This is no picture.\n",
        "blue/half.jpg": jpeg[: len(jpeg) // 2],
        "blue/huge.png": _png_of_20000_by_20000(),
        "red/cmyk.jpg": encode(quadrants(_QUADRANTS).convert("CMYK"), "JPEG", quality=95),
        "blue/deep.png": encode(Image.fromarray(grey16)),
        "red/clear.png": _half_clear(),
        "red/turned.jpg": _turned(quadrants(_QUADRANTS, side=160)),
        "red/copy.png": encode(reddish(0)),
        "red/disputed.png": encode(bluish(3)),
    }


@pytest.fixture(scope="module")
def odd_files() -> dict[str, bytes]:
    return _odd_files()


@pytest.fixture(scope="module")
def dirty_folder(tmp_path_factory: pytest.TempPathFactory, odd_files: dict[str, bytes]) -> Path:
    folder = write_classes(tmp_path_factory.mktemp("dirty"), 60)
    for name, data in odd_files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def dirty(
    tmp_path_factory: pytest.TempPathFactory, dirty_folder: Path, quick: TrainingOptions
) -> TrainingResult:
    workspace = Workspace(tmp_path_factory.mktemp("dirty-workspace"))
    return train(workspace, [scan_folder(dirty_folder, ["red"])], quick)


def _features(result: TrainingResult, data: bytes) -> Float32Array:
    image = result.features.image_ids.index(image_id_of(data))
    features: Float32Array = result.features.matrix[result.features.starts[image]]
    return features


def _by_hand(colours: list[tuple[int, int, int]]) -> list[float]:
    return [colour[channel] / 255 for channel in range(3) for colour in colours]


def test_every_file_of_a_dirty_folder_is_accounted_for(
    dirty: TrainingResult, dirty_folder: Path
) -> None:
    images = dirty.to_dict()["images"]
    assert images["seen"] == sum(path.is_file() for path in dirty_folder.rglob("*")) == 130
    assert images["seen"] == images["imported"] + images["duplicates"] + images["skipped"]
    # A copy of a picture of its own class, and one of the other class; three refused at the door.
    assert (images["duplicates"], images["skipped"]) == (2, 3)
    assert (images["undecodable"], images["contradictory"]) == (1, 1)
    used = sum(sum(counts.values()) for counts in dirty.split.values())
    assert used == images["imported"] - 1 - 1


def test_each_refusal_is_in_the_result_with_its_reason(
    dirty: TrainingResult, dirty_folder: Path
) -> None:
    found = {(r.path, r.stage, r.reason) for r in dirty.refusals}
    assert found == {
        (str(dirty_folder / "red/empty.jpg"), "import", "empty_file"),
        (str(dirty_folder / "red/text.jpg"), "import", "not_an_image"),
        (str(dirty_folder / "blue/huge.png"), "import", "too_many_pixels"),
        (str(dirty_folder / "blue/half.jpg"), "decode", "truncated"),
    }
    assert all(refusal.detail for refusal in dirty.refusals)
    assert [item["reason"] for item in dirty.to_dict()["refusals"]] == [
        refusal.reason for refusal in dirty.refusals
    ]


def test_skipped_csv_and_the_report_list_the_same_refusals(dirty: TrainingResult) -> None:
    workspace = dirty.model_path.parent.parent
    with (workspace / "skipped.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["path", "stage", "reason", "detail"]
    assert rows[1:] == [[r.path, r.stage, r.reason, r.detail] for r in dirty.refusals]
    report = dirty.report_path.read_text(encoding="utf-8")
    assert all(refusal.path in report for refusal in dirty.refusals)


def test_cmyk_picture_is_used_in_its_colours(
    dirty: TrainingResult, odd_files: dict[str, bytes]
) -> None:
    found = _features(dirty, odd_files["red/cmyk.jpg"])
    np.testing.assert_allclose(found, _by_hand(_QUADRANTS), atol=0.03)


def test_turned_photograph_is_used_upright(
    dirty: TrainingResult, odd_files: dict[str, bytes]
) -> None:
    found = _features(dirty, odd_files["red/turned.jpg"])
    np.testing.assert_allclose(found, _by_hand(_QUADRANTS), atol=0.03)


def test_16_bit_picture_is_used_at_its_brightness(
    dirty: TrainingResult, odd_files: dict[str, bytes]
) -> None:
    found = _features(dirty, odd_files["blue/deep.png"])
    np.testing.assert_allclose(found, [0x40 / 255] * FAKE_DIM, atol=1e-3)


def test_transparent_picture_is_used_on_white(
    dirty: TrainingResult, odd_files: dict[str, bytes]
) -> None:
    found = _features(dirty, odd_files["red/clear.png"])
    white = (255, 255, 255)
    expected = _by_hand([white, _QUADRANTS[1], white, _QUADRANTS[3]])
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_picture_labelled_both_ways_takes_no_part(
    dirty: TrainingResult, odd_files: dict[str, bytes]
) -> None:
    disputed = image_id_of(odd_files["red/disputed.png"])
    assert disputed not in dirty.features.image_ids
    (item,) = dirty.contradictions
    assert item.image_id == disputed
    assert [Path(path).name for path in item.acceptable] == ["0003.png"]
    assert [Path(path).name for path in item.objectionable] == ["disputed.png"]
    assert "labelled both ways" in dirty.report_path.read_text(encoding="utf-8")


def test_second_training_computes_no_features_and_learns_the_same(
    dirty: TrainingResult, dirty_folder: Path, quick: TrainingOptions, tmp_path: Path
) -> None:
    shutil.copytree(dirty.model_path.parent.parent, tmp_path / "copy")
    again = train(Workspace(tmp_path / "copy"), [scan_folder(dirty_folder, ["red"])], quick)
    found = again.to_dict()
    assert found["featurize"]["cached"] == found["featurize"]["images"] == again.features.images
    assert found["featurize"]["images_per_s"] is found["featurize"]["bound"] is None
    assert (found["images"]["imported"], found["images"]["skipped"]) == (0, 3)
    assert again.refusals == dirty.refusals
    assert again.fit.head.weights.tobytes() == dirty.fit.head.weights.tobytes()


def test_training_again_without_sources_uses_what_is_there(
    dirty: TrainingResult, quick: TrainingOptions, tmp_path: Path
) -> None:
    shutil.copytree(dirty.model_path.parent.parent, tmp_path / "copy")
    again = train(Workspace(tmp_path / "copy"), (), quick)
    assert again.images.seen == 0
    assert again.split == dirty.split
    assert [refusal.reason for refusal in again.refusals] == [r.reason for r in dirty.refusals]


def test_stored_files_that_were_damaged_since_stop_no_training(
    dirty: TrainingResult, quick: TrainingOptions, tmp_path: Path
) -> None:
    """Their features are there; only the proof of the new model does without them."""
    shutil.copytree(dirty.model_path.parent.parent, tmp_path / "copy")
    for path in stored_files(tmp_path / "copy")[::2]:
        path.chmod(0o644)
        path.write_bytes(b"not what was stored")
    again = train(Workspace(tmp_path / "copy"), (), quick)
    assert again.model_path.is_file()
    assert again.split == dirty.split


# Too little to learn from


def _refused(workspace: Path, sources: list[Source], options: TrainingOptions) -> str:
    with pytest.raises(NotEnoughImagesError) as caught:
        train(Workspace(workspace), sources, options)
    assert _models(workspace) == []
    assert not (workspace / "reports").exists()
    return str(caught.value)


def test_one_class_only_names_the_other(tmp_path: Path, quick: TrainingOptions) -> None:
    (tmp_path / "in" / "red").mkdir(parents=True)
    for number in range(12):
        (tmp_path / "in" / "red" / f"{number}.png").write_bytes(encode(reddish(number)))
    words = _refused(tmp_path / "ws", [scan_folder(tmp_path / "in", ["red"])], quick)
    assert words.startswith("All 12 labelled images are objectionable.")
    assert "Add images that are acceptable" in words


def test_three_images_are_too_few(tmp_path: Path, quick: TrainingOptions) -> None:
    folder = write_classes(tmp_path / "in", 2)
    (folder / "red" / "0001.png").unlink()
    words = _refused(tmp_path / "ws", [scan_folder(folder, ["red"])], quick)
    assert words.startswith("Too few images: ")
    assert "2 acceptable and 1 objectionable in all" in words
    assert "50 of each class" in words


def test_no_images_says_how_to_import_some(tmp_path: Path, quick: TrainingOptions) -> None:
    words = _refused(tmp_path / "ws", [], quick)
    assert words.startswith("There are no labelled images.")
    assert "--positive NAME" in words


def test_folders_without_a_meaning_are_named(tmp_path: Path, quick: TrainingOptions) -> None:
    folder = write_classes(tmp_path / "in", 3)
    words = _refused(tmp_path / "ws", [scan_folder(folder)], quick)
    assert "Say which folders are objectionable with --positive NAME: blue, red." in words


def test_class_of_broken_files_only_points_to_the_list_of_them(
    tmp_path: Path, quick: TrainingOptions, odd_files: dict[str, bytes]
) -> None:
    folder = write_classes(tmp_path / "in", 60)
    for number, path in enumerate(sorted((folder / "red").iterdir())):
        path.write_bytes(odd_files["blue/half.jpg"][: -1 - number])
    words = _refused(tmp_path / "ws", [scan_folder(folder, ["red"])], quick)
    assert "All 60 labelled images are acceptable." in words
    assert "60 files could not be used" in words
    assert str(tmp_path / "ws" / "skipped.csv") in words
    rows = (tmp_path / "ws" / "skipped.csv").read_text().splitlines()
    assert Counter(row.split(",")[1] for row in rows[1:]) == {"decode": 60}


# What goes wrong on the way leaves no model


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, trained: TrainingResult) -> Path:
    """Store and features of the shared training, without its models. Copy it to change it."""
    folder = tmp_path_factory.mktemp("imported") / "workspace"
    original = trained.model_path.parent.parent
    shutil.copytree(original, folder, ignore=shutil.ignore_patterns("models", "reports", "runs"))
    return folder


@pytest.fixture
def ready(imported: Path, tmp_path: Path) -> Path:
    shutil.copytree(imported, tmp_path / "ready")
    return tmp_path / "ready"


def test_bundle_that_answers_otherwise_is_not_written(
    ready: Path, quick: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = scoring_graph.build_joined_graph

    def off(parts: Any, head: Any) -> Any:
        return build(parts, replace(head, bias=head.bias + 0.5))

    monkeypatch.setattr("keshikaran.bundling.build_joined_graph", off)
    with pytest.raises(BundleError, match="The exported model scores an image") as caught:
        train(Workspace(ready), (), quick)
    assert "Nothing was written" in caught.value.hint
    assert _models(ready) == []
    assert not (ready / "reports").exists()


def test_full_disk_while_writing_the_bundle_leaves_no_file(
    ready: Path, quick: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.parent.name == "models":
            raise OSError(errno.ENOSPC, "No space left on device")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match="The disk is full") as caught:
        train(Workspace(ready), (), quick)
    assert "Free some space" in caught.value.hint
    assert _models(ready) == []


def test_failed_training_keeps_the_older_model(
    dirty: TrainingResult, quick: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(dirty.model_path.parent.parent, tmp_path / "copy")
    monkeypatch.setattr(export, "PARITY_TOLERANCE", -1.0)
    with pytest.raises(BundleError):
        train(Workspace(tmp_path / "copy"), (), quick)
    assert [path.name for path in _models(tmp_path / "copy")] == [dirty.model_path.name]


def test_backbone_that_gives_no_numbers_is_refused(ready: Path, tmp_path: Path) -> None:
    model = load_model_from_string(fake_backbone())
    model.graph.node[-1].output[0] = "flat"
    model.graph.node.extend(
        [
            helper.make_node("Sub", ["flat", "flat"], ["zero"]),
            helper.make_node("Div", ["zero", "zero"], ["features"]),
        ]
    )
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    path = tmp_path / "nan.onnx"
    path.write_bytes(model.SerializeToString())
    options = TrainingOptions(backbone=str(path), tensorboard=False)
    with pytest.raises(BackboneError, match="features that are not numbers"):
        train(Workspace(ready), (), options)
    assert _models(ready) == []


class _StopAt:
    """Somebody who presses Ctrl-C when so many steps of a stage are done."""

    def __init__(self, title: str, steps: int) -> None:
        self._title, self._left, self._running = title, steps, ""

    @contextmanager
    def task(self, title: str, total: int | None) -> Iterator[ProgressTask]:
        self._running = title
        yield self

    def advance(self, steps: int = 1) -> None:
        if self._running == self._title:
            self._left -= steps
            if self._left <= 0:
                raise KeyboardInterrupt

    def note(self, text: str) -> None:
        raise AssertionError(text)


def test_interrupted_training_goes_on_where_it_was(
    ready: Path, quick: TrainingOptions, trained: TrainingResult
) -> None:
    Workspace(ready).features.unlink()
    with pytest.raises(KeyboardInterrupt):
        train(Workspace(ready), (), quick, _StopAt("featurize", 100))
    assert _models(ready) == []
    again = train(Workspace(ready), (), quick)
    assert again.features.cached >= 100
    assert again.fit.head.weights.tobytes() == trained.fit.head.weights.tobytes()


# Options


def test_seed_recipe_trains_the_same_way_through(ready: Path, quick: TrainingOptions) -> None:
    done = train(Workspace(ready), (), replace(quick, recipe="seed"))
    assert done.manifest.recipe == {"name": "seed", "c": None}
    assert [step.step for step in done.fit.steps] == list(range(10))
    assert done.evaluation.test.roc_auc is not None
    assert Predictor.load(done.model_path).manifest.model_id == done.model_id
    assert not (ready / "runs").exists()


def test_options_are_written_into_the_model(ready: Path, quick: TrainingOptions) -> None:
    policy = Policy("red pictures", "all others", min_recall=0.8)
    scheme = SplitScheme("hash", salt="other", balance=True)
    options = replace(
        quick, policy=policy, split=scheme, resize_mode="stretch", engine="onnxruntime"
    )
    manifest = read_bundle(train(Workspace(ready), (), options).model_path).manifest
    assert manifest.classes == {"0": "all others", "1": "red pictures"}
    assert "80%" in manifest.thresholds_chosen_for
    assert manifest.policy == policy.to_dict()
    assert manifest.lead.resize_mode == "stretch"
    assert manifest.training_set["split_scheme"]["salt"] == "other"
    for side in ("validation", "test"):
        assert manifest.split[side]["0"] == manifest.split[side]["1"]
    assert manifest.prevalence == pytest.approx(
        manifest.split["train"]["1"] / sum(manifest.split["train"].values())
    )


def test_split_of_before_is_used_again(ready: Path, quick: TrainingOptions) -> None:
    with Store(ready) as store:
        before = store.split_scheme()
    first = train(Workspace(ready), (), replace(quick, split=SplitScheme("hash", salt="mine")))
    second = train(Workspace(ready), (), quick)
    assert before["salt"] == ""
    assert second.split == first.split
    assert second.manifest.training_set == first.manifest.training_set


# One image, one score, wherever it is asked for


@pytest.fixture(scope="module")
def asked(trained: TrainingResult) -> dict[Path, float]:
    """Stored test images, and the score that training gave them."""
    test = trained.evaluation.test_set
    files = {path.stem: path for path in trained.model_path.parent.parent.glob("objects/*/*/*")}
    pairs = zip(test.image_ids, test.y_score, strict=True)
    return {files[image_id]: float(score) for image_id, score in pairs}


def _expected(asked: dict[Path, float]) -> Any:
    assert len(asked) > 20
    return pytest.approx(list(asked.values()), abs=1e-3)


def test_head_on_cached_features_scores_as_training_did(
    trained: TrainingResult, asked: dict[Path, float]
) -> None:
    rows = [trained.features.image_ids.index(ImageId(path.stem)) for path in asked]
    assert predict_proba(trained.fit.head, trained.features.matrix[rows]).tolist() == _expected(
        asked
    )


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "auto"])
def test_predictor_scores_as_training_did(
    engine: EngineName, trained: TrainingResult, asked: dict[Path, float]
) -> None:
    predictor = Predictor.load(trained.model_path, engine=engine)
    found = list(predictor.predict_many(asked))
    assert [prediction.score for prediction in found] == _expected(asked)
    assert {prediction.verdict for prediction in found} == {"pass", "block"}


def test_bundle_alone_scores_as_training_did_in_both_engines(
    trained: TrainingResult, asked: dict[Path, float]
) -> None:
    pixels = np.stack([read_pixels(path.read_bytes(), trained.manifest.pixels) for path in asked])
    session = onnxruntime.InferenceSession(trained.model_path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(["score"], {"images": pixels})
    assert scores.tolist() == _expected(asked)
    compiled = openvino.Core().compile_model(
        trained.model_path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    assert compiled({"images": pixels})["score"].tolist() == _expected(asked)


def test_command_line_scores_as_training_did(
    trained: TrainingResult, asked: dict[Path, float], capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli(capsys, "predict", *asked, "--json", "--model", trained.model_path)
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [line["score"] for line in found] == _expected(asked)
    assert [line["image_id"] for line in found] == [path.stem for path in asked]
