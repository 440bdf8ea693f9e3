"""Teaching a network, with torch. `make test-torch` runs these."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cli_support import cli
from finetune_support import SIDE, make_job, striped, tiny_network
from keshikaran.backbones import load_backbone, open_engine, read_graph
from keshikaran.backbones.efficientnet_lite import VARIANTS, Origin, build_model
from keshikaran.backbones.taught import taught_images, teaching_of
from keshikaran.errors import BackboneError, StoreError
from keshikaran.finetune import AUGMENTATIONS, Augmentation, Listeners
from keshikaran.store import Store
from keshikaran.types import SilentProgress, UInt8Array
from support import write_classes
from zoo_support import made_up_weights, plane_means

pytestmark = pytest.mark.torch

_TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KESHIKARAN_BACKBONES", str(tmp_path / "backbones"))
    return tmp_path / "backbones"


def _run(folder: Path, said: list[str] | None = None, log: Path | None = None) -> Any:
    from keshikaran.finetune.device import Ranks
    from keshikaran.finetune.run import run_job

    say: Callable[[str], None] = (said if said is not None else []).append
    return run_job(folder, Ranks(), Listeners(say, SilentProgress(), log), "cpu")


def _noise(height: int, width: int) -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)


def _by_torch(model: bytes, images: UInt8Array) -> np.ndarray:
    import torch

    from keshikaran.finetune.network import GraphModule, teachable

    graph = onnx.load_model_from_string(model).graph
    names = teachable(graph, graph.node)
    module = GraphModule(graph, graph.node, graph.input[0].name, graph.output[0].name, names)
    with torch.inference_mode():
        found: np.ndarray = module(torch.from_numpy(images)).numpy()
    return found


def _lite0() -> bytes:
    weights = made_up_weights("efficientnet-lite0")
    model = build_model(VARIANTS["efficientnet-lite0"], weights, Origin("p", "1", "0" * 64))
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("model", [tiny_network(), _lite0()], ids=["tiny", "lite0"])
def test_torch_computes_what_the_engine_does(model: bytes) -> None:
    _, signature = read_graph(model, "it")
    images = _noise(signature.height, signature.width)
    expected = open_engine(model, streams=1).infer(images)["features"]
    np.testing.assert_allclose(
        _by_torch(model, images), expected, atol=1e-4 * np.abs(expected).max()
    )


@pytest.mark.parametrize(
    "name",
    ["test_efficientnet", "test_efficientnet_ln", "test_convnext", "test_vit", "test_resnet"],
)
def test_networks_of_timm_can_be_taught(name: str) -> None:
    from keshikaran.finetune.cut import last_blocks
    from keshikaran.finetune.network import check_teachable
    from keshikaran.zoo.timm_export import from_timm

    model = from_timm(name, _noise, random_weights=True).model
    graph, signature = read_graph(model, name)
    images = _noise(signature.height, signature.width)
    expected = open_engine(model, streams=1).infer(images)["features"]
    np.testing.assert_allclose(
        _by_torch(model, images), expected, atol=1e-4 * np.abs(expected).max()
    )
    check_teachable(graph.graph, name)
    halves = last_blocks(graph, signature.input_name, "features", name)
    assert 0.25 <= halves.share <= 0.45


def test_last_third_of_lite0_is_the_blocks_before_the_head() -> None:
    from keshikaran.finetune.cut import last_blocks
    from keshikaran.finetune.network import teachable

    model, signature = read_graph(load_backbone().model, "lite0")
    halves = last_blocks(model, signature.input_name, "features", "lite0")
    assert (halves.middle, len(halves.front) + len(halves.back)) == (
        "blocks.11.project_conv",
        len(model.graph.node),
    )
    names = teachable(model.graph, halves.back)
    assert names[0] == "blocks.12.expand_conv.weight"
    assert names[-1] == "conv_head.bias"
    assert "pixel_centre" not in teachable(model.graph, model.graph.node)


@pytest.mark.parametrize("blocks", ["last", "all"])
def test_teaching_lowers_the_validation_loss_and_answers_as_torch_does(
    tmp_path: Path, blocks: str
) -> None:
    said: list[str] = []
    job = make_job(tmp_path / "job", blocks=blocks, epochs=8)
    done = _run(job.folder, said, tmp_path / "log")
    assert done.best.epoch > 0
    assert done.best.validation_loss < 0.9 * done.history[0].validation_loss
    assert said[0].startswith(f"Fine-tuning {'33%' if blocks == 'last' else 'all'} of tiny on CPU")
    assert said[1].endswith("as it was")
    assert "images/s" in said[2]
    assert list((tmp_path / "log").glob("events*"))
    before = onnx.load_model_from_string(tiny_network()).graph
    after, signature = read_graph(done.model, "tiny")
    assert [node.op_type for node in after.graph.node] == [node.op_type for node in before.node]
    changed = {
        new.name
        for old, new in zip(before.initializer, after.graph.initializer, strict=True)
        if old.raw_data != new.raw_data
    }
    expected = {"three.weight", "three.bias"}
    if blocks == "all":
        expected |= {"one.weight", "one.bias", "two.weight", "two.bias"}
    assert changed == expected
    notes = {entry.key: entry.value for entry in after.metadata_props}
    facts = json.loads(notes["finetuned"])
    assert (facts["name"], facts["epoch"]) == ("tiny", done.best.epoch)
    assert signature.height == SIDE


def test_small_pieces_and_large_ones_teach_the_same(tmp_path: Path) -> None:
    whole = _run(make_job(tmp_path / "a", dropout=0.0).folder)
    pieces = _run(make_job(tmp_path / "b", dropout=0.0, micro_batch=5).folder)
    assert pieces.best.validation_loss == pytest.approx(whole.best.validation_loss, abs=1e-5)


def test_same_seed_gives_the_same_network_and_another_one_another(tmp_path: Path) -> None:
    first, again = (_run(make_job(tmp_path / name).folder) for name in "ab")
    other = _run(make_job(tmp_path / "c", seed=1).folder)
    assert first.model == again.model
    assert first.model != other.model


_CHILD = """
import sys
from pathlib import Path
from keshikaran.finetune import Listeners, tuning
from keshikaran.finetune.device import Ranks
from keshikaran.finetune.run import run_job
from keshikaran.types import SilentProgress

import torch
torch.set_num_threads(1)
tuning._CHECKPOINT_EVERY_S = 0.0
write, count = tuning.write_checkpoint, 0

def counted(path, state):
    global count
    write(path, state)
    count += 1
    print(count, flush=True)

tuning.write_checkpoint = counted
run_job(Path(sys.argv[1]), Ranks(), Listeners(lambda words: None, SilentProgress()), "cpu")
"""


@pytest.mark.parametrize("blocks", ["last", "all"])
def test_killed_and_resumed_it_ends_as_if_nothing_had_been(tmp_path: Path, blocks: str) -> None:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = _run(make_job(tmp_path / "whole", blocks=blocks, epochs=4).folder)
    folder = make_job(tmp_path / "killed", blocks=blocks, epochs=4).folder
    for kills in (2, 9):  # within the first epoch, and within a later one
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == kills:
                child.send_signal(signal.SIGKILL)
                break
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
    assert (folder / "checkpoint.safetensors").is_file()
    said: list[str] = []
    found = _run(folder, said)
    torch.set_num_threads(threads)
    assert said[1] == "It goes on where it was broken off."
    assert found.best.epoch == expected.best.epoch
    losses = [[one.validation_loss for one in run.history] for run in (found, expected)]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)
    assert found.model == expected.model


def test_damaged_checkpoint_ends_in_advice(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", epochs=1)
    _run(job.folder)
    job.checkpoint.write_bytes(job.checkpoint.read_bytes()[:-100])
    with pytest.raises(BackboneError, match="damaged") as caught:
        _run(job.folder)
    assert "Delete the folder" in caught.value.hint


def test_pickle_in_place_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "boom"),))

    job = make_job(tmp_path / "job", epochs=1)
    job.checkpoint.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BackboneError, match="damaged"):
        _run(job.folder)
    assert not (tmp_path / "boom").exists()


def test_checkpoint_that_cannot_be_written_ends_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keshikaran.finetune import tuning

    def full(*_: object) -> None:
        msg = "The disk is full."
        raise StoreError(msg, "Free some space.")

    monkeypatch.setattr(tuning, "write_checkpoint", full)
    with pytest.raises(StoreError, match="disk is full"):
        _run(make_job(tmp_path / "job").folder)


def test_it_ends_early_where_nothing_is_to_be_learned(tmp_path: Path) -> None:
    """Labels that have nothing to do with the pictures: validation gets no better."""
    job = make_job(tmp_path / "job", epochs=20, patience=2, learning_rate=0.3)
    stored = json.loads((job.folder / "job.json").read_bytes())
    stored["train_labels"] = [1 - label for label in stored["train_labels"]]
    (job.folder / "job.json").write_text(json.dumps(stored))
    done = _run(job.folder)
    assert len(done.history) - 1 - done.best.epoch <= 2
    assert len(done.history) < 21


def test_nothing_is_made_where_no_epoch_is_better(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", epochs=2, learning_rate=1e-12)
    stored = json.loads((job.folder / "job.json").read_bytes())
    stored["settings"] |= {"learning_rate": 0.0}
    (job.folder / "job.json").write_text(json.dumps(stored))
    done = _run(job.folder)
    assert (done.best.epoch, done.model) == (0, None)


def test_network_that_cannot_be_taught_is_named(tmp_path: Path) -> None:
    graph = plane_means("Max", 0.0)
    with pytest.raises(BackboneError, match="cannot be fine-tuned: it uses Max"):
        _run(make_job(tmp_path / "a", graph).folder)


def test_network_without_blocks_is_taught_as_a_whole_or_not(tmp_path: Path) -> None:
    job = make_job(tmp_path / "a", tiny_network(features=64))
    with pytest.raises(BackboneError, match="no place between blocks") as caught:
        _run(job.folder)
    assert "--blocks all" in caught.value.hint


def test_torch_that_disagrees_with_the_engine_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keshikaran.finetune import operators

    monkeypatch.setitem(operators.OPERATORS, "Clip", lambda a, x, *_: x)
    with pytest.raises(BackboneError, match="otherwise than the engine does"):
        _run(make_job(tmp_path / "job").folder)


def test_device_that_is_not_there_is_refused() -> None:
    import torch

    from keshikaran.finetune.device import choose_device

    assert choose_device("cpu").type == "cpu"
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(BackboneError, match=f"sees no device {missing}"):
        choose_device(missing)


def test_pictures_keep_most_of_what_they_show() -> None:
    import torch

    from keshikaran.finetune.augment import augmented, draw

    images = torch.from_numpy(striped(6, 32, 0)[0])
    rows = np.arange(6)
    same = augmented(images, draw(0, 1, 6, ()), rows, 32, 32)
    assert torch.equal(same, images)
    flip: tuple[Augmentation, ...] = ("flip",)
    mirrored = augmented(images, draw(0, 1, 6, flip), rows, 32, 32)
    kinds = {
        (torch.equal(new, old), torch.equal(new, old.flip(1)))
        for new, old in zip(mirrored, images, strict=True)
    }
    assert kinds == {(True, False), (False, True)}
    draws = draw(0, 1, 1000, AUGMENTATIONS)
    assert draws.side.min() >= 0.8
    assert (np.abs(draws.place) <= 1 - draws.side[:, None] + 1e-6).all()
    assert np.abs(draws.light - 1).max() <= 0.2 + 1e-6
    again = draw(0, 1, 1000, AUGMENTATIONS)
    assert (draws.side == again.side).all()
    assert (draws.side != draw(0, 2, 1000, AUGMENTATIONS).side).any()


@pytest.mark.parametrize("processes", [2])
def test_several_processes_teach_as_one_does(tmp_path: Path, processes: int) -> None:
    alone = _run(make_job(tmp_path / "alone", dropout=0.0).folder)
    folder = make_job(tmp_path / "shared", dropout=0.0).folder
    script = tmp_path / "worker.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from keshikaran.finetune import Listeners\n"
        "from keshikaran.finetune.crew import Crew\n"
        "from keshikaran.types import SilentProgress\n"
        "with Crew('cpu') as crew:\n"
        "    if crew.ranks.rank:\n"
        "        crew.follow()\n"
        "    else:\n"
        "        listeners = Listeners(print, SilentProgress())\n"
        "        done = crew.lead(Path(sys.argv[1]), listeners)\n"
        "        print('LOSS', done.best.validation_loss)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, f"--nproc-per-node={processes}", str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert f"{processes} processes" in done.stdout
    loss = float(done.stdout.split("LOSS")[1].split()[0])
    assert loss == pytest.approx(alone.best.validation_loss, abs=1e-4)


def _train(capsys: pytest.CaptureFixture[str], place: Path, *words: str | Path) -> Any:
    usual = ("--isolation", "off", "--no-tensorboard", "--workspace", place, "--json")
    return cli(capsys, "train", *words, *usual)


def test_command_makes_a_bundle_on_a_network_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, registry: Path
) -> None:
    network = tmp_path / "tiny.onnx"
    network.write_bytes(tiny_network())
    place = tmp_path / "ws"
    pictures = write_classes(tmp_path / "pictures", 60)
    words = ("--backbone", network, "--finetune", "--epochs", "3", "--device", "cpu")
    done = _train(capsys, place, pictures, "--positive", "red", *words)
    assert done.code == 0, done.err
    assert "Fine-tuning 33% of tiny on CPU" in done.err
    assert "finetune" in json.loads(done.out)["timing_s"]
    (record,) = registry.glob("*.json")
    name = record.stem
    assert name.startswith("tiny-finetuned-")
    backbone = load_backbone(name)
    facts = teaching_of(backbone)
    assert facts is not None
    assert facts["name"] == "tiny"
    with Store(place) as store:
        sides = store.splits()
    assert taught_images(backbone) == {one for one, side in sides.items() if side == "train"}
    assert not list((place / "finetuning").iterdir())
    again = _train(capsys, place, *words)
    assert "was fine-tuned on the same images before" in again.err
    as_it_is = _train(capsys, place, "--backbone", name)
    assert as_it_is.code == 0, as_it_is.err
    scores = [json.loads(one.out)["metrics"]["test"]["log_loss"] for one in (done, again, as_it_is)]
    assert scores[0] == scores[1] == scores[2]
    other = _train(capsys, place, "--backbone", name, "--salt", "another")
    assert other.code == 1
    assert "was fine-tuned on" in other.err
    assert "keshikaran train --finetune" in other.err


def test_tensorboard_folder_that_cannot_be_written_ends_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="could not be written"):
        _run(make_job(tmp_path / "job").folder, log=tmp_path / "file" / "log")


def test_network_that_learned_nothing_leaves_the_backbone_as_it_was(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, registry: Path, monkeypatch: Any
) -> None:
    from keshikaran.finetune import tuning

    monkeypatch.setattr(tuning, "learning_rate", lambda work, step: 0.0)
    network = tmp_path / "Tiny one.onnx"
    network.write_bytes(tiny_network())
    place = tmp_path / "ws"
    pictures = write_classes(tmp_path / "pictures", 40)
    words = ("--backbone", network, "--finetune", "--epochs", "1", "--device", "cpu")
    done = _train(capsys, place, pictures, "--positive", "red", *words)
    assert done.code == 0, done.err
    assert "No epoch was better on the validation images: Tiny one stays as it is." in done.err
    assert not registry.exists()
    assert not list((place / "finetuning").iterdir())
