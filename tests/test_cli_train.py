"""`keshikaran train` and `keshikaran demo`, as typed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli_support import Outcome, cli, process, talks_in_lines
from keshikaran.bundle import read_bundle
from keshikaran.cli.options import need_training
from keshikaran.errors import MissingExtraError
from keshikaran.store import Workspace
from support import encode, quadrants, write_classes

_COUNT = 60


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("in"), _COUNT)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("typed") / "my work"


@pytest.fixture(scope="module")
def done(workspace: Path, pictures: Path, backbone_file: Path) -> Outcome:
    """A training run as a process of its own, with everything left at its default."""
    return process(
        "train", pictures, "--positive", "red", "--backbone", backbone_file, "-w", workspace
    )


def _model(done: Outcome) -> Path:
    (line,) = [line for line in done.out.splitlines() if line.startswith("model ")]
    return Path(line.removeprefix("model ").strip())


def test_training_ends_well_and_prints_results_for_people(done: Outcome, workspace: Path) -> None:
    assert done.code == 0
    lines = {line[:18].strip(): line[18:].strip() for line in done.out.splitlines()}
    assert lines["test ROC AUC"] == "1.0000"
    model, report = Path(lines["model"]), Path(lines["report"])
    assert model == Workspace(workspace).latest_model()
    assert report.is_file()
    thresholds = read_bundle(model).manifest.thresholds
    assert lines["block from"] == f"{thresholds.block:.4f}"
    assert lines["review from"] == f"{thresholds.review:.4f}"


def test_counts_printed_are_those_of_the_model(done: Outcome) -> None:
    lines = [line.split() for line in done.out.splitlines()]
    manifest = read_bundle(_model(done)).manifest
    for side, counts in manifest.split.items():
        assert [side, counts["0"], "acceptable", counts["1"], "objectionable"] == [
            int(word) if word.isdigit() else word
            for word in next(line for line in lines if line[:1] == [side])
        ]
    (tn, fp), (fn, tp) = manifest.metrics["test"]["confusion_matrix"]
    assert ["acceptable", str(tn), str(fp)] in lines
    assert ["objectionable", str(fn), str(tp)] in lines


def test_talk_goes_to_stderr_and_names_the_next_command(done: Outcome, workspace: Path) -> None:
    assert talks_in_lines(done.err)
    assert "120 files: 120 new images, 0 already here, 0 skipped; 120 labels noted." in done.err
    last = done.err.splitlines()[-1]
    assert last == f"Next: keshikaran predict IMAGE --workspace '{workspace}'"


def test_training_again_finds_all_features_there(
    done: Outcome, workspace: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert done.code == 0
    again = cli(capsys, "train", "--backbone", backbone_file, "-w", workspace, "--no-tensorboard")
    assert again.code == 0
    assert "all features were cached" in again.err
    assert "files:" not in again.err


def test_json_is_one_object_and_nothing_else(
    done: Outcome, workspace: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert done.code == 0
    again = cli(
        capsys, "train", "--backbone", backbone_file, "-w", workspace, "--json", "--no-tensorboard"
    )
    assert again.code == 0
    assert again.out.count("\n") == 1
    found = json.loads(again.out)
    assert Path(found["model_path"]).is_file()
    assert Path(found["report_path"]).is_file()
    assert found["featurize"]["cached"] == 2 * _COUNT
    assert found["metrics"]["test"]["roc_auc"] == 1.0
    assert talks_in_lines(again.err)


def test_options_reach_the_model(
    workspace: Path, done: Outcome, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert done.code == 0
    words = "--recipe seed --resize stretch --salt x --balance --engine onnxruntime --precision f32"
    again = cli(
        capsys, "train", *words.split(), "--no-tensorboard", "--json",
        "--backbone", backbone_file, "-w", workspace,
    )  # fmt: skip
    assert again.code == 0
    path = Path(json.loads(again.out)["model_path"])
    manifest = read_bundle(path).manifest
    assert manifest.recipe["name"] == "seed"
    assert manifest.lead.resize_mode == "stretch"
    assert manifest.training_set["split_scheme"]["salt"] == "x"
    assert manifest.training_set["split_scheme"]["balance"] is True
    assert not (workspace / "runs" / path.stem).exists()


def _half_a_photograph(seed: int) -> bytes:
    """Its header is whole: what is missing shows when it is decoded."""
    data = encode(quadrants([(200, 30, 30)] * 4, side=256, noise=40, seed=seed), "JPEG")
    return data[: len(data) // 2]


def test_files_that_cannot_be_used_are_named_and_end_in_code_3(
    tmp_path: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_classes(tmp_path / "in", 40)
    (pictures / "red" / "broken.jpg").write_bytes(_half_a_photograph(0))
    (pictures / "red" / "no\x1b[31mtes\n.txt").write_text("remember the milk")
    done = cli(
        capsys, "train", pictures, "--positive", "red", "--backbone", backbone_file,
        "-w", tmp_path / "ws", "--no-tensorboard",
    )  # fmt: skip
    assert done.code == 3
    assert talks_in_lines(done.err)
    assert "skipped red/no\\x1b[31mtes\\n.txt: not_an_image" in done.err
    assert f"not decodable: {pictures / 'red' / 'broken.jpg'}: truncated" in done.err
    assert "test ROC AUC" in done.out
    assert done.err.splitlines()[-1].startswith("Next: ")


def test_long_list_of_undecodable_files_is_cut_short_on_the_terminal(
    tmp_path: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_classes(tmp_path / "in", 45)
    for number in range(12):
        (pictures / "red" / f"broken{number}.jpg").write_bytes(_half_a_photograph(number))
    done = cli(
        capsys, "train", pictures, "--positive", "red", "--backbone", backbone_file,
        "-w", tmp_path / "ws", "--no-tensorboard",
    )  # fmt: skip
    assert done.code == 3
    assert done.err.count("not decodable:") == 10
    assert "… and 2 more, all in skipped.csv." in done.err


def test_nothing_labelled_names_the_folders_there_are(
    pictures: Path, tmp_path: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli(capsys, "train", pictures, "--backbone", backbone_file, "-w", tmp_path / "ws")
    assert (done.code, done.out) == (1, "")
    assert "There are no labelled images." in done.err
    assert "--positive NAME: blue, red." in done.err
    assert not (tmp_path / "ws" / "models").exists()


def test_unknown_class_folder_is_wrong_usage_and_starts_nothing(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli(capsys, "train", pictures, "--positive", "green", "-w", tmp_path / "ws")
    assert (done.code, done.out) == (2, "")
    assert "--positive green" in done.err
    assert "Folders there: blue, red." in done.err
    assert not (tmp_path / "ws").exists()


def test_missing_backbone_is_named_before_any_work(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words in (
        ("resnet", "There is no backbone named resnet."),
        ("gone.onnx", "gone.onnx cannot be read: No such file"),
        (str(pictures / "red" / "0000.png"), "There is no backbone named"),
    ):
        done = cli(
            capsys, "train", pictures, "--positive", "red", "--backbone", name, "-w", tmp_path / "w"
        )
        assert (done.code, done.out) == (1, "")
        assert words in done.err
        assert not (tmp_path / "w").exists()


def test_bf16_without_an_engine_that_has_it_is_refused(
    done: Outcome, workspace: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert done.code == 0
    refused = cli(
        capsys, "train", "--backbone", backbone_file, "--precision", "bf16",
        "--engine", "onnxruntime", "-w", workspace,
    )  # fmt: skip
    assert refused.code == 1
    assert "bf16" in refused.err
    assert "--precision f32" in refused.err


@pytest.mark.parametrize("module", ["scipy", "sklearn", "jinja2", "tensorboardX"])
@pytest.mark.parametrize("command", ["train", "demo"])
def test_missing_training_packages_are_named_with_their_extra(
    command: str,
    module: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec

    def find_all_but_one(name: str, package: str | None = None) -> Any:
        return None if name == module else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_all_but_one)
    with pytest.raises(MissingExtraError) as caught:
        need_training()
    assert caught.value.extra == "train"
    done = cli(capsys, command, "-w", tmp_path / "ws")
    assert (done.code, done.out) == (1, "")
    assert 'pip install "keshikaran[train]"' in done.err
    assert not (tmp_path / "ws").exists()


def test_command_line_itself_needs_no_training_package() -> None:
    code = (
        "import sys, keshikaran.cli.main\n"
        "heavy = {'sklearn', 'scipy', 'jinja2', 'tensorboardX', 'openvino'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_training_loads_neither_scikit_learn_nor_a_drawing_library(
    tmp_path: Path, backbone_file: Path, red_and_blue: Path
) -> None:
    """They take longer to load than a training on cached features takes."""
    words = ["train", str(red_and_blue), "--positive", "red", "-w", str(tmp_path / "ws")]
    code = (
        "import sys\nfrom keshikaran.cli.main import app\n"
        "try:\n    app(sys.argv[1:])\nfinally:\n"
        "    print(sorted({'sklearn', 'matplotlib', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--backbone", str(backbone_file)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.endswith("[]\n")


def test_demo_goes_the_whole_way_and_can_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("demo", "--count", "160", "-w", tmp_path / "demo")
    done = cli(capsys, *words)
    assert done.code == 0
    assert talks_in_lines(done.err)
    assert "Next, with your own photographs" in done.err
    figures, fresh = done.out.split("pictures that training never saw:\n")
    assert float(figures.split("test ROC AUC")[1].split()[0]) > 0.9
    lines = [line.split() for line in fresh.splitlines()]
    assert len(lines) >= 4
    assert {line[1] for line in lines} <= {"pass", "review", "block"}
    assert {Path(line[2]).name.split("-")[0] for line in lines} == {"plain", "advert"}

    again = cli(capsys, *words, "--json")
    assert again.code == 0
    assert again.out.count("\n") == 1
    found = json.loads(again.out)
    assert found["featurize"]["cached"] == found["featurize"]["images"]
    assert {item["reason"] for item in found["refusals"]} == {"not_an_image", "truncated"}
    verdicts = [[item["verdict"], item["path"]] for item in found["predictions"]]
    assert verdicts == [line[1:] for line in lines]
