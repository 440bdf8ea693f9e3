"""The numbers inside a network: stored in the file, as many as declared, and finite."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto, numpy_helper

from keshikaran.backbones.operators import MAX_INTEGER
from keshikaran.backbones.refusal import DAMAGED, SIMPLIFY, NetworkRefusedError

MAX_ELEMENTS = 2**31

BYTES_PER_ELEMENT: dict[int, int] = {
    TensorProto.BOOL: 1,
    TensorProto.INT8: 1,
    TensorProto.UINT8: 1,
    TensorProto.INT16: 2,
    TensorProto.UINT16: 2,
    TensorProto.FLOAT16: 2,
    TensorProto.BFLOAT16: 2,
    TensorProto.INT32: 4,
    TensorProto.UINT32: 4,
    TensorProto.FLOAT: 4,
    TensorProto.INT64: 8,
    TensorProto.UINT64: 8,
    TensorProto.DOUBLE: 8,
}
"""The element types that a value in a network may have."""

_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_WIDE_INTEGERS = {TensorProto.INT64, TensorProto.UINT32, TensorProto.UINT64}
_TYPED_FIELD: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
_TYPED_FIELDS = {*_TYPED_FIELD.values(), "int32_data", "string_data"}


def refuse_external(tensor: TensorProto) -> None:
    """Refuse weights that lie in another file.

    Raises:
        NetworkRefusedError: names the weights.
    """
    if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
        words = f"keeps weights in other files ({tensor.name}), which is not accepted."
        raise NetworkRefusedError(words, "Save the network as one file.")


def check_tensor(tensor: TensorProto) -> bool:
    """Refuse weights whose declaration and content disagree, or that are no numbers.

    Returns:
        Whether it holds whole numbers beyond `MAX_INTEGER`: fit to say "to the end" in a Slice,
        and for nothing else.

    Raises:
        NetworkRefusedError: names the weights.
    """
    refuse_external(tensor)
    kind = tensor.data_type
    if kind not in BYTES_PER_ELEMENT or tensor.HasField("segment"):
        words = f"holds weights of a kind that is not accepted ({tensor.name})."
        raise NetworkRefusedError(words, "Export the network with f32, f16, bf16 or int8 weights.")
    elements = math.prod(tensor.dims)
    if min(tensor.dims, default=0) < 0 or elements > MAX_ELEMENTS:
        words = f"declares weights of an impossible size ({tensor.name}: {_words(tensor)})."
        raise NetworkRefusedError(words, DAMAGED)
    if not _is_all_there(tensor, elements):
        words = f"holds more or fewer numbers than it declares ({tensor.name}: {_words(tensor)})."
        raise NetworkRefusedError(words, DAMAGED)
    values = numpy_helper.to_array(tensor)
    if kind in _FLOATS and not np.isfinite(values).all():
        words = f"holds weights that are not finite numbers ({tensor.name})."
        raise NetworkRefusedError(words, "Train or export the network again.")
    return kind in _WIDE_INTEGERS and not _is_moderate(values)


def check_slice_only(name: str, operator: str) -> None:
    """Refuse an enormous whole number anywhere but in a Slice.

    Raises:
        NetworkRefusedError: names the weights.
    """
    if operator != "Slice":
        words = f"gives {operator} an enormous number ({name})."
        raise NetworkRefusedError(words, SIMPLIFY)


def _is_all_there(tensor: TensorProto, elements: int) -> bool:
    """Whether one of the places for numbers, and only that one, holds what is declared."""
    used = [field.name for field, _ in tensor.ListFields() if field.name in _TYPED_FIELDS]
    if tensor.HasField("raw_data"):
        return not used and len(tensor.raw_data) == elements * BYTES_PER_ELEMENT[tensor.data_type]
    fitting = _TYPED_FIELD.get(tensor.data_type, "int32_data")
    return used in ([], [fitting]) and len(getattr(tensor, fitting)) == elements


def _is_moderate(values: np.ndarray) -> bool:
    if not values.size:
        return True
    return int(values.min()) >= -MAX_INTEGER and int(values.max()) <= MAX_INTEGER


def _words(tensor: TensorProto) -> str:
    return "×".join(str(size) for size in tensor.dims[:8]) or "one number"
