"""What would parsing this ONNX file cost? Asked of the raw bytes, before they are parsed.

Parsing turns two bytes of an empty node into about a hundred bytes of memory, and one byte of a
packed number into eight. A walk over the field tags alone bounds that, and finds fields that the
installed onnx does not know: what cannot be seen cannot be judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import onnx

from keshikaran.backbones.refusal import DAMAGED, NetworkRefusedError

MAX_FIELDS = 500_000
MAX_STRUCTURE_BYTES = 32_000_000
"""Everything but weights kept as plain bytes; about 60 kB in the embedded network."""

_MAX_DEPTH = 16
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WEIGHTS = {"raw_data", "float_data", "double_data"}
_BULK, _TEXT, _OTHER = "bulk", "text", "other"

_Kind = str | Mapping[int, Any]
"""What a field holds: a message's own fields, or one of the three words above."""


def check_wire(data: bytes) -> None:
    """Walk over a serialised ONNX model without parsing it.

    Args:
        data: the whole file.

    Raises:
        NetworkRefusedError: no ONNX file, one with unknown fields, or one whose structure is
            too large to be parsed safely.
    """
    fields = structure = 0
    todo: list[tuple[int, int, Mapping[int, Any], int]] = [(0, len(data), _schema(), 0)]
    while todo:
        position, end, schema, depth = todo.pop()
        while position < end:
            tag, position = _varint(data, position, end)
            kind = schema.get(tag >> 3)
            if kind is None:
                raise _unknown(tag >> 3)
            start, position = _skip(data, position, end, tag & 7)
            fields += 1
            if isinstance(kind, Mapping):
                if tag & 7 != _LENGTH:
                    raise _no_onnx()
                todo.append((start, position, kind, depth + 1))
            elif kind is not _BULK:
                structure += position - start
                if kind is _TEXT:
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
    elif wire_type in (_FIXED64, _FIXED32):
        size = 8 if wire_type == _FIXED64 else 4
    else:
        raise _no_onnx()
    if position + size > end:
        raise _no_onnx()
    return position, position + size


def _check_text(text: bytes) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        raise _no_onnx() from None


@cache
def _schema() -> Mapping[int, _Kind]:
    """Field number → what it holds, from the installed onnx's own description."""
    known: dict[str, dict[int, _Kind]] = {}
    return _fields(onnx.ModelProto.DESCRIPTOR, known)


def _fields(message: Any, known: dict[str, dict[int, _Kind]]) -> dict[int, _Kind]:  # noqa: ANN401
    if message.full_name in known:
        return known[message.full_name]
    fields: dict[int, _Kind] = {}
    known[message.full_name] = fields
    for field in message.fields:
        if field.message_type is not None:
            fields[field.number] = _fields(field.message_type, known)
        elif field.name in _WEIGHTS:
            fields[field.number] = _BULK
        else:
            fields[field.number] = _TEXT if field.type == field.TYPE_STRING else _OTHER
    return fields


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
