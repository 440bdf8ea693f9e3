"""One small interface over the programs that run a network, and the choice between them."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal, Protocol, get_args

from keshikaran.backbones.devices import (
    CardKind,
    Device,
    has_cuda_build,
    say_once,
)
from keshikaran.errors import BackboneError, MissingExtraError
from keshikaran.types import Float32Array, Precision, UInt8Array

EngineName = Literal["auto", "openvino", "onnxruntime"]
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)


class Engine(Protocol):
    """A loaded network. `infer` may be called from several threads at once.

    Attributes:
        name: which program runs it.
        precision: the arithmetic it runs in.
        streams: how many calls run side by side without waiting for each other.
        batch_size: how many images in one call make the best of a stream.
    """

    name: str
    precision: Precision
    streams: int
    batch_size: int

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        """Run the network.

        Args:
            images: uint8 [N, H, W, 3], RGB.
            beside: the same images for each further input of the graph.

        Returns:
            One float32 array for each output of the graph, first axis N. An image's numbers
            do not depend on the images beside it; on a card, on how many they are only as far as
            f32 rounds.
        """


def device_of(engine: Engine) -> Device:
    """Where an engine computes: `cpu` unless it says otherwise."""
    device: Device = getattr(engine, "device", "cpu")
    return device


def usable_cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_engine(
    model: bytes,
    *,
    engine: EngineName = "auto",
    device: Device = "auto",
    precision: Precision = "f32",
    streams: int | None = None,
) -> Engine:
    """Load a network that passed `read_graph`.

    Args:
        model: the ONNX file's bytes.
        engine: on the processor, `auto` takes OpenVINO where that is installed, else ONNX
            Runtime. A card is always ONNX Runtime's.
        device: `cuda` and `tensorrt` run on a card or raise; `auto` takes a card where the CUDA
            build of ONNX Runtime is installed and a card answers, and tells why where none does.
        precision: `bf16` needs a processor with bfloat16 arithmetic, and OpenVINO; `f16` needs
            a card.
        streams: side-by-side calls wanted on the processor; default: one for each usable one.

    Raises:
        MissingExtraError: the engine asked for is not installed.
        BackboneError: the device, the engine, this network on it or the precision cannot be had.
    """
    if device in ("cuda", "tensorrt"):
        return _on_card(model, engine, device, precision)
    if device == "auto" and engine != "openvino" and precision != "bf16" and has_cuda_build():
        try:
            return _on_card(model, engine, "cuda", precision)
        except BackboneError as error:
            if precision == "f16":
                raise
            say_once(f"Running on the processor: {error.what} ({error.hint})")
    return _on_processor(model, engine, precision, streams or usable_cores())


def _on_card(model: bytes, engine: EngineName, device: CardKind, precision: Precision) -> Engine:
    if engine == "openvino":
        msg = f"OpenVINO runs on the processor here, not on {device}."
        raise BackboneError(msg, "Leave --engine or --device out.")
    from keshikaran.backbones.card_engine import open_card

    return open_card(model, device, precision)


def _on_processor(model: bytes, engine: EngineName, precision: Precision, streams: int) -> Engine:
    if precision == "f16":
        msg = "f16 is arithmetic of cards, and none is used."
        raise BackboneError(msg, "Use --precision f32, or --device cuda.")
    chosen = _choose(engine)
    if chosen == "openvino":
        from keshikaran.backbones.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(model, precision=precision, streams=streams)
    if precision != "f32":
        msg = f"ONNX Runtime runs {precision} on no processor here."
        raise BackboneError(msg, "Use --precision f32, or install openvino.")
    from keshikaran.backbones.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, streams=streams)


def _choose(engine: EngineName) -> Literal["openvino", "onnxruntime"]:
    if engine != "onnxruntime" and importlib.util.find_spec("openvino"):
        return "openvino"
    if engine == "openvino":
        msg = "The engine openvino is not installed."
        raise BackboneError(msg, "Run: pip install openvino, or use --engine onnxruntime.")
    if not importlib.util.find_spec("onnxruntime"):
        what = "The engine onnxruntime"
        raise MissingExtraError(what, "onnxruntime")
    return "onnxruntime"
