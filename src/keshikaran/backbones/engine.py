"""One small interface over the programs that run a network, and the choice between them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from typing import Literal, Protocol, get_args

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
            do not depend on the images beside it.
        """


def usable_cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_engine(
    model: bytes,
    *,
    engine: EngineName = "auto",
    precision: Precision = "f32",
    streams: int | None = None,
) -> Engine:
    """Load a network that passed `read_graph`.

    Args:
        model: the ONNX file's bytes.
        engine: `auto` takes ONNX Runtime where its CUDA build is installed, else OpenVINO where
            that is, else ONNX Runtime.
        precision: `bf16` needs a processor with bfloat16 arithmetic, and OpenVINO.
        streams: side-by-side calls wanted; default: one for each usable processor.

    Raises:
        MissingExtraError: the engine asked for is not installed.
        BackboneError: the engine cannot run this network or not in this precision.
    """
    streams = streams or usable_cores()
    chosen = _choose(engine)
    if chosen == "openvino":
        from keshikaran.backbones.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(model, precision=precision, streams=streams)
    if precision != "f32":
        msg = f"ONNX Runtime runs {precision} on no processor here."
        raise BackboneError(msg, "Use --precision f32, or install openvino.")
    from keshikaran.backbones.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, streams=streams)


def _has_gpu_build() -> bool:
    try:
        importlib.metadata.version("onnxruntime-gpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _choose(engine: EngineName) -> Literal["openvino", "onnxruntime"]:
    if engine == "auto" and _has_gpu_build():
        return "onnxruntime"
    if engine != "onnxruntime" and importlib.util.find_spec("openvino"):
        return "openvino"
    if engine == "openvino":
        msg = "The engine openvino is not installed."
        raise BackboneError(msg, "Run: pip install openvino, or use --engine onnxruntime.")
    if not importlib.util.find_spec("onnxruntime"):
        what = "The engine onnxruntime"
        raise MissingExtraError(what, "onnxruntime")
    return "onnxruntime"
