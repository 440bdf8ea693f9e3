"""Tensors of a `.pth` file as torch wrote it before version 1.6, without unpickling anything.

The file is five pickles (magic number, version, facts of the machine, a dictionary of tensors, the
order of the storages), then each storage: its number of elements and their bytes. A pickle is a
program. Here its steps are only listed (`pickletools.genops` runs nothing) and followed by an
interpreter that knows the few steps that a dictionary of tensors takes and two names, for which
it makes plain values of its own. Every other step or name is a refusal.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keshikaran.errors import BackboneError
from keshikaran.types import Float32Array

MAX_FILE_BYTES = 500_000_000

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_KINDS: dict[str, np.dtype[Any]] = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch LongStorage": np.dtype("<i8"),
}
_DICTIONARY = "collections OrderedDict"
_TENSOR = "torch._utils _rebuild_tensor_v2"
_MARK = object()


@dataclass(frozen=True, slots=True)
class _Name:
    """A name that the pickle asks to import; nothing is imported."""

    words: str


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    kind: np.dtype[Any]
    elements: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RefusedError(Exception):
    """The file is not what is expected; says at what."""


def read_weights_file(path: Path) -> bytes:
    """A file's bytes, if it is not too large to hold weights.

    Raises:
        BackboneError: it is, or cannot be read.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            msg = f"{path} has more than {MAX_FILE_BYTES:,} bytes."
            raise BackboneError(msg, "Check the path.")
        return path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise BackboneError(msg, "Check the path.") from error


def parse_weights(data: bytes, origin: str) -> dict[str, Float32Array]:
    """Read all float tensors of a dictionary of weights.

    Args:
        data: the whole file.
        origin: its name, for messages.

    Returns:
        Name → values; whole-number tensors (batch counters) are left out.

    Raises:
        BackboneError: not such a file, or one that asks for more than tensors.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return _parse(data)
    except _RefusedError as refused:
        words = str(refused)
    except (AttributeError, LookupError, TypeError, ValueError, Warning, struct.error) as error:
        words = f"it is damaged ({type(error).__name__})"
    msg = f"{origin} is no file of weights that is accepted: {words}."
    raise BackboneError(msg, "Take the file from its published package; copy it again.")


def _parse(data: bytes) -> dict[str, Float32Array]:
    stream = io.BytesIO(data)
    magic, version = _follow(stream), _follow(stream)
    if (magic, version) != (_MAGIC, _VERSION):
        raise _RefusedError("it does not start as one")
    _follow(stream)
    state, order = _follow(stream), _follow(stream)
    if not isinstance(state, dict) or not isinstance(order, list):
        raise _RefusedError("it holds no dictionary of tensors")
    tensors = {name: value for name, value in state.items() if isinstance(value, _Tensor)}
    if len(tensors) != len(state) or not all(isinstance(name, str) for name in state):
        raise _RefusedError("it holds other things than tensors")
    storages = _read_storages(stream, order, [tensor.storage for tensor in tensors.values()])
    return {
        name: _values(tensor, storages[tensor.storage.key])
        for name, tensor in tensors.items()
        if tensor.storage.kind.kind == "f"
    }


def _read_storages(
    stream: io.BytesIO, order: list[Any], wanted: list[_Storage]
) -> dict[str, np.ndarray]:
    known = {storage.key: storage for storage in wanted}
    if sorted(known) != sorted(order):
        raise _RefusedError("its tensors and its data do not belong together")
    storages = {}
    for key in order:
        storage = known[key]
        (elements,) = struct.unpack("<q", stream.read(8))
        if elements != storage.elements:
            raise _RefusedError("its data have another size than its tensors say")
        raw = stream.read(elements * storage.kind.itemsize)
        storages[key] = np.frombuffer(raw, dtype=storage.kind, count=elements)
    if stream.read(1):
        raise _RefusedError("something follows after its data")
    return storages


def _values(tensor: _Tensor, storage: np.ndarray) -> Float32Array:
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((size - 1) * step for size, step in steps)
    if math.prod(tensor.shape) > len(storage) or last >= len(storage):
        raise _RefusedError("a tensor reaches beyond its data")
    width = storage.itemsize
    view = np.lib.stride_tricks.as_strided(
        storage[tensor.offset :],
        tensor.shape,
        [step * width for step in tensor.strides],
        writeable=False,
    )
    values = np.ascontiguousarray(view, dtype=np.float32).reshape(tensor.shape)
    if not np.isfinite(values).all():
        raise _RefusedError("it holds values that are no numbers")
    return values


def _follow(stream: io.BytesIO) -> Any:  # noqa: ANN401 - whatever the pickle builds
    """Follow one pickle to its end; the stream is left behind it."""
    machine = _Machine()
    for step, argument, _ in pickletools.genops(stream):
        if step.name == "STOP":
            return machine.pop()
        machine.take(step.name, argument)
    raise _RefusedError("it ends too early")


_PUSHED = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINSTRING"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_EMPTY: dict[str, type] = {"EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_LIST": list}


class _Machine:
    """A stack, a memo, and the steps that a dictionary of tensors takes."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:  # noqa: ANN401
        """What lies on top."""
        return self._stack.pop()

    def take(self, name: str, argument: Any) -> None:  # noqa: ANN401
        """Take one step."""
        if name in _PUSHED:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            size = _TUPLES[name]
            self._stack[-size:] = [tuple(self._stack[-size:])]
        elif name in {"BINPUT", "LONG_BINPUT"}:
            self._memo[argument] = self._stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            self._stack.append(self._memo[argument])
        elif name != "PROTO":
            self._build(name, argument)

    def _build(self, name: str, argument: Any) -> None:  # noqa: ANN401
        if name == "GLOBAL":
            self._stack.append(_Name(argument))
        elif name == "TUPLE":
            self._stack.append(tuple(self._marked()))
        elif name in {"APPEND", "APPENDS"}:
            items = self._marked() if name == "APPENDS" else [self.pop()]
            self._stack[-1].extend(items)
        elif name == "SETITEM":
            value, key = self.pop(), self.pop()
            self._stack[-1][key] = value
        elif name == "SETITEMS":
            items = self._marked()
            self._stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "BINPERSID":
            self._stack.append(_storage(self.pop()))
        elif name == "REDUCE":
            arguments = self.pop()
            self._stack.append(_called(self.pop(), arguments))
        elif name == "BUILD":
            self.pop()  # what is set on the dictionary of tensors: versions of layers
        else:
            msg = f"it takes the step {name}"
            raise _RefusedError(msg)

    def _marked(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.pop()) is not _MARK:
            items.append(item)
        return items[::-1]


def _storage(words: tuple[Any, ...]) -> _Storage:
    kind, name, key, _, elements, view = words
    known = kind == "storage" and isinstance(name, _Name) and isinstance(key, str)
    if not known or view is not None or not _is_size(elements):
        raise _RefusedError("it names data in a way that is not accepted")
    if name.words not in _KINDS:
        msg = f"it holds numbers of the kind {name.words}"
        raise _RefusedError(msg)
    return _Storage(key, _KINDS[name.words], elements)


def _called(function: Any, arguments: Any) -> Any:  # noqa: ANN401
    if function == _Name(_DICTIONARY) and arguments == ():
        return {}
    if function != _Name(_TENSOR):
        words = function.words if isinstance(function, _Name) else type(function).__name__
        msg = f"it asks to run {words}"
        raise _RefusedError(msg)
    storage, offset, shape, strides = arguments[:4]
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not all(_is_size(number) for number in numbers):
        raise _RefusedError("it describes a tensor in a way that is not accepted")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _is_size(number: Any) -> bool:  # noqa: ANN401
    return type(number) is int and 0 <= number <= MAX_FILE_BYTES
