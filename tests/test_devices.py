"""Where a network runs, and what is said where it cannot."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime
import pytest

from bundle_support import scoring_model
from keshikaran.backbones import DEVICE_NAMES, Device, EngineName, device_of, open_engine
from keshikaran.backbones.devices import (
    CardKind,
    Placement,
    find_card,
    has_driver,
    place,
    say_once,
    words_on_a_closed_card,
)
from keshikaran.errors import BackboneError, MissingExtraError
from keshikaran.types import Precision
from support import fake_backbone

_CUDA, _TENSORRT, _CPU = (
    "CUDAExecutionProvider",
    "TensorrtExecutionProvider",
    "CPUExecutionProvider",
)
_SHAPE = {"images": (32, 32), "small": (8, 16)}


@pytest.fixture(autouse=True)
def _said_nothing_yet() -> Iterator[None]:
    say_once.cache_clear()
    yield
    say_once.cache_clear()


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that ONNX Runtime was built with these providers."""

    def offered(*names: str) -> None:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*names])

    return offered


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that these packages, and no others, are installed."""

    def installed(*names: str) -> None:
        def version(name: str) -> str:
            if name not in names:
                raise importlib.metadata.PackageNotFoundError(name)
            return "1.31"

        monkeypatch.setattr("importlib.metadata.version", version)

    return installed


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)


@pytest.fixture
def on_the_processor(monkeypatch: pytest.MonkeyPatch, offer: Callable[..., None]) -> None:
    """ONNX Runtime claims to have CUDA, and opens its sessions on the processor all the same."""
    real = onnxruntime.InferenceSession

    def session(model: bytes, options: object, **_: object) -> object:
        return real(model, options, providers=[_CPU])

    offer(_CUDA, _CPU)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)


def test_cuda_comes_first_and_rounds_no_factors(offer: Callable[..., None]) -> None:
    offer(_TENSORRT, _CUDA, _CPU)
    found = place("cuda", "f32", _SHAPE)
    assert [name for name, _ in found.providers] == [_CUDA, _CPU]
    assert found.providers[0][1]["use_tf32"] == "0"
    assert found.providers[0][1]["cudnn_conv_algo_search"] == "HEURISTIC"
    assert found.memory == "cuda"


@pytest.mark.parametrize(("precision", "half"), [("f32", "0"), ("f16", "1")])
def test_tensorrt_builds_once_for_all_sizes_and_rounds_no_factors(
    precision: Precision,
    half: str,
    offer: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(_TENSORRT, _CUDA, _CPU)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    found = place("tensorrt", precision, _SHAPE)
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    assert [name for name, _ in found.providers] == [_TENSORRT, _CUDA, _CPU]
    settings = found.providers[0][1]
    assert settings["trt_fp16_enable"] == half
    assert settings["trt_profile_min_shapes"] == "images:1x32x32x3,small:1x8x16x3"
    assert settings["trt_profile_max_shapes"] == "images:64x32x32x3,small:64x8x16x3"
    folder = Path(settings["trt_engine_cache_path"])
    assert folder.is_relative_to(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_build_without_cards_is_named_with_what_to_install(
    device: Device, offer: Callable[..., None], install: Callable[..., None]
) -> None:
    offer(_CPU)
    install("onnxruntime")
    with pytest.raises(BackboneError, match="built without") as caught:
        open_engine(fake_backbone(), device=device)
    assert _CPU in caught.value.what
    assert "pip uninstall onnxruntime" in caught.value.hint
    assert "keshikaran[cuda]" in caught.value.hint


def test_two_builds_that_write_over_each_other_are_named(
    offer: Callable[..., None], install: Callable[..., None]
) -> None:
    offer(_CPU)
    install("onnxruntime", "onnxruntime-gpu")
    with pytest.raises(BackboneError, match="write over each other") as caught:
        place("cuda", "f32", _SHAPE)
    assert "pip uninstall onnxruntime onnxruntime-gpu" in caught.value.hint


def test_a_cuda_build_without_tensorrt_is_told_of_cuda(
    offer: Callable[..., None], install: Callable[..., None]
) -> None:
    offer(_CUDA, _CPU)
    install("onnxruntime-gpu")
    with pytest.raises(BackboneError, match="TensorrtExecutionProvider") as caught:
        place("tensorrt", "f32", _SHAPE)
    assert "--device cuda" in caught.value.hint


def test_without_any_onnx_runtime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"keshikaran\[cuda\]"):
        place("cuda", "f32", _SHAPE)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_bf16_is_for_processors(device: CardKind, offer: Callable[..., None]) -> None:
    offer(_TENSORRT, _CUDA, _CPU)
    with pytest.raises(BackboneError, match="bf16") as caught:
        place(device, "bf16", _SHAPE)
    assert "f16" in caught.value.hint


def test_openvino_and_a_card_exclude_each_other() -> None:
    with pytest.raises(BackboneError, match="OpenVINO runs on the processor") as caught:
        open_engine(fake_backbone(), engine="openvino", device="cuda")
    assert caught.value.hint


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_f16_without_a_card_is_an_error(device: Device, install: Callable[..., None]) -> None:
    install("onnxruntime")
    with pytest.raises(BackboneError, match="f16 is arithmetic of cards") as caught:
        open_engine(fake_backbone(), device=device, precision="f16")
    assert "--device cuda" in caught.value.hint


@pytest.mark.usefixtures("on_the_processor", "no_driver")
def test_a_session_that_lands_on_the_processor_is_an_error_without_a_driver() -> None:
    with pytest.raises(BackboneError, match="No NVIDIA driver was found") as caught:
        open_engine(fake_backbone(), device="cuda")
    assert "--gpus all" in caught.value.hint


@pytest.mark.usefixtures("on_the_processor")
def test_a_session_that_lands_on_the_processor_is_an_error_with_a_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keshikaran.backbones.devices.has_driver", lambda: True)
    with pytest.raises(BackboneError, match="cannot open the card for cuda") as caught:
        open_engine(fake_backbone(), device="cuda")
    assert "keshikaran[cuda]" in caught.value.hint


def test_what_onnx_runtime_says_of_a_card_is_passed_on(
    offer: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> object:
        msg = "CUDA failure 35: driver version is insufficient\nand more"
        raise RuntimeError(msg)

    offer(_CUDA, _CPU)
    monkeypatch.setattr(onnxruntime, "InferenceSession", fails)
    monkeypatch.setattr("keshikaran.backbones.devices.has_driver", lambda: True)
    with pytest.raises(
        BackboneError, match="It says: CUDA failure 35: driver version is insufficient The"
    ):
        open_engine(fake_backbone(), device="cuda")


def test_tensorrt_that_cannot_be_opened_has_its_own_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keshikaran.backbones.devices.has_driver", lambda: True)
    _, hint = words_on_a_closed_card("tensorrt", "")
    assert "pip install tensorrt" in hint


@pytest.mark.usefixtures("on_the_processor", "no_driver")
def test_auto_goes_on_with_the_processor_and_says_so_once(
    install: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    install("onnxruntime-gpu")
    engines = [open_engine(fake_backbone(), device="auto") for _ in range(3)]
    assert {device_of(engine) for engine in engines} == {"cpu"}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("Running on the processor: No NVIDIA driver")


@pytest.mark.usefixtures("on_the_processor", "no_driver")
def test_auto_does_not_hide_that_f16_needs_the_card(install: Callable[..., None]) -> None:
    install("onnxruntime-gpu")
    with pytest.raises(BackboneError, match="No NVIDIA driver"):
        open_engine(fake_backbone(), device="auto", precision="f16")


def test_auto_takes_the_card_where_one_answers(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = Placement("cuda", ((_CPU, {}),), "cpu")
    install("onnxruntime-gpu")
    monkeypatch.setattr("keshikaran.backbones.card_engine.place", lambda *_: processor)
    engine = open_engine(scoring_model().SerializeToString())
    assert device_of(engine) == "cuda"
    assert engine.batch_size == 64


@pytest.mark.parametrize("engine", ["auto", "openvino", "onnxruntime"])
@pytest.mark.usefixtures("on_the_processor")
def test_the_processor_asked_for_is_the_processor(
    engine: EngineName, install: Callable[..., None]
) -> None:
    install("onnxruntime-gpu")
    assert device_of(open_engine(fake_backbone(), engine=engine, device="cpu")) == "cpu"


def test_every_device_has_a_name() -> None:
    assert DEVICE_NAMES == ("auto", "cpu", "cuda", "tensorrt")


def test_the_driver_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", asked.append)
    assert has_driver()
    monkeypatch.setattr("sys.platform", "win32")
    assert has_driver()
    assert asked == ["libcuda.so.1", "nvcuda.dll"]


def _answering(monkeypatch: pytest.MonkeyPatch, text: str | Exception) -> list[list[str]]:
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        if isinstance(text, Exception):
            raise text
        return subprocess.CompletedProcess(command, 0, text, "")

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_the_card_is_described_by_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    asked = _answering(monkeypatch, "NVIDIA X, 80 GB, 81044 MiB, 580.95.05\nNVIDIA Y, 1 MiB, 1\n")
    card = find_card()
    assert card is not None
    assert (card.name, card.driver) == ("NVIDIA X, 80 GB", "580.95.05")
    assert card.free_bytes == 81044 * 1024 * 1024
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    find_card()
    assert [command[-1] for command in asked] == ["--format=csv,noheader", "--id=2"]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "no commas",
        "X, many MiB, 1",
        FileNotFoundError("nvidia-smi"),
        subprocess.TimeoutExpired("nvidia-smi", 1),
    ],
)
def test_a_silent_driver_leaves_the_card_unknown(
    answer: str | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answering(monkeypatch, answer)
    assert find_card() is None
