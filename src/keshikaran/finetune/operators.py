"""ONNX operators as torch computes them: those that the networks of the zoo are made of.

Each takes the node's attributes and its inputs, and gives its one output. Sizes and places (the
second input of Reshape, say) are whole-number tensors on the CPU. Definitions: the ONNX operator
reference, opset 17 to 20.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as functional
from onnx import TensorProto

Tensor = Any
Attributes = Mapping[str, Any]
Operator = Callable[..., Tensor]

_KINDS = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.BOOL: torch.bool,
}


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor = None) -> Tensor:
    before, after = _pads(a, weight.dim() - 2)
    if before != after:
        x, before = _padded(x, before, after), [0] * len(before)
    strides = a.get("strides", [1] * len(before))
    dilations = a.get("dilations", [1] * len(before))
    convolve = {1: functional.conv1d, 2: functional.conv2d}[len(before)]
    return convolve(x, weight, bias, strides, before, dilations, a.get("group", 1))


def _pads(a: Attributes, axes: int) -> tuple[list[int], list[int]]:
    pads = a.get("pads", [0] * 2 * axes)
    return list(pads[:axes]), list(pads[axes:])


def _padded(x: Tensor, before: list[int], after: list[int], value: float = 0.0) -> Tensor:
    flat = [n for pair in zip(before[::-1], after[::-1], strict=True) for n in pair]
    return functional.pad(x, flat, value=value)


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    before, after = _pads(a, 2)
    x = _padded(x, before, after, float("-inf")) if any(before + after) else x
    size = a["kernel_shape"]
    return functional.max_pool2d(x, size, a.get("strides", [1, 1]), ceil_mode=_ceil(a))


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    before, _ = _pads(a, 2)
    counted = bool(a.get("count_include_pad", 0))
    sizes = (a["kernel_shape"], a.get("strides", [1, 1]), before)
    return functional.avg_pool2d(x, *sizes, ceil_mode=_ceil(a), count_include_pad=counted)


def _ceil(a: Attributes) -> bool:
    return bool(a.get("ceil_mode", 0))


def _batch_norm(
    a: Attributes, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """As when the network is used: what was measured once stays, whatever batch comes."""
    return functional.batch_norm(x, mean, variance, scale, shift, eps=a.get("epsilon", 1e-5))


def _layer_norm(a: Attributes, x: Tensor, scale: Tensor, shift: Tensor = None) -> Tensor:
    axis = a.get("axis", -1) % x.dim()
    return functional.layer_norm(x, x.shape[axis:], scale, shift, a.get("epsilon", 1e-5))


def _gemm(a: Attributes, x: Tensor, y: Tensor, z: Tensor = None) -> Tensor:
    x = x.T if a.get("transA", 0) else x
    y = y.T if a.get("transB", 0) else y
    found = a.get("alpha", 1.0) * (x @ y)
    return found if z is None else found + a.get("beta", 1.0) * z


def _clip(a: Attributes, x: Tensor, low: Tensor = None, high: Tensor = None) -> Tensor:
    return torch.clamp(x, a.get("min", low), a.get("max", high))


def _cast(a: Attributes, x: Tensor) -> Tensor:
    return x.to(_KINDS[a["to"]])


def _reduce_mean(a: Attributes, x: Tensor, axes: Tensor = None) -> Tensor:
    chosen = a.get("axes") if axes is None else axes.tolist()
    every = list(range(x.dim()))
    return x.mean(chosen or every, keepdim=bool(a.get("keepdims", 1)))


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = shape.tolist()
    kept = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes if a.get("allowzero", 0) else kept)


def _slice(
    a: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor = None,
    steps: Tensor = None,
) -> Tensor:
    first = starts.tolist()
    chosen = range(len(first)) if axes is None else axes.tolist()
    widths = [1] * len(first) if steps is None else steps.tolist()
    places = [slice(None)] * x.dim()
    for axis, start, end, step in zip(chosen, first, ends.tolist(), widths, strict=True):
        places[axis] = slice(start, end, step)
    return x[tuple(places)]


def _squeeze(a: Attributes, x: Tensor, axes: Tensor = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    for axis in sorted(axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def _gather(a: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = a.get("axis", 0)
    if index.dim() == 0:
        return x.select(axis, int(index))
    return x.index_select(axis, index.flatten().to(x.device)).reshape(
        *x.shape[:axis], *index.shape, *x.shape[axis + 1 :]
    )


def _expand(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))


def _shape(a: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape))[a.get("start", 0) : a.get("end")]


def _concat(a: Attributes, *parts: Tensor) -> Tensor:
    return torch.cat(parts, a["axis"])


def _gelu(a: Attributes, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=a.get("approximate", b"none").decode())


def _softmax(a: Attributes, x: Tensor) -> Tensor:
    return x.softmax(a.get("axis", -1))


def _transpose(a: Attributes, x: Tensor) -> Tensor:
    return x.permute(a.get("perm", list(range(x.dim()))[::-1]))


def _plain(function: Callable[..., Tensor]) -> Operator:
    """An operator that has no attributes."""
    return lambda a, *inputs: function(*inputs)


OPERATORS: dict[str, Operator] = {
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _plain(torch.div),
    "Dropout": lambda a, x, *_: x,
    "Erf": _plain(torch.erf),
    "Expand": _expand,
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _plain(lambda x: x.mean((2, 3), keepdim=True)),
    "HardSigmoid": lambda a, x: torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1),
    "HardSwish": _plain(functional.hardswish),
    "Identity": _plain(lambda x: x),
    "LayerNormalization": _layer_norm,
    "MatMul": _plain(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _plain(torch.mul),
    "Pow": _plain(torch.pow),
    "ReduceMean": _reduce_mean,
    "Relu": _plain(functional.relu),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
