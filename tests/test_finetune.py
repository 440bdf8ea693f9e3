"""Fine-tuning as far as it needs no torch: options, errors, and what must not be judged."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from cli_support import cli
from finetune_support import make_job, tiny_network
from keshikaran.backbones import load_backbone
from keshikaran.backbones.registered import unregister
from keshikaran.backbones.taught import taught_images, teaching_of, write_taught
from keshikaran.calibrate import LabelledRows, calibrate
from keshikaran.cli import finetune_options
from keshikaran.comparing_backbones import compare_backbones
from keshikaran.errors import BackboneError, StoreError
from keshikaran.finetune import FinetuneSettings, job_key, remove_job, write_array
from keshikaran.finetune.job import read_array, read_job
from keshikaran.head import fit_head, predict_proba
from keshikaran.ingest import scan_folder
from keshikaran.metrics import log_loss
from keshikaran.policy import Policy
from keshikaran.preparation import open_cached_tools
from keshikaran.store import Store, Workspace
from keshikaran.training import TrainingOptions, train
from keshikaran.types import GroupId, ImageId, SilentProgress
from support import fake_backbone
from zoo_support import register_fake


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KESHIKARAN_BACKBONES", str(tmp_path / "backbones"))
    return tmp_path / "backbones"


def _said_to_be_taught(words: str = '{"name": "quadrants"}') -> bytes:
    model = onnx.load_model_from_string(fake_backbone())
    helper.set_model_props(model, {"finetuned": words})
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> Any:
        return None if name in {"torch", "safetensors"} else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)


@pytest.mark.usefixtures("without_torch")
def test_missing_torch_is_said_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, red_and_blue: Path
) -> None:
    words = ("--positive", "red", "--workspace", tmp_path / "ws", "--finetune")
    done = cli(capsys, "train", red_and_blue, *words)
    assert done.code == 1
    assert "Fine-tuning needs packages that are not installed." in done.err
    assert 'pip install "keshikaran[torch]"' in done.err
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    "option",
    [("--blocks", "all"), ("--augment", "flip"), ("--epochs", "3"), ("--seed", "0")],
    ids=lambda option: option[0],
)  # fmt: skip
def test_option_without_effect_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: tuple[str, str]
) -> None:
    done = cli(capsys, "train", "--workspace", tmp_path / "ws", *option)
    assert done.code == 2
    assert f"{option[0]} changes nothing without --finetune." in done.err


def test_options_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune_options, "need_finetuning", lambda: None)
    blocks, change = finetune_options.TaughtBlocks, finetune_options.Change
    options = finetune_options.FinetuneOptions
    assert options().chosen("cpu") is None
    assert options(finetune=True).chosen("auto") == FinetuneSettings()
    found = options(True, blocks.ALL, [change.COLOUR, change.CROP], 4, 7).chosen("cpu")
    assert found == FinetuneSettings(
        blocks="all", augment=("crop", "colour"), epochs=4, seed=7, device="cpu"
    )
    unchanged = options(finetune=True, augment=[change.NONE]).chosen("tensorrt")
    assert unchanged is not None
    assert (unchanged.augment, unchanged.device) == ((), "cuda")


def test_augmentations_that_contradict_each_other_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune_options, "need_finetuning", lambda: None)
    words = ("--finetune", "--augment", "none", "--augment", "flip")
    done = cli(capsys, "train", "--workspace", tmp_path / "ws", *words)
    assert done.code == 2
    assert "--augment none contradicts the others." in done.err


def test_several_processes_have_nothing_to_do_without_finetuning(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    done = cli(capsys, "train", "--workspace", tmp_path / "ws")
    assert done.code == 2
    assert "only --finetune has work for them" in done.err
    monkeypatch.setenv("RANK", "0")
    assert finetune_options.follows(FinetuneSettings()) is False


def test_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", seed=3, augment=("flip",), device="auto")
    found = read_job(job.folder)
    assert found.settings == job.settings
    assert found.bias == job.bias
    np.testing.assert_array_equal(found.weights, job.weights)
    np.testing.assert_array_equal(found.train_labels, job.train_labels)
    assert found.parent() == tiny_network()
    assert found.pictures("train").shape == (96, 18, 18, 3)
    remove_job(job.folder)
    assert not job.folder.exists()


def test_key_names_what_decides_the_result_and_nothing_else() -> None:
    usual = job_key(FinetuneSettings().to_dict())
    assert job_key(FinetuneSettings(device="cuda").to_dict()) == usual
    assert job_key(FinetuneSettings(seed=1).to_dict()) != usual


@pytest.mark.parametrize("text", ["", "[]", '{"name": "tiny"}'])
def test_damaged_job_ends_in_advice(tmp_path: Path, text: str) -> None:
    job = make_job(tmp_path / "job")
    (job.folder / "job.json").write_text(text)
    with pytest.raises(BackboneError, match=r"job\.json is damaged") as caught:
        read_job(job.folder)
    assert str(job.folder) in caught.value.hint


def test_damaged_pictures_are_not_read(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job")
    (job.folder / "train.npy").write_bytes(b"no array")
    with pytest.raises(BackboneError, match=r"train\.npy is damaged"):
        job.pictures("train")


def test_array_is_whole_or_not_there(tmp_path: Path) -> None:
    def broken_off() -> Iterator[np.ndarray]:
        yield np.ones((2, 3), dtype=np.uint8)
        raise KeyboardInterrupt

    path = tmp_path / "folder" / "rows.npy"
    with pytest.raises(KeyboardInterrupt):
        write_array(path, (4, 3), "uint8", broken_off())
    assert not path.exists()
    write_array(path, (4, 3), "uint8", [np.ones((2, 3)), np.zeros((2, 3))])
    assert read_array(path).sum() == 6


def test_array_that_cannot_be_written_ends_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="could not be written"):
        write_array(tmp_path / "file" / "rows.npy", (1,), "uint8", [])


def _rows(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = (rng.random(count) < 0.3).astype(np.int8)
    features = rng.normal(0, 1, (count, 4)).astype(np.float32)
    features[:, 0] += 1.5 * labels
    return features, labels


def _side(features: np.ndarray, labels: np.ndarray) -> LabelledRows:
    return LabelledRows(features, labels, [GroupId(str(row)) for row in range(len(labels))])


def test_labels_that_the_network_knows_do_not_calibrate_it() -> None:
    """Training features that give the label away: only validation images tell the truth."""
    rng = np.random.default_rng(0)
    (x, y), (x_validation, y_validation), (x_test, y_test) = (_rows(rng, 600) for _ in range(3))
    known = x.copy()
    known[:, 0] = 1.5 * y + 0.1 * rng.normal(0, 1, len(y))
    fit = fit_head(known, y, x_validation, y_validation, grid=(1.0,))
    sides = (_side(known, y), _side(x_validation, y_validation))
    blind, honest = (calibrate(fit, *sides, Policy(), taught=taught) for taught in (False, True))
    losses = [log_loss(y_test, predict_proba(one.head, x_test)) for one in (blind, honest)]
    assert losses[1] < losses[0] - 0.1
    assert honest.judges == 600
    assert blind.judges == 1200
    assert honest.note is None


def test_few_validation_images_leave_a_taught_network_uncalibrated() -> None:
    rng = np.random.default_rng(1)
    (x, y), (x_validation, _) = _rows(rng, 200), _rows(rng, 20)
    y_validation = np.zeros(20, dtype=np.int8)
    y_validation[:4] = 1
    fit = fit_head(x, y, x_validation, y_validation)
    sides = (_side(x, y), _side(x_validation, y_validation))
    found = calibrate(fit, *sides, Policy(), taught=True)
    assert found.choice.chosen.kind == "none"
    assert found.note is not None
    assert "fewer than 5 validation images of one label" in found.note


def test_plain_network_was_taught_by_nobody(backbone_file: Path) -> None:
    assert teaching_of(load_backbone(str(backbone_file))) is None
    assert taught_images(load_backbone(str(backbone_file))) == frozenset()


def test_what_a_file_says_of_its_teaching_is_read_with_care(registry: Path) -> None:
    register_fake("good", _said_to_be_taught())
    register_fake("odd", _said_to_be_taught("{"))
    register_fake("list", _said_to_be_taught("[1]"))
    assert teaching_of(load_backbone("good")) == {"name": "quadrants"}
    assert teaching_of(load_backbone("odd")) == {}
    assert teaching_of(load_backbone("list")) == {}


def test_list_of_images_goes_with_the_network(registry: Path) -> None:
    register_fake("taught", _said_to_be_taught())
    ids = {ImageId("a" * 64), ImageId("b" * 64)}
    write_taught("taught", ids)
    assert taught_images(load_backbone("taught")) == ids
    (registry / "taught.taught").write_text("short\n")
    with pytest.raises(BackboneError, match="is no list of images"):
        taught_images(load_backbone("taught"))
    backbone = load_backbone("taught")
    unregister("taught")
    assert not list(registry.iterdir())
    with pytest.raises(BackboneError, match="is not there") as caught:
        taught_images(backbone)
    assert "train --finetune" in caught.value.hint


def test_network_is_not_judged_on_what_taught_it(
    tmp_path: Path, registry: Path, red_and_blue: Path
) -> None:
    workspace = Workspace(tmp_path / "ws")
    register_fake("taught", _said_to_be_taught())
    write_taught("taught", [ImageId("0" * 64)])
    options = TrainingOptions(backbone="taught", tensorboard=False, isolation="off")
    done = train(workspace, [scan_folder(red_and_blue, ["red"])], options)
    assert done.manifest.recipe["finetuned"] == {"name": "quadrants"}
    assert done.calibrated.judges == sum(done.split["validation"].values())
    assert "from quadrants" in done.report_path.read_text()
    with Store(workspace.folder) as store:
        sides = store.splits()
    write_taught("taught", list(sides))
    elsewhere = sum(side != "train" for side in sides.values())
    with pytest.raises(BackboneError, match=f"fine-tuned on {elsewhere} images") as caught:
        train(workspace, (), options)
    assert "train --finetune" in caught.value.hint


def test_network_does_not_vouch_for_the_labels_that_taught_it(
    tmp_path: Path, registry: Path, backbone_file: Path
) -> None:
    register_fake("taught", _said_to_be_taught())
    workspace = Workspace(tmp_path / "ws")
    options = TrainingOptions(backbone="taught", isolation="off")
    with (
        pytest.raises(BackboneError, match="would vouch for them"),
        open_cached_tools(workspace, options),
    ):
        pass
    with pytest.raises(BackboneError, match="would vouch for them"):
        compare_backbones(workspace, [str(backbone_file), "taught"], options, SilentProgress())
