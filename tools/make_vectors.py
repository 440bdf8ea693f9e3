"""Write docs/vectors: image files, the pixels they give, and the scores of a tiny model.

For ports of the pixel contract to other languages; docs/pixel-contract.md says how to use them.
Run it from the project's root after the contract's version was raised::

    python -m tools.make_vectors
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from stress.files import animation, encode, soft
from stress.golden import golden_files
from stress.hidden_pictures import hidden_pictures

from keshikaran.pixels import (
    DEFAULT_LIMITS,
    PIXEL_CONTRACT_VERSION,
    PixelSpec,
    decode_image,
)
from keshikaran.pixels.header import inspect

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "vectors"
SPEC = PixelSpec(32, 32, "crop")
# Decoders of lossy formats and colour engines round as they please.
_ROUGH = (".jpg", "lossy.webp", "prophoto.png", "profile-hides.png", "gamma-hides.png")
_CHOSEN = [
    "orientation-6.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "ycck.jpg", "display-p3.jpg",
    "rgb.png", "rgba.png", "grey-alpha.png", "palette-transparent.png", "interlaced.png",
    "rgb-16.png", "grey-16-key.png", "grey-2-key.png", "prophoto.png", "orientation-6.png",
    "animated.png", "lossy.webp", "rgba.webp", "animated.webp", "transparent.gif", "animated.gif",
    "group4.tif", "cmyk.tif", "grey-16.tif", "pages.tif", "rgb.bmp",
]  # fmt: skip


def scoring_model() -> onnx.ModelProto:
    """Means of the four quadrants, weighted and summed, through a sigmoid.

    Input `images` uint8 [N, 32, 32, 3], output `score` float32 [N].
    """
    weights = np.linspace(-4.0, 5.0, 12, dtype=np.float32).reshape(1, 12)
    constants: dict[str, np.ndarray] = {
        "white": np.array(255, dtype=np.float32),
        "weights": weights,
        "bias": np.array([-0.5], dtype=np.float32),
        "axis": np.array([1], dtype=np.int64),
    }
    half = [SPEC.height // 2, SPEC.width // 2]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "white"], ["unit"]),
        helper.make_node("AveragePool", ["unit"], ["means"], kernel_shape=half, strides=half),
        helper.make_node("Flatten", ["means"], ["features"], axis=1),
        helper.make_node("Mul", ["features", "weights"], ["products"]),
        helper.make_node("ReduceSum", ["products", "axis"], ["sums"], keepdims=0),
        helper.make_node("Add", ["sums", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["score"]),
    ]
    shape: list[str | int | None] = ["N", SPEC.height, SPEC.width, 3]
    graph = helper.make_graph(
        nodes,
        "quadrants",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def files() -> dict[str, bytes]:
    """The image files, by name."""
    golden, hidden = golden_files(), hidden_pictures()
    chosen = {name: golden[name] for name in _CHOSEN}
    chosen["alpha-zero.png"] = hidden["PNG at alpha 0"].data
    chosen["shape-in-alpha.png"] = hidden["PNG in the alpha channel of a white picture"].data
    chosen["profile-hides.png"] = hidden["PNG that only a profile darkens"].data
    chosen["gamma-hides.png"] = hidden["PNG that only its gamma brightens"].data
    chosen["default-picture.png"] = hidden[
        "APNG behind a first picture that is no part of the animation"
    ].data
    chosen["thirty-frames.gif"] = animation([soft(24, 16, seed) for seed in range(30)], "GIF")
    chosen["large.png"] = encode(soft(200, 90, 3))
    chosen["tall.jpg"] = encode(soft(60, 300, 4), "JPEG", quality=92)
    return chosen


def native(data: bytes) -> PixelSpec:
    """The picture's own size, upright: no pixel is resampled."""
    found = inspect(data, DEFAULT_LIMITS)
    size = found.header.height, found.header.width
    return PixelSpec(*(size[::-1] if found.orientation >= 5 else size))


def entry(name: str, data: bytes, session: onnxruntime.InferenceSession) -> dict[str, Any]:
    """What vectors.json says of one file; writes the file and its pixels."""
    spec = native(data)
    decoded = decode_image(data, spec)
    scores = session.run(["score"], {"images": decode_image(data, SPEC).views})[0]
    (FOLDER / name).write_bytes(data)
    (FOLDER / f"{name}.rgb").write_bytes(decoded.views.tobytes())
    return {
        "file": name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "exact": not name.endswith(_ROUGH),
        "frames_total": decoded.frames_total,
        "frames_scored": decoded.frames_scored,
        "height": spec.height,
        "width": spec.width,
        "views": [hashlib.sha256(view.tobytes()).hexdigest() for view in decoded.views],
        "score": round(float(scores.max()), 6),
    }


def main() -> None:
    """Write everything anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    model = scoring_model().SerializeToString()
    (FOLDER / "model.onnx").write_bytes(model)
    session = onnxruntime.InferenceSession(model)
    content = {
        "pixel_contract": PIXEL_CONTRACT_VERSION,
        "model": "model.onnx",
        "model_input": {
            "height": SPEC.height,
            "width": SPEC.width,
            "resize_mode": SPEC.resize_mode,
        },
        "vectors": [entry(name, data, session) for name, data in files().items()],
    }
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (FOLDER / "vectors.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
