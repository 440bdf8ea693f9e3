"""The TensorBoard run: read back from its event file, record by record."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from keshikaran.errors import StoreError
from keshikaran.head import FitStep
from keshikaran.metrics import compute_curves
from keshikaran.report import Picture, ReportContent, places, write_tensorboard_run
from keshikaran.training import TrainingResult
from report_support import THRESHOLDS, content, scored

Values = dict[str, list[tuple[int, Any]]]


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> int:
    crc = _crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _records(data: bytes) -> Iterator[bytes]:
    """TFRecord: length, its checksum, the record, its checksum."""
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from("<Q", data, position)
        (check,) = struct.unpack_from("<I", data, position + 8)
        assert check == _masked(data[position : position + 8])
        yield data[position + 12 : position + 12 + length]
        position += 16 + length
    assert position == len(data)


def _values(folder: Path) -> Values:
    (file,) = folder.glob("events.*")
    assert file.name.startswith("events.out.tfevents.")
    found: Values = defaultdict(list)
    for record in _records(file.read_bytes()):
        event = Event.FromString(record)
        for value in event.summary.value:
            found[value.tag].append((event.step, value))
    return found


def _scalars(values: Values, tag: str) -> list[tuple[int, float]]:
    return [(step, value.simple_value) for step, value in values[tag]]


@pytest.fixture(scope="module")
def shown() -> ReportContent:
    return content(settings={"backbone": "quadrants", "prevalence": "0.3333"})


@pytest.fixture(scope="module")
def values(shown: ReportContent, tmp_path_factory: pytest.TempPathFactory) -> Values:
    folder = tmp_path_factory.mktemp("runs") / shown.model_id
    write_tensorboard_run(folder, shown)
    return _values(folder)


def test_checksum_of_this_reader_is_that_of_the_format() -> None:
    assert _crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(
    ("tag", "field"),
    [
        ("loss/train", "train_loss"),
        ("loss/validation", "validation_loss"),
        ("accuracy/train", "train_accuracy"),
        ("accuracy/validation", "validation_accuracy"),
        ("regularisation/c", "c"),
    ],
)
def test_each_step_is_a_point_of_its_curve(
    values: Values, shown: ReportContent, tag: str, field: str
) -> None:
    found = _scalars(values, tag)
    assert [step for step, _ in found] == [0, 1, 2]
    expected = [getattr(step, field) for step in shown.steps]
    assert [value for _, value in found] == pytest.approx(expected)


def test_figures_of_both_sides_are_scalars(values: Values, shown: ReportContent) -> None:
    for side, metrics in (
        ("test", shown.evaluation.test),
        ("validation", shown.evaluation.validation),
    ):
        for name in ("roc_auc", "average_precision", "ece", "accuracy", "recall", "images"):
            ((step, value),) = _scalars(values, f"{side}/{name}")
            assert step == 0
            assert value == pytest.approx(getattr(metrics, name))
    ((_, threshold),) = _scalars(values, "test/threshold")
    assert threshold == pytest.approx(THRESHOLDS.block)


def test_precision_recall_curve_counts_every_test_image(
    values: Values, shown: ReportContent
) -> None:
    ((_, value),) = values["pr/test"]
    assert value.metadata.plugin_data.plugin_name == "pr_curves"
    rows = [dim.size for dim in value.tensor.tensor_shape.dim]
    true_positives, false_positives, *_ = np.array(value.tensor.float_val).reshape(rows)
    test = shown.evaluation.test
    assert true_positives[0] == test.positives
    assert false_positives[0] == test.images - test.positives


def test_roc_is_a_curve_from_the_first_false_positive_to_the_last(
    values: Values, shown: ReportContent
) -> None:
    points = _scalars(values, "roc/recall_by_false_positives_per_200")
    assert [step for step, _ in points] == list(range(201))
    heights = [height for _, height in points]
    assert heights == sorted(heights)
    assert heights[-1] == 1.0
    test = shown.evaluation.test_set
    curves = compute_curves(test.y_true, test.y_score)
    strict = curves.true_positive_rate[curves.false_positive_rate <= 0.25].max()
    assert heights[50] == pytest.approx(strict)


def test_scores_of_both_classes_are_histograms_that_count_every_image(
    values: Values, shown: ReportContent
) -> None:
    for label, name in enumerate(("acceptable", "objectionable")):
        ((_, value),) = values[f"scores/{name}"]
        assert value.histo.num == np.count_nonzero(shown.evaluation.test_set.y_true == label)


def test_confusion_is_a_table_of_text(values: Values, shown: ReportContent) -> None:
    ((_, value),) = values["confusion/test/text_summary"]
    text = value.tensor.string_val[0].decode()
    (tn, fp), (fn, tp) = shown.evaluation.test.confusion_matrix
    assert f"| **acceptable** | {tn} | {fp} |" in text
    assert f"| **objectionable** | {fn} | {tp} |" in text


def test_settings_are_a_table_of_text(values: Values) -> None:
    ((_, value),) = values["settings/text_summary"]
    text = value.tensor.string_val[0].decode()
    assert "| backbone | quadrants |" in text
    assert "| prevalence | 0.3333 |" in text


def test_recipe_without_a_regularisation_draws_no_such_curve(
    tmp_path: Path, shown: ReportContent
) -> None:
    steps = [FitStep(0, None, 0.5, 0.6, 0.7, 0.8)]
    without = replace(shown, steps=steps)
    write_tensorboard_run(tmp_path / "run", without)
    found = _values(tmp_path / "run")
    assert "regularisation/c" not in found
    ((step, loss),) = _scalars(found, "loss/validation")
    assert step == 0
    assert loss == pytest.approx(0.6)


def test_training_writes_a_run_named_by_its_model(trained: TrainingResult) -> None:
    found = _values(trained.model_path.parent.parent / "runs" / trained.model_id)
    assert len(found["loss/validation"]) == len(trained.fit.steps)
    ((_, auc),) = _scalars(found, "test/roc_auc")
    assert auc == pytest.approx(trained.evaluation.test.roc_auc)
    ((_, settings),) = found["settings/text_summary"]
    assert b"quadrants" in settings.tensor.string_val[0]


def test_reliability_is_a_curve_over_the_predicted_share(
    values: Values, shown: ReportContent
) -> None:
    points = _scalars(values, "reliability/now/observed")
    bins = shown.evaluation.calibration.reliability
    assert [step for step, _ in points] == [round(1000 * item.mean_score) for item in bins]
    assert [value for _, value in points] == pytest.approx([item.observed.value for item in bins])
    assert "reliability/before/observed" not in values


def test_worst_errors_are_pictures_and_test_images_lie_in_space(tmp_path: Path) -> None:
    shown = content()
    ids = shown.evaluation.test_set.image_ids
    tile = np.zeros((4, 4, 3), dtype=np.uint8)
    pictures = {
        image_id: Picture(f"in/{number}\t.jpg", b"\xff\xd8 picture", (160, 90), tile)
        for number, image_id in enumerate(ids[1:])
    }
    shown = replace(shown, pictures=pictures)
    features = np.random.default_rng(0).normal(size=(len(ids), 60)).astype(np.float32)
    write_tensorboard_run(tmp_path / "run", shown, features)
    (events,) = (tmp_path / "run").glob("events.*")
    found: Values = defaultdict(list)
    for record in _records(events.read_bytes()):
        for value in Event.FromString(record).summary.value:
            found[value.tag].append((0, value))
    worst = [place for place in places(shown.evaluation) if place.worst]
    errors = sorted(tag for tag in found if tag.startswith("errors/"))
    assert len(errors) == sum(place.image_id in pictures for place in worst) > 0
    ((_, first),) = found[errors[0]]
    assert (first.image.width, first.image.height) == (160, 90)
    assert first.image.encoded_image_string == b"\xff\xd8 picture"
    folder = tmp_path / "run" / "00000" / "test"
    rows = (folder / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert rows[0].split("\t") == ["id", "label", "score", "place"]
    assert len(rows) == 1 + len(ids)
    assert rows[2].split("\t")[0] == ids[1][:16]
    assert rows[2].split("\t")[3] == "in/0\\t.jpg"
    points = [line.split("\t") for line in (folder / "tensors.tsv").read_text().splitlines()]
    assert {len(point) for point in points} == {min(50, len(ids))}
    with Image.open(folder / "sprite.png") as opened:
        sprite = np.asarray(opened)
    across = math.ceil(math.sqrt(len(ids)))
    side = len(sprite) // across
    assert sprite.shape == (across * side, across * side, 3)
    assert len(ids) < across**2
    assert {int(value) for value in sprite[-side:, -side:].ravel()} == {128}
    config = (tmp_path / "run" / "projector_config.pbtxt").read_text(encoding="utf-8")
    for name in ("tensors.tsv", "metadata.tsv", "sprite.png"):
        assert f'"00000/test/{name}"' in config
    assert config.count(f"single_image_dim: {side}") == 2


def test_projection_keeps_the_distances_of_what_has_few_directions(tmp_path: Path) -> None:
    shown = content()
    rng = np.random.default_rng(1)
    features = (rng.normal(size=(46, 3)) @ rng.normal(size=(3, 90))).astype(np.float32)
    write_tensorboard_run(tmp_path / "run", shown, features)
    points = np.loadtxt(tmp_path / "run" / "00000" / "test" / "tensors.tsv")
    assert np.linalg.norm(points - points[0], axis=1) == pytest.approx(
        np.linalg.norm(features - features[0], axis=1), rel=1e-3, abs=1e-3
    )


def test_many_test_images_are_thinned_in_space(tmp_path: Path) -> None:
    many = content(test=scored(2_500, 3))
    write_tensorboard_run(tmp_path / "run", many, np.eye(2_500, 3, dtype=np.float32))
    folder = tmp_path / "run" / "00000" / "test"
    assert len((folder / "tensors.tsv").read_text().splitlines()) == 2_000
    assert not (folder / "sprite.png").exists()


def test_folder_that_cannot_be_written_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file in the way")
    with pytest.raises(StoreError, match="could not be written"):
        write_tensorboard_run(tmp_path / "runs" / "model", content())


def test_the_same_run_written_twice_prints_nothing(
    tmp_path: Path, shown: ReportContent, capsys: pytest.CaptureFixture[str]
) -> None:
    images = len(shown.evaluation.test_set.image_ids)
    features = np.random.default_rng(0).normal(size=(images, 8)).astype(np.float32)
    for _ in range(2):
        write_tensorboard_run(tmp_path / "run", shown, features)
    assert capsys.readouterr().out == ""
