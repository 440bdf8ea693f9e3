"""OpenVINO on the CPU: the fastest engine measured for these networks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino

from keshikaran.errors import BackboneError
from keshikaran.types import Float32Array, Precision, UInt8Array

_first_inference = threading.Lock()


class OpenVinoEngine:
    """Runs a network on `streams` single-threaded streams, one or four images at a time.

    Each calling thread gets inference requests of its own.

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
        # Measured: bfloat16 gains a tenth from fours; in float32 nothing is faster than one.
        self.batch_size = 4 if precision == "bf16" else 1
        self._local = threading.local()
        self._compiling = threading.Lock()
        self._compiled: dict[int, openvino.CompiledModel] = {}
        try:
            self._core, self._graph = core, core.read_model(model, b"")
            # Compiling merges names of neighbouring values; these are the declared ones, in order.
            self._names = [output.get_any_name() for output in self._graph.outputs]
            self._shapes = [_picture(value) for value in self._graph.inputs]
            self._warm_up()
        except RuntimeError as error:
            msg = f"OpenVINO cannot run this network: {_last_words(error)}"
            raise BackboneError(msg, "Try --engine onnxruntime.") from error

    def _warm_up(self) -> None:
        """Infer once before any other thread can.

        OpenVINO's Python layer sets itself up at its first inference; two threads that get there
        together wait for each other for ever (one holds the interpreter, one the set-up).
        """
        with _first_inference:
            self._infer_batch([np.zeros((1, *shape), dtype=np.uint8) for shape in self._shapes])

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        """See `Engine.infer`."""
        count, given = len(images), (images, *beside)
        whole = count // self.batch_size * self.batch_size
        starts = [*range(0, whole, self.batch_size), *range(whole, count)]
        ends = [*starts[1:], count]
        rows = [
            self._infer_batch([value[a:b] for value in given])
            for a, b in zip(starts, ends, strict=True)
        ]
        if len(rows) == 1:
            return rows[0]
        return {name: np.concatenate([row[name] for row in rows]) for name in self._names}

    def _infer_batch(self, images: Sequence[UInt8Array]) -> dict[str, Float32Array]:
        """Run one batch, of one image or of `batch_size`: an image's numbers are the same in both.

        The check is in the tests; what makes it so is that a batch only lengthens the outermost
        loop of every operator.
        """
        request = self._request(len(images[0]))
        given = {number: np.ascontiguousarray(value) for number, value in enumerate(images)}
        request.infer(given, share_inputs=True)
        return {
            name: np.array(request.get_output_tensor(index).data, dtype=np.float32)
            for index, name in enumerate(self._names)
        }

    def _request(self, size: int) -> openvino.InferRequest:
        """This thread's own request for batches of `size`."""
        if not hasattr(self._local, "requests"):
            self._local.requests = {}
        requests: dict[int, openvino.InferRequest] = self._local.requests
        if size not in requests:
            requests[size] = self._compile(size).create_infer_request()
        return requests[size]

    def _compile(self, size: int) -> openvino.CompiledModel:
        with self._compiling:
            if size not in self._compiled:
                graph = self._graph.clone()
                graph.reshape({number: [size, *shape] for number, shape in enumerate(self._shapes)})
                settings = _settings(self.precision, self.streams)
                self._compiled[size] = self._core.compile_model(graph, "CPU", settings)
            return self._compiled[size]


def _picture(value: Any) -> tuple[int, int, int]:  # noqa: ANN401
    """Rows, columns and bands of an input."""
    _, height, width, _ = value.partial_shape
    return (height.get_length(), width.get_length(), 3)


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
