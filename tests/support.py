"""Pictures and a network for tests, both computable by hand."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

FAKE_SIDE = 32
FAKE_DIM = 12


def fake_backbone() -> bytes:
    """A real ONNX network that gives the mean colour of each quadrant.

    Input `images` uint8 [N, 32, 32, 3]; output `features` float32 [N, 12] in [0, 1]: red of
    the four quadrants (top left, top right, bottom left, bottom right), then green, then blue.
    """
    half = FAKE_SIDE // 2
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "white"], ["unit"]),
        helper.make_node(
            "AveragePool", ["unit"], ["means"], kernel_shape=[half, half], strides=[half, half]
        ),
        helper.make_node("Flatten", ["means"], ["features"], axis=1),
    ]
    shape: list[str | int | None] = ["N", FAKE_SIDE, FAKE_SIDE, 3]
    graph = helper.make_graph(
        nodes,
        "quadrants",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", FAKE_DIM])],
        [numpy_helper.from_array(np.array(255.0, dtype=np.float32), "white")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def encode(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def quadrants(
    colours: list[tuple[int, int, int]], side: int = 64, noise: int = 0, seed: int = 0
) -> Image.Image:
    """Four colours: top left, top right, bottom left, bottom right; with some noise."""
    half = side // 2
    pixels = np.zeros((side, side, 3), dtype=np.int16)
    for index, colour in enumerate(colours):
        row, column = divmod(index, 2)
        pixels[row * half : (row + 1) * half, column * half : (column + 1) * half] = colour
    if noise:
        rng = np.random.default_rng(seed)
        pixels += rng.integers(-noise, noise + 1, pixels.shape, dtype=np.int16)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def reddish(seed: int) -> Image.Image:
    """A picture with more red than blue; no two seeds give the same bytes."""
    rng = np.random.default_rng(seed)
    colours = [
        (int(rng.integers(120, 256)), int(rng.integers(0, 256)), int(rng.integers(0, 180)))
        for _ in range(4)
    ]
    return quadrants(colours, noise=8, seed=seed)


def bluish(seed: int) -> Image.Image:
    """A picture with more blue than red."""
    return Image.fromarray(np.asarray(reddish(seed + 1_000_000))[:, :, ::-1].copy())


def write_classes(folder: Path, count: int, *, start: int = 0) -> Path:
    """Write `count` pictures each to `folder/red` and `folder/blue`."""
    for name, paint in (("red", reddish), ("blue", bluish)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(start, start + count):
            (folder / name / f"{number:04d}.png").write_bytes(encode(paint(number)))
    return folder
