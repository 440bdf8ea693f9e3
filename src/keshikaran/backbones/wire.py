"""What would parsing this ONNX file cost? Asked of the raw bytes, before they are parsed.

Parsing turns two bytes of an empty node into about a hundred bytes of memory, and one byte of a
packed number into eight. A walk over the field tags alone bounds that, and finds fields that the
installed onnx does not know: what cannot be seen cannot be judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import onnx
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from keshikaran.backbones.refusal import DAMAGED, NetworkRefusedError

MAX_FIELDS = 500_000
MAX_STRUCTURE_BYTES = 32_000_000
"""Everything but weights kept as plain bytes; about 60 kB in the embedded network."""

_MAX_DEPTH = 16
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WEIGHTS = {"raw_data", "float_data", "double_data"}
_FIXED = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class _Field:
    """What a field may hold.

    Attributes:
        wires: the encodings it may come in; others would be passed over by a parser.
        message: the fields of the message in it; None if it holds none.
        is_text: whether it must be UTF-8.
        is_bulk: whether it holds weights, byte for byte.
    """

    wires: frozenset[int]
    message: Mapping[int, _Field] | None
    is_text: bool
    is_bulk: bool


def check_wire(data: bytes) -> None:
    """Walk over a serialised ONNX model without parsing it.

    Args:
        data: the whole file.

    Raises:
        NetworkRefusedError: no ONNX file, one with unknown fields, or one whose structure is
            too large to be parsed safely.
    """
    fields = structure = 0
    todo = [(0, len(data), _schema(), 0)]
    while todo:
        position, end, schema, depth = todo.pop()
        while position < end:
            tag, position = _varint(data, position, end)
            field = schema.get(tag >> 3)
            if field is None:
                raise _unknown(tag >> 3)
            if tag & 7 not in field.wires:
                raise _no_onnx()
            start, position = _skip(data, position, end, tag & 7)
            fields += 1
            if field.message is not None:
                todo.append((start, position, field.message, depth + 1))
            elif not field.is_bulk:
                structure += position - start
                if field.is_text:
                    _check_text(data[start:position])
            if fields > MAX_FIELDS or structure > MAX_STRUCTURE_BYTES or depth > _MAX_DEPTH:
                raise _too_large()


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise _no_onnx()


def _skip(data: bytes, position: int, end: int, wire_type: int) -> tuple[int, int]:
    """Where a field's content starts and ends."""
    if wire_type == _VARINT:
        return position, _varint(data, position, end)[1]
    if wire_type == _LENGTH:
        size, position = _varint(data, position, end)
    else:
        size = _FIXED[wire_type]
    if position + size > end:
        raise _no_onnx()
    return position, position + size


def _check_text(text: bytes) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        raise _no_onnx() from None


@cache
def _schema() -> Mapping[int, _Field]:
    """Field number → what it holds, from the installed onnx's own description."""
    return _fields(onnx.ModelProto.DESCRIPTOR, {})


def _fields(message: Descriptor, known: dict[str, dict[int, _Field]]) -> dict[int, _Field]:
    if message.full_name in known:
        return known[message.full_name]
    fields: dict[int, _Field] = {}
    known[message.full_name] = fields
    for field in message.fields:
        inner = field.message_type
        fields[field.number] = _Field(
            wires=_wires(field),
            message=None if inner is None else _fields(inner, known),
            is_text=field.type == field.TYPE_STRING,
            is_bulk=field.name in _WEIGHTS,
        )
    return fields


def _wires(field: FieldDescriptor) -> frozenset[int]:
    """Lists of numbers may come packed, as one run of bytes."""
    if field.type in (field.TYPE_STRING, field.TYPE_BYTES, field.TYPE_MESSAGE):
        return frozenset({_LENGTH})
    fixed = {field.TYPE_FLOAT: _FIXED32, field.TYPE_DOUBLE: _FIXED64}
    return frozenset({fixed.get(field.type, _VARINT), _LENGTH})


def _no_onnx() -> NetworkRefusedError:
    hint = "Check that the path is right and the copy complete."
    return NetworkRefusedError("is not an ONNX file.", hint)


def _unknown(number: int) -> NetworkRefusedError:
    words = f"is not an ONNX file, or of a newer kind than this program knows (field {number})."
    return NetworkRefusedError(words, "Check the path and the copy; or update the package onnx.")


def _too_large() -> NetworkRefusedError:
    words = (
        f"has a graph of more than {MAX_FIELDS:,} fields or {MAX_STRUCTURE_BYTES:,} bytes"
        " without its weights, or one that is nested too deeply."
    )
    return NetworkRefusedError(words, DAMAGED)
