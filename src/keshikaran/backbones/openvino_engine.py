"""OpenVINO on the CPU: the fastest engine measured for these networks."""

from __future__ import annotations

import threading

import numpy as np
import openvino

from keshikaran.errors import BackboneError
from keshikaran.types import Float32Array, Precision, UInt8Array

_first_inference = threading.Lock()


class OpenVinoEngine:
    """Runs a network one image at a time on `streams` single-threaded streams.

    One image a call was as fast as any batch, and makes an image's numbers independent of its
    neighbours. Each calling thread gets an inference request of its own.

    Args:
        model: the ONNX file's bytes.
        precision: arithmetic wanted.
        streams: calls that run side by side, each on one processor.

    Raises:
        BackboneError: the network or the precision cannot be run here.
    """

    name = "openvino"

    def __init__(self, model: bytes, *, precision: Precision, streams: int) -> None:
        core = openvino.Core()
        if precision == "bf16" and not has_bf16(core):
            msg = "This processor has no bfloat16 arithmetic."
            raise BackboneError(msg, "Use --precision f32.")
        self.precision = precision
        self.streams = streams
        self._local = threading.local()
        try:
            graph = core.read_model(model, b"")
            # Compiling merges names of neighbouring values; these are the declared ones, in order.
            self._names = [output.get_any_name() for output in graph.outputs]
            _, height, width, _ = graph.input(0).partial_shape
            graph.reshape([1, height.get_length(), width.get_length(), 3])
            self._compiled = core.compile_model(graph, "CPU", _settings(precision, streams))
            self._warm_up((1, height.get_length(), width.get_length(), 3))
        except RuntimeError as error:
            msg = f"OpenVINO cannot run this network: {_last_words(error)}"
            raise BackboneError(msg, "Try --engine onnxruntime.") from error

    def _warm_up(self, shape: tuple[int, ...]) -> None:
        """Infer once before any other thread can.

        OpenVINO's Python layer sets itself up at its first inference; two threads that get there
        together wait for each other for ever (one holds the interpreter, one the set-up).
        """
        with _first_inference:
            self._infer_one(np.zeros(shape, dtype=np.uint8))

    def infer(self, images: UInt8Array) -> dict[str, Float32Array]:
        """See `Engine.infer`."""
        rows = [self._infer_one(images[index : index + 1]) for index in range(len(images))]
        return {name: np.concatenate([row[name] for row in rows]) for name in self._names}

    def _infer_one(self, image: UInt8Array) -> dict[str, Float32Array]:
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        request.infer({0: np.ascontiguousarray(image)}, share_inputs=True)
        return {
            name: np.array(request.get_output_tensor(index).data, dtype=np.float32)
            for index, name in enumerate(self._names)
        }


def has_bf16(core: openvino.Core | None = None) -> bool:
    """Whether this processor has bfloat16 arithmetic that OpenVINO uses."""
    core = core or openvino.Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _last_words(error: RuntimeError) -> str:
    """The last point of OpenVINO's list of reasons; without a list, the last line with words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    points = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    return (points or lines or [type(error).__name__])[-1][:200]


def _settings(precision: Precision, streams: int) -> dict[str, str]:
    return {
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(streams),
        "INFERENCE_PRECISION_HINT": precision,
    }
