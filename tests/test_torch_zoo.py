"""Networks of timm, exported and held against torch. `make test-torch` runs these."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import cli
from keshikaran.backbones import load_backbone, open_engine, read_graph
from keshikaran.errors import BackboneError
from keshikaran.types import UInt8Array
from keshikaran.zoo import timm_export
from keshikaran.zoo.timm_export import from_timm

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KESHIKARAN_BACKBONES", str(tmp_path / "backbones"))
    return tmp_path / "backbones"


def _noise(height: int, width: int) -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "name",
    ["test_efficientnet", "test_efficientnet_ln", "test_convnext", "test_vit", "test_resnet"],
)
def test_families_are_exported_as_torch_computes_them(name: str) -> None:
    made = from_timm(name, _noise, random_weights=True)
    assert (made.name, made.source) == (f"{name}-random", f"timm:{name}")
    assert made.random_weights
    assert made.licence == timm_export.RANDOM_LICENCE
    assert made.difference is not None
    assert made.difference < 1e-3
    assert made.checked_on == 3
    _, signature = read_graph(made.model, name)
    images = _noise(signature.height, signature.width)
    features = open_engine(made.model, streams=1).infer(images)["features"]
    assert features.shape == (3, *signature.outputs["features"])
    again = open_engine(made.model, engine="onnxruntime", streams=1).infer(images)["features"]
    np.testing.assert_allclose(features, again, atol=1e-3 * np.abs(features).max())


def test_normalisation_is_inside() -> None:
    """An image in the colour of the mean is all zeros to the network behind."""
    import timm
    import torch

    made = from_timm("test_convnext", _noise, random_weights=True)
    torch.manual_seed(0)
    network = timm.create_model("test_convnext", num_classes=0, exportable=True).eval()
    facts = timm.data.resolve_model_data_config(network)
    _, height, width = facts["input_size"]
    mean = np.round(255 * np.array(facts["mean"])).astype(np.uint8)
    image = np.broadcast_to(mean, (1, height, width, 3)).copy()
    planes = (mean / 255 - np.array(facts["mean"])) / np.array(facts["std"])
    expected = network(
        torch.tensor(planes, dtype=torch.float32).reshape(1, 3, 1, 1).expand(1, 3, height, width)
    )
    found = open_engine(made.model, streams=1).infer(image)["features"]
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-4)


def test_same_network_gives_the_same_file_with_nothing_of_this_machine() -> None:
    files = [from_timm("test_vit", _noise, random_weights=True).model for _ in range(2)]
    assert files[0] == files[1]
    assert b"site-packages" not in files[0]
    assert str(Path.cwd()).encode() not in files[0]


def test_command_adds_a_random_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("backbone", "add", "timm:test_efficientnet", "--random", "--isolation", "off")
    done = cli(capsys, *words, "--workspace", tmp_path / "none", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["name"] == "test_efficientnet-random"
    assert record["random_weights"] is True
    assert record["licence"] == "none (random weights)"
    assert record["difference"] < 1e-3
    assert load_backbone("test_efficientnet-random").digest == record["digest"]


def test_unknown_network_is_told_its_neighbours() -> None:
    with pytest.raises(BackboneError, match="no network named efficientnet_b99") as caught:
        from_timm("efficientnet_b99", _noise)
    assert caught.value.hint == "Check its name."
    with pytest.raises(BackboneError) as caught:
        from_timm("test_eff", _noise)
    assert "test_efficientnet" in caught.value.hint


def test_hub_that_cannot_be_reached_ends_in_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def fail(*_: object, **__: object) -> None:
        msg = "Name or service not known\nand more"
        raise OSError(msg)

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(BackboneError, match=r"cannot be had: OSError: Name or service") as caught:
        from_timm("test_vit", _noise)
    assert "--random" in caught.value.hint
    assert "and more" not in caught.value.what


def test_network_that_does_not_pool_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    make = timm.create_model

    def unpooled(name: str, **options: Any) -> Any:
        return make(name, global_pool="", **options)

    monkeypatch.setattr(timm, "create_model", unpooled)
    with pytest.raises(BackboneError, match="not one row of features an image"):
        from_timm("test_efficientnet", _noise, random_weights=True)


def test_network_that_cannot_be_exported_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def fail(*_: object, **__: object) -> None:
        msg = "no such operator"
        raise RuntimeError(msg)

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(BackboneError, match="cannot be exported: RuntimeError: no such operator"):
        from_timm("test_vit", _noise, random_weights=True)


def test_export_that_differs_from_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    run = timm_export._run
    monkeypatch.setattr(timm_export, "_run", lambda *parts: 1.01 * run(*parts))
    with pytest.raises(BackboneError, match="differs from torch by"):
        from_timm("test_vit", _noise, random_weights=True)
