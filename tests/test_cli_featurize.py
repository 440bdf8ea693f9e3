"""The command `featurize`, and where networks run."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli_support import cli
from keshikaran.backbones.devices import Placement
from keshikaran.store import FeatureCache, Workspace
from keshikaran.training import TrainingResult
from support import write_classes

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("in"), 20)


@pytest.fixture
def words(
    pictures: Path, tmp_path: Path, backbone_file: Path, capsys: Captured
) -> tuple[str | Path, ...]:
    """What every call ends with."""
    folder = tmp_path / "ws"
    assert cli(capsys, "import", pictures, "--positive", "red", "-w", folder).code == 0
    return ("-w", folder, "--backbone", backbone_file, "--isolation", "off")


def test_rate_and_bound_stand_side_by_side(
    words: tuple[str | Path, ...], tmp_path: Path, capsys: Captured
) -> None:
    done = cli(capsys, "featurize", *words)
    assert done.code == 0
    number = r"[\d,]+"
    assert re.fullmatch(
        rf"40 images, 0 of them done before: {number} images/s; bound {number}"
        rf" \(decode {number}, inference {number} on cpu in f32\)\n",
        done.out,
    )
    assert done.err.splitlines()[-1] == f"Next: keshikaran train --workspace {tmp_path}/ws"
    again = cli(capsys, "featurize", "--json", *words)
    found = json.loads(again.out)
    assert (found["images"], found["cached"], found["undecodable"]) == (40, 40, 0)
    assert found["images_per_s"] is found["bound"] is None


def test_json_has_the_bound(words: tuple[str | Path, ...], capsys: Captured) -> None:
    found = json.loads(cli(capsys, "featurize", "--json", *words).out)
    bound = found["bound"]
    assert set(bound) == {"images_per_s", "decode_per_s", "infer_per_s", "device", "precision"}
    assert (bound["device"], bound["precision"]) == ("cpu", "f32")
    assert found["images_per_s"] > 0


def test_all_means_images_without_labels_too(
    words: tuple[str | Path, ...], tmp_path: Path, capsys: Captured
) -> None:
    folder = write_classes(tmp_path / "more", 3, start=900)
    (folder / "broken.png").write_bytes((folder / "red" / "0900.png").read_bytes()[:90])
    files = [*(folder / "blue").iterdir(), folder / "broken.png"]
    assert cli(capsys, "import", *files, *words[:2]).code in {0, 3}
    usual = json.loads(cli(capsys, "featurize", "--json", *words).out)
    done = cli(capsys, "featurize", "--all", "--json", *words)
    found = json.loads(done.out)
    assert usual["images"] == 40
    assert found["images"] >= 43
    assert found["cached"] == 40
    assert done.code == (3 if found["undecodable"] else 0)
    with FeatureCache(Workspace(tmp_path / "ws").features) as cache:
        (recipe,) = cache.recipes(_digest(words[3]))
        assert len(cache.images(recipe)) == 43


def _digest(backbone: str | Path) -> str:
    return hashlib.sha256(Path(backbone).read_bytes()).hexdigest()


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_card_asked_for_and_not_there_is_an_error_everywhere(
    device: str, words: tuple[str | Path, ...], red_and_blue: Path, capsys: Captured
) -> None:
    for command in (("featurize",), ("train", red_and_blue, "--positive", "red")):
        done = cli(capsys, *command, "--device", device, *words)
        assert (done.code, done.out) == (1, "")
        assert "built without" in done.err
        assert "keshikaran[cuda]" in done.err


def test_models_are_not_run_elsewhere_than_asked(
    trained_file: Path, red_and_blue: Path, capsys: Captured
) -> None:
    model = ("--model", trained_file, "--isolation", "off", "--device")
    red = red_and_blue / "red" / "0000.png"
    for command in (
        ("predict", red),
        ("evaluate", red_and_blue, "--positive", "red"),
        ("serve", "--port", "0"),
    ):
        done = cli(capsys, *command, *model, "cuda")
        assert (done.code, done.out) == (1, "")
        assert "built without CUDAExecutionProvider" in done.err
    assert cli(capsys, "predict", red, *model, "cpu").code == 0


@pytest.fixture
def trained_file(trained: TrainingResult) -> Path:
    return trained.model_path


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor in a card's place: the way is the card's, the arithmetic is not."""
    processor = Placement("cuda", (("CPUExecutionProvider", {}),), "cpu")
    monkeypatch.setattr("keshikaran.backbones.card_engine.place", lambda *_: processor)


@pytest.mark.usefixtures("card")
def test_f32_of_a_card_and_of_the_processor_are_one_and_f16_is_another(
    words: tuple[str | Path, ...], capsys: Captured
) -> None:
    def run(*more: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(cli(capsys, "featurize", "--json", *more, *words).out)
        return found

    first = run("--device", "cuda")
    assert (first["cached"], first["bound"]["device"]) == (0, "cuda")
    assert run("--device", "cpu")["cached"] == 40
    half = run("--device", "cuda", "--precision", "f16")
    assert (half["cached"], half["bound"]["precision"]) == (0, "f16")


@pytest.mark.usefixtures("card")
def test_a_model_made_in_f16_on_a_card_answers_without_one(
    words: tuple[str | Path, ...],
    pictures: Path,
    capsys: Captured,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = ("--device", "cuda", "--precision", "f16", "--no-tensorboard", "--json")
    done = json.loads(cli(capsys, "train", *asked, *words).out)
    assert done["featurize"]["bound"]["device"] == "cuda"
    model = ("--model", done["model_path"], "--isolation", "off", "--quiet")
    red = pictures / "red" / "0000.png"
    there = cli(capsys, "predict", red, *model, "--device", "cuda")
    here = cli(capsys, "predict", red, *model, "--device", "cpu")
    assert (there.code, here.code) == (0, 0)
    assert abs(float(there.out) - float(here.out)) < 0.1
    (said,) = [r.getMessage() for r in caplog.records if "made in f16" in r.getMessage()]
    assert "runs in f32" in said
