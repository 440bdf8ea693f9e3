"""A loaded model: the same answer for the same bytes, and never `pass` for what it cannot read."""

from __future__ import annotations

import itertools
import logging
import math
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from stress.isolated_corpus import open_descriptors

from bundle_support import bundle, packed, quadrant_means, resealed
from keshikaran import Prediction, Predictor
from keshikaran.backbones.openvino_engine import has_bf16
from keshikaran.bundle import write_bundle
from keshikaran.errors import (
    BackboneError,
    BundleError,
    IsolationError,
    MissingExtraError,
    RefusalReason,
)
from keshikaran.hashing import image_id_of
from keshikaran.pixels import Limits, read_pixels
from keshikaran.training import TrainingResult
from keshikaran.types import Float32Array, Precision, UInt8Array, verdict_of
from support import bluish, encode, reddish


@pytest.fixture(scope="module")
def predictor(trained: TrainingResult) -> Predictor:
    return Predictor.load(trained.model_path)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(reddish(7_000), "JPEG"))
    return path


# Answers


def test_path_text_and_bytes_get_the_same_answer(predictor: Predictor, photo: Path) -> None:
    by_path, by_text = predictor.predict(photo), predictor.predict(str(photo))
    by_bytes = predictor.predict(photo.read_bytes())
    assert by_path == by_text
    assert by_path.path == str(photo)
    assert by_bytes.path == "-"
    assert by_path.score is not None
    assert (by_bytes.score, by_bytes.verdict, by_bytes.image_id) == (
        by_path.score,
        by_path.verdict,
        image_id_of(photo.read_bytes()),
    )


def test_score_is_what_the_head_makes_of_the_features(
    predictor: Predictor, trained: TrainingResult
) -> None:
    head = trained.fit.head
    for seed, paint in itertools.product(range(8_000, 8_010), (reddish, bluish)):
        data = encode(paint(seed), "JPEG")
        pixels = read_pixels(data, trained.manifest.pixels)
        logit = float(quadrant_means(pixels[None])[0] @ head.weights + head.bias)
        score = predictor.predict(data).score
        assert score is not None
        assert abs(score - 1 / (1 + math.exp(-logit))) < 1e-4


def test_the_model_knows_red_from_blue(predictor: Predictor) -> None:
    red = list(predictor.predict_many(encode(reddish(seed)) for seed in range(9_000, 9_020)))
    blue = list(predictor.predict_many(encode(bluish(seed)) for seed in range(9_000, 9_020)))
    lowest = min(prediction.score or 0.0 for prediction in red)
    highest = max(prediction.score or 0.0 for prediction in blue)
    assert lowest > highest
    assert {prediction.verdict for prediction in blue} == {"pass"}
    assert "pass" not in {prediction.verdict for prediction in red}


def test_verdict_follows_from_the_score_and_the_models_thresholds(
    predictor: Predictor, trained: TrainingResult
) -> None:
    assert predictor.thresholds == trained.manifest.thresholds
    for seed in range(20):
        prediction = predictor.predict(encode(reddish(seed)))
        assert prediction.verdict == verdict_of(prediction.score, predictor.thresholds)
        assert prediction.reason is None
        assert prediction.model_id == trained.model_id


def test_format_is_not_told_by_the_name(predictor: Predictor, tmp_path: Path) -> None:
    data = encode(reddish(1), "PNG")
    names = ["a.png", "a.jpg", "a.txt", "a"]
    for name in names:
        (tmp_path / name).write_bytes(data)
    scores = {predictor.predict(tmp_path / name).score for name in names}
    assert len(scores) == 1
    assert None not in scores


def test_predictions_come_in_the_order_of_the_images(predictor: Predictor, photo: Path) -> None:
    files: list[str | Path | bytes] = [encode(reddish(seed)) for seed in range(25)]
    files[3] = b"words"
    files[10] = photo
    files[20] = str(photo.with_name("gone.jpg"))
    together = list(predictor.predict_many(files))
    assert together == [predictor.predict(file) for file in files]
    assert [n for n, one in enumerate(together) if one.verdict == "undecided"] == [3, 20]


def test_an_endless_list_of_images_can_be_predicted(predictor: Predictor) -> None:
    data = encode(reddish(1))
    predictions = predictor.predict_many(data for _ in itertools.count())
    assert len(list(itertools.islice(predictions, 50))) == 50


def test_predictor_can_be_used_from_several_threads(predictor: Predictor) -> None:
    files = [encode(reddish(seed)) for seed in range(30)]
    expected = [predictor.predict(data) for data in files]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(predictor.predict, files)) == expected


def test_engines_give_the_same_score(trained: TrainingResult) -> None:
    first = Predictor.load(str(trained.model_path), engine="openvino", streams=1)
    second = Predictor.load(str(trained.model_path), engine="onnxruntime", streams=1)
    assert (first.engine.name, second.engine.name) == ("openvino", "onnxruntime")
    for seed in range(10):
        data = encode(reddish(seed), "JPEG")
        a, b = first.predict(data).score, second.predict(data).score
        assert a is not None
        assert b is not None
        assert abs(a - b) <= 1e-3


# Images that cannot be read


def _undecided(prediction: Prediction, reason: RefusalReason) -> None:
    assert prediction.verdict == "undecided"
    assert prediction.score is None
    assert prediction.reason is not None
    assert prediction.reason.startswith(f"{reason}: ")


_HALF = encode(reddish(1), "JPEG")[:-600]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"words in a file named photo.jpg", "not_an_image"),
        (b"%PDF-1.7", "unsupported_format"),
        (b"\x89PNG\r\n\x1a\ngarbage", "truncated"),
        (_HALF, "truncated"),
    ],
)
def test_what_cannot_be_decoded_is_undecided_with_its_reason(
    predictor: Predictor, tmp_path: Path, data: bytes, reason: RefusalReason
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    for image in (path, str(path), data):
        prediction = predictor.predict(image)
        _undecided(prediction, reason)
        assert prediction.image_id == image_id_of(data)


def test_what_cannot_be_opened_is_undecided_and_has_no_id(
    predictor: Predictor, tmp_path: Path
) -> None:
    for image in (tmp_path / "gone.jpg", tmp_path, "a name with \x00 in it"):
        prediction = predictor.predict(image)
        _undecided(prediction, "unreadable_file")
        assert prediction.image_id is None
        assert prediction.path == str(image)


def test_too_large_a_file_is_undecided(trained: TrainingResult, photo: Path) -> None:
    size = photo.stat().st_size
    strict = Predictor.load(trained.model_path, limits=Limits(max_bytes=size - 1))
    _undecided(strict.predict(photo), "too_many_bytes")
    assert strict.predict(photo).image_id is None
    _undecided(strict.predict(photo.read_bytes()), "too_many_bytes")
    enough = Predictor.load(trained.model_path, limits=Limits(max_bytes=size))
    assert enough.predict(photo).score is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_tells_no_size_and_is_read_whole(
    trained: TrainingResult, predictor: Predictor, photo: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    data = photo.read_bytes()
    strict = Predictor.load(trained.model_path, limits=Limits(max_bytes=len(data) - 1))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(predictor.predict, pipe)
        pipe.write_bytes(data)
        assert answer.result().score == predictor.predict(photo).score
        assert answer.result().image_id == image_id_of(data)
        refused = pool.submit(strict.predict, pipe)
        pipe.write_bytes(data)
        _undecided(refused.result(), "too_many_bytes")


def test_an_enormous_file_is_not_read_to_its_end(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "enormous.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 36)  # takes no room: the file has a hole
    _undecided(predictor.predict(path), "too_many_bytes")


class _Numbers:
    """An engine that scores every image the same."""

    name = "numbers"
    precision: Precision = "f32"
    streams = 1
    batch_size = 1

    def __init__(self, score: float) -> None:
        self.score = score

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        return {"score": np.full(len(images), self.score, dtype=np.float32)}


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, -0.5, 1.5])
def test_a_score_that_is_no_probability_is_undecided(score: float) -> None:
    prediction = Predictor(bundle(), _Numbers(score)).predict(encode(reddish(1)))
    assert (prediction.verdict, prediction.score) == ("undecided", None)
    assert prediction.reason == "no_score: the network gave no number"


@pytest.mark.parametrize(("score", "verdict"), [(0.0, "pass"), (0.5, "review"), (1.0, "block")])
def test_a_score_gets_its_verdict(score: float, verdict: str) -> None:
    prediction = Predictor(bundle(), _Numbers(score)).predict(encode(reddish(1)))
    assert (prediction.verdict, prediction.score) == (verdict, score)


def test_a_defect_is_not_hidden_as_undecided() -> None:
    class Broken(_Numbers):
        def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
            msg = f"no memory for {len(images)} images"
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="no memory"):
        Predictor(bundle(), Broken(0.5)).predict(encode(reddish(1)))


# Loading


def test_model_may_lie_anywhere(trained: TrainingResult, tmp_path: Path) -> None:
    copy = tmp_path / "copy of a model.bin"
    shutil.copyfile(trained.model_path, copy)
    data = encode(reddish(1))
    again = Predictor.load(copy).predict(data)
    assert again == Predictor.load(trained.model_path).predict(data)


def test_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere\.onnx cannot be read"):
        Predictor.load(tmp_path / "nowhere.onnx")


def test_tampered_model_is_refused(trained: TrainingResult, tmp_path: Path) -> None:
    def turn(model: onnx.ModelProto) -> None:
        weights = next(t for t in model.graph.initializer if t.name == "keshikaran_head_weights")
        values = -numpy_helper.to_array(weights)
        weights.CopyFrom(numpy_helper.from_array(values, weights.name))

    path = tmp_path / "theirs.onnx"
    path.write_bytes(resealed(turn, trained.model_path.read_bytes()))
    with pytest.raises(BundleError, match="fails its self-test"):
        Predictor.load(path)


def _installed(*present: str) -> Callable[[str], object]:
    return lambda name: name if name in present else None


def test_engine_that_is_not_installed_is_named(
    trained: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", _installed())
    with pytest.raises(BackboneError, match="openvino is not installed"):
        Predictor.load(trained.model_path, engine="openvino")
    with pytest.raises(MissingExtraError):
        Predictor.load(trained.model_path)


# Precision


@pytest.fixture
def bf16_model(tmp_path: Path) -> Path:
    path = tmp_path / "bf16.onnx"
    write_bundle(path, packed(precision="bf16"))
    return path


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "keshikaran"]


def test_model_in_its_own_precision_says_nothing(
    trained: TrainingResult, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert Predictor.load(trained.model_path).engine.precision == "f32"
    assert _warnings(caplog) == []


def test_model_whose_precision_is_not_to_be_had_runs_in_f32_and_says_so(
    bf16_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = Predictor.load(bf16_model, engine="onnxruntime")
    assert predictor.engine.precision == "f32"
    assert _warnings(caplog) == [
        "The model was made in bf16 and runs in f32: single scores can differ by up to 0.1."
    ]
    assert predictor.predict(encode(reddish(1))).score is not None


def test_another_precision_asked_for_is_used_and_said(
    bf16_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert Predictor.load(bf16_model, precision="f32").engine.precision == "f32"
    assert "made in bf16 and runs in f32" in _warnings(caplog)[0]


def test_precision_asked_for_and_not_to_be_had_is_an_error(bf16_model: Path) -> None:
    with pytest.raises(BackboneError, match="bf16"):
        Predictor.load(bf16_model, engine="onnxruntime", precision="bf16")


def test_bf16_on_this_processor(
    trained: TrainingResult, bf16_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if not has_bf16():
        with pytest.raises(BackboneError, match="no bfloat16"):
            Predictor.load(trained.model_path, engine="openvino", precision="bf16")
        assert Predictor.load(bf16_model, engine="openvino").engine.precision == "f32"
        return
    assert Predictor.load(bf16_model, engine="openvino").engine.precision == "bf16"
    assert _warnings(caplog) == []
    other = Predictor.load(trained.model_path, engine="openvino", precision="bf16")
    assert other.engine.precision == "bf16"
    assert "made in f32 and runs in bf16" in _warnings(caplog)[0]


# Isolation


def test_isolation_changes_no_answer(trained: TrainingResult) -> None:
    files = [*(encode(reddish(seed), "JPEG") for seed in range(10)), b"words", _HALF]
    with (
        Predictor.load(trained.model_path) as isolated,
        Predictor.load(trained.model_path, isolation="off") as plain,
    ):
        assert list(isolated.predict_many(files)) == list(plain.predict_many(files))


def test_a_closed_predictor_says_so(trained: TrainingResult, photo: Path) -> None:
    with Predictor.load(trained.model_path) as predictor:
        assert predictor.predict(photo).score is not None
    with pytest.raises(IsolationError, match="closed"):
        predictor.predict(photo)


def test_a_model_that_is_refused_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"words")
    before = threading.active_count(), open_descriptors()
    with pytest.raises(BundleError):
        Predictor.load(path)
    assert (threading.active_count(), open_descriptors()) == before


def test_off_is_said_in_the_log(trained: TrainingResult, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "keshikaran"):
        Predictor.load(trained.model_path, isolation="off")
    assert "takes the whole program along" in caplog.text
