"""ONNX Runtime on the processor: where OpenVINO does not run, and as second opinion in tests."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime

from keshikaran.errors import BackboneError
from keshikaran.types import Float32Array, Precision, UInt8Array

_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"


def session_options() -> onnxruntime.SessionOptions:
    """One thread a call, errors only, and no weights from other files."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A second lock: `read_graph` has refused weights in other files, and here they would be
    # looked for below a place that can hold none.
    options.add_session_config_entry(_EXTERNAL_FOLDER, os.devnull)
    return options


class OnnxRuntimeEngine:
    """Runs a network one image at a time; parallel calls share one session.

    Args:
        model: the ONNX file's bytes.
        streams: calls that run side by side, each on one processor.

    Raises:
        BackboneError: ONNX Runtime cannot run this network.
    """

    name = "onnxruntime"
    device = "cpu"
    precision: Precision = "f32"
    batch_size = 1

    def __init__(self, model: bytes, *, streams: int) -> None:
        self.streams = streams
        try:
            self._session = onnxruntime.InferenceSession(
                model, session_options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no public base class
            msg = f"ONNX Runtime cannot run this network: {str(error).splitlines()[0][:200]}"
            raise BackboneError(msg, "Check the file with onnx.checker.") from error
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._names = [output.name for output in self._session.get_outputs()]

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        """See `Engine.infer`."""
        rows = [
            self._session.run(
                self._names,
                {
                    name: value[index : index + 1]
                    for name, value in zip(self._inputs, (images, *beside), strict=True)
                },
            )
            for index in range(len(images))
        ]
        return {
            name: np.concatenate([row[column] for row in rows])
            for column, name in enumerate(self._names)
        }
