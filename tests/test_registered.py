"""Networks that were added: kept, listed, checked when they are loaded, removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keshikaran.backbones import known_names, load_backbone, registered
from keshikaran.backbones.registered import (
    backbones_folder,
    is_name,
    name_of_digest,
    read_record,
    register,
    registered_names,
    unregister,
)
from keshikaran.bundle import read_bundle
from keshikaran.errors import BackboneError, StoreError
from keshikaran.hashing import write_durably
from keshikaran.preparation import open_bundle_tools
from keshikaran.store import Workspace
from keshikaran.training import TrainingOptions, TrainingResult
from support import fake_backbone
from zoo_support import plane_means, register_fake


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "backbones"
    monkeypatch.setenv("KESHIKARAN_BACKBONES", str(place))
    return place


def test_registered_network_is_found_by_name() -> None:
    record = register_fake("quadrants", fake_backbone())
    backbone = load_backbone("quadrants")
    assert (backbone.name, backbone.digest) == ("quadrants", record.digest)
    assert backbone.licence == "CC0-1.0"
    assert backbone.model == fake_backbone()


def test_known_names_begin_with_the_one_in_the_package() -> None:
    assert known_names() == ["efficientnet-lite0"]
    register_fake("zebra", fake_backbone())
    register_fake("ant", fake_backbone())
    assert known_names() == ["efficientnet-lite0", "ant", "zebra"]


def test_unknown_name_lists_what_was_added() -> None:
    register_fake("mine", fake_backbone())
    with pytest.raises(BackboneError, match="no backbone named theirs") as caught:
        load_backbone("theirs")
    assert "efficientnet-lite0, mine" in caught.value.hint


def test_record_tells_when_and_what(folder: Path) -> None:
    record = register_fake("mine", fake_backbone())
    assert record.created.startswith("20")
    assert read_record("mine") == record
    assert sorted(path.name for path in folder.iterdir()) == ["mine.json", "mine.onnx"]


def test_changed_file_is_not_loaded(folder: Path) -> None:
    register_fake("mine", fake_backbone())
    file = folder / "mine.onnx"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(bytes(data))
    with pytest.raises(BackboneError, match="is not the network that was added"):
        load_backbone("mine")
    file.write_bytes(bytes(data) + b"more")
    with pytest.raises(BackboneError, match="is not the network that was added"):
        load_backbone("mine")
    file.unlink()
    with pytest.raises(BackboneError, match="cannot be read"):
        load_backbone("mine")


def _drop(stored: dict[str, Any]) -> None:
    del stored["dim"]


def _rename(stored: dict[str, Any]) -> None:
    stored["name"] = "another"


def _infinite(stored: dict[str, Any]) -> None:
    stored["ms_per_image"] = float("inf")


def _wrong_kind(stored: dict[str, Any]) -> None:
    stored["bytes"] = "many"


def _no_digest(stored: dict[str, Any]) -> None:
    stored["digest"] = "../../etc/passwd"


@pytest.mark.parametrize("change", [_drop, _rename, _infinite, _wrong_kind, _no_digest])
def test_damaged_record_is_named(change: Callable[[dict[str, Any]], None], folder: Path) -> None:
    register_fake("mine", fake_backbone())
    file = folder / "mine.json"
    stored = json.loads(file.read_text())
    change(stored)
    file.write_text(json.dumps(stored))
    with pytest.raises(BackboneError, match="is no record of a backbone"):
        load_backbone("mine")


@pytest.mark.parametrize("text", ["{", "[1]", " " * 100_000], ids=["cut", "list", "large"])
def test_record_that_is_none_is_named(text: str, folder: Path) -> None:
    register_fake("mine", fake_backbone())
    (folder / "mine.json").write_text(text)
    with pytest.raises(BackboneError, match="is no record of a backbone"):
        load_backbone("mine")
    unregister("mine")
    assert registered_names() == []


def test_record_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_fake("mine", fake_backbone())

    def fail(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(BackboneError, match="Permission denied"):
        read_record("mine")


def test_folder_that_cannot_be_listed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "glob", fail)
    with pytest.raises(BackboneError, match="Permission denied"):
        registered_names()


def test_name_of_another_network_is_kept() -> None:
    register_fake("mine", fake_backbone())
    register_fake("mine", fake_backbone())  # the same again
    other = fake_backbone().replace(b"quadrants", b"quarters!")
    with pytest.raises(BackboneError, match="is called mine already"):
        register_fake("mine", other)
    assert load_backbone("mine").model == fake_backbone()


@pytest.mark.parametrize("name", ["../evil", "", "UPPER", "a/b", ".hidden", "a.onnx", "x" * 81])
def test_names_that_could_be_paths_are_none(name: str, folder: Path) -> None:
    assert not is_name(name)
    record = replace(register_fake("fine", fake_backbone()), name=name)
    with pytest.raises(BackboneError, match="cannot be called"):
        register(record, fake_backbone())
    assert read_record(name) is None
    with pytest.raises(BackboneError, match=r"No backbone named .* was added"):
        unregister(name)
    assert sorted(path.name for path in folder.iterdir()) == ["fine.json", "fine.onnx"]


def test_removing_leaves_nothing(folder: Path) -> None:
    register_fake("mine", fake_backbone())
    unregister("mine")
    assert list(folder.iterdir()) == []
    with pytest.raises(BackboneError, match="No backbone named mine") as caught:
        unregister("mine")
    assert "none so far" in caught.value.hint


def test_removing_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    register_fake("mine", fake_backbone())

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(StoreError, match="could not be written"):
        unregister("mine")


def test_crash_before_the_record_leaves_nothing_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_durably

    def crash(path: Path, data: bytes) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        written(path, data)

    monkeypatch.setattr(registered, "write_durably", crash)
    with pytest.raises(KeyboardInterrupt):
        register_fake("mine", fake_backbone())
    assert registered_names() == []


def test_network_is_found_by_its_digest(folder: Path) -> None:
    assert name_of_digest("0" * 64) is None
    record = register_fake("mine", fake_backbone())
    register_fake("also", plane_means("Mul", 1.0))
    (folder / "also.json").write_text("{}")
    assert name_of_digest(record.digest) == "mine"
    assert name_of_digest("0" * 64) is None


def test_features_of_a_registered_network_serve_the_models_made_with_it(
    trained: TrainingResult, tmp_path: Path
) -> None:
    place = shutil.copytree(trained.model_path.parent.parent, tmp_path / "ws")
    bundle = read_bundle(place / "models" / trained.model_path.name)
    found = []
    for added in (False, True):
        if added:
            register_fake("mine", fake_backbone())
        with open_bundle_tools(Workspace(place), bundle, TrainingOptions()) as tools:
            wanted = [image.image_id for image in tools.store.labels.images()]
            missing = tools.cache.missing(tools.featurizer.recipe, wanted)
            found.append((tools.backbone.name, len(missing) == 0))
    assert found == [("quadrants", False), ("mine", True)]


@pytest.mark.parametrize(
    ("system", "variable", "below"),
    [
        ("linux", "XDG_DATA_HOME", "given/keshikaran/backbones"),
        ("linux", None, "home/.local/share/keshikaran/backbones"),
        ("darwin", None, "home/Library/Application Support/keshikaran/backbones"),
        ("win32", "LOCALAPPDATA", "given/keshikaran/backbones"),
        ("win32", None, "home/AppData/Local/keshikaran/backbones"),
    ],
)
def test_folder_is_among_the_users_own_data(
    system: str, variable: str | None, below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KESHIKARAN_BACKBONES", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, str(tmp_path / "given"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr("keshikaran.backbones.registered.sys.platform", system)
    assert backbones_folder() == tmp_path / below
