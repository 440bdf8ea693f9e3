"""Where a network runs: on the processor, or on an NVIDIA card through ONNX Runtime.

A card that was asked for is used or is an error that says what is missing. `auto` takes one where
the CUDA build of ONNX Runtime is installed and the card can be opened, and says so in one line
where it cannot.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from keshikaran.errors import BackboneError, MissingExtraError
from keshikaran.types import Precision

CardKind = Literal["cuda", "tensorrt"]
Inputs = Mapping[str, tuple[int, int]]
"""Name → rows and columns of each input of a network."""

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
DEVICE_NAMES: tuple[Device, ...] = get_args(Device)

MAX_BATCH = 64
"""Images in a call to a card, at most: more gain little, and a smaller upload waits longer."""

_PROVIDERS: Mapping[CardKind, str] = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_CUDA_OPTIONS: Mapping[str, str] = {
    # TF32 rounds factors to 10 bits: f32 is to mean f32 on every machine.
    "use_tf32": "0",
    # The other search takes the time of each algorithm: another one each day.
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
}
_TF32_SWITCH = "NVIDIA_TF32_OVERRIDE"
_QUERY = ("nvidia-smi", "--query-gpu=name,memory.free,driver_version", "--format=csv,noheader")
_QUERY_TIMEOUT_S = 20.0
_MIB = 1024 * 1024

_logger = logging.getLogger("keshikaran")


@dataclass(frozen=True, slots=True)
class Placement:
    """How ONNX Runtime is told to use a card.

    Attributes:
        device: what was asked for.
        providers: names with their settings; the first is the one that must be had.
        memory: where ONNX Runtime is to keep what goes into the network, in its words.
    """

    device: CardKind
    providers: tuple[tuple[str, dict[str, str]], ...]
    memory: str = "cuda"


@dataclass(frozen=True, slots=True)
class Card:
    """What the driver says of a card.

    Attributes:
        name: its model.
        free_bytes: memory that nobody uses.
        driver: the driver's version.
    """

    name: str
    free_bytes: int
    driver: str


def place(device: CardKind, precision: Precision, inputs: Inputs) -> Placement:
    """The settings for a card, if this ONNX Runtime can use one.

    Args:
        device: which road to the card.
        precision: f32 or f16.
        inputs: the network's.

    Raises:
        MissingExtraError: there is no ONNX Runtime.
        BackboneError: it was built without what was asked for, or the precision is none of a card.
    """
    if precision == "bf16":
        msg = f"{device} runs f32 and f16; bf16 is arithmetic of processors."
        raise BackboneError(msg, "Use --precision f16, or --device cpu.")
    if not importlib.util.find_spec("onnxruntime"):
        what = f"The device {device}"
        raise MissingExtraError(what, "cuda")
    import onnxruntime

    offered = onnxruntime.get_available_providers()
    if _PROVIDERS[device] not in offered:
        raise BackboneError(*_words_on_the_build(device, offered))
    cuda = (_PROVIDERS["cuda"], dict(_CUDA_OPTIONS))
    cpu = ("CPUExecutionProvider", dict[str, str]())
    if device == "cuda":
        return Placement(device, (cuda, cpu))
    os.environ[_TF32_SWITCH] = "0"  # TensorRT has no other switch, and asks once in a process
    tensorrt = (_PROVIDERS["tensorrt"], _tensorrt_options(precision, inputs))
    return Placement(device, (tensorrt, cuda, cpu))


def _tensorrt_options(precision: Precision, inputs: Inputs) -> dict[str, str]:
    """Keep what took minutes to build, and build once for all numbers of images."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(home) / "keshikaran" / "tensorrt"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    profile = {
        f"trt_profile_{end}_shapes": ",".join(
            f"{name}:{images}x{height}x{width}x3" for name, (height, width) in inputs.items()
        )
        for end, images in (("min", 1), ("opt", MAX_BATCH), ("max", MAX_BATCH))
    }
    return {
        "trt_fp16_enable": "1" if precision == "f16" else "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        **profile,
    }


def has_cuda_build() -> bool:
    """Whether the package `onnxruntime-gpu` is installed."""
    return _is_installed("onnxruntime-gpu")


def has_driver() -> bool:
    """Whether the driver of NVIDIA's cards is there."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def find_card() -> Card | None:
    """The first card that this process may use, as the driver describes it; None if unknown.

    `nvidia-smi` comes with the driver; where it is missing or silent, nothing is known.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    command = [*_QUERY, *([f"--id={chosen}"] if chosen else [])]
    try:
        text = subprocess.run(
            command, capture_output=True, text=True, timeout=_QUERY_TIMEOUT_S, check=True
        ).stdout
        name, free, driver = text.splitlines()[0].rsplit(",", 2)
        return Card(name.strip(), int(free.split()[0]) * _MIB, driver.strip())
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None


def words_on_a_closed_card(device: CardKind, why: str) -> tuple[str, str]:
    """What happened, and what to do, where the build can use cards and this one was not opened.

    Args:
        device: what was asked for.
        why: what ONNX Runtime said; may be empty.
    """
    if not has_driver():
        what = f"No NVIDIA driver was found, so nothing runs on {device}."
        hint = "Install the driver; in a container, start it with --gpus all. Or use --device cpu."
        return what, hint
    import onnxruntime

    version = getattr(onnxruntime, "cuda_version", "")
    said = f" It says: {why}" if why else ""
    what = f"ONNX Runtime cannot open the card for {device}.{said}"
    libraries = f"CUDA {version}" if version else "CUDA"
    hint = f'The libraries of {libraries} may be missing. Run: pip install "keshikaran[cuda]".'
    if device == "tensorrt":
        hint = "Install TensorRT's libraries (pip install tensorrt), or use --device cuda."
    return what, f"{hint} Or use --device cpu."


@cache
def say_once(words: str) -> None:
    """Tell, once in the life of the process, that `auto` did not take a card."""
    _logger.warning("%s", words)


def _words_on_the_build(device: CardKind, offered: list[str]) -> tuple[str, str]:
    names = ", ".join(offered)
    what = f"This ONNX Runtime was built without {_PROVIDERS[device]} (it has {names})."
    if has_cuda_build() and _is_installed("onnxruntime"):
        return (
            f"{what} onnxruntime and onnxruntime-gpu are both installed and write over each other.",
            "Run: pip uninstall onnxruntime onnxruntime-gpu, then: pip install onnxruntime-gpu",
        )
    if has_cuda_build() and device == "tensorrt":
        return what, "Use --device cuda, or a build of ONNX Runtime with TensorRT."
    return what, 'Run: pip uninstall onnxruntime, then: pip install "keshikaran[cuda]"'


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
