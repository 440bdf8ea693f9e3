"""ONNX Runtime on an NVIDIA card: many images a call, memory bound once, nothing falls back.

ONNX Runtime goes on with the processor, in silence or nearly so, where a card cannot be opened or
fails. Here that is an error: whoever asked for a card shall not wait ten times as long.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from queue import SimpleQueue

import numpy as np
import onnxruntime

from keshikaran.backbones.devices import (
    MAX_BATCH,
    CardKind,
    Placement,
    find_card,
    place,
    words_on_a_closed_card,
)
from keshikaran.backbones.graph import read_graph
from keshikaran.backbones.half import in_half_precision
from keshikaran.backbones.onnxruntime_engine import session_options
from keshikaran.backbones.sizes import largest_value_bytes
from keshikaran.errors import BackboneError
from keshikaran.types import Float32Array, Precision, UInt8Array

_STREAMS = 2
"""Calls at a time: while one is computed, the next one's images are copied."""

_SHARE_OF_FREE = 0.5
_LARGEST_VALUES = 4
"""A network's arena holds about so many values of the largest's size: its input, its output, a
workspace, and what a shortcut keeps."""

_MOST_INPUTS = 64  # whoever read the file has said how many it may have
_PROBES = 3
_TOLERANCE: dict[Precision, float] = {"f32": 1e-3, "f16": 0.1}
_MEMORY_WORDS = (
    "failed to allocate memory",
    "out of memory",
    "cudaerrormemoryallocation",
    "status_alloc_failed",
    "std::bad_alloc",
)


def open_card(model: bytes, device: CardKind, precision: Precision) -> CardEngine:
    """Load a network on a card, and check there what it says.

    Args:
        model: the ONNX file's bytes, which passed `read_graph`.
        device: which road to the card.
        precision: f32 or f16.

    Raises:
        MissingExtraError: there is no ONNX Runtime.
        BackboneError: the card cannot be used, or computes something else.
    """
    proto, signature = read_graph(model, "the network", _MOST_INPUTS)
    placement = place(device, precision, signature.inputs)
    card = find_card()
    free = None if card is None else card.free_bytes
    size = batch_size_for(free, largest_value_bytes(proto, set(signature.inputs)))
    return CardEngine(model, placement, precision, batch_size=size)


def batch_size_for(free_bytes: int | None, value_bytes: int) -> int:
    """How many images a call may carry: a power of two, at most 64.

    Args:
        free_bytes: the card's free memory; None if unknown.
        value_bytes: the largest value that the network makes of one image.
    """
    if free_bytes is None:
        return MAX_BATCH
    fit = _SHARE_OF_FREE * free_bytes / (_STREAMS * _LARGEST_VALUES * max(value_bytes, 1))
    return 1 << int(math.log2(min(max(fit, 1), MAX_BATCH)))


class CardEngine:
    """Runs a network on a card, in batches of powers of two.

    Where the card has no room for a batch, batches are halved from then on.

    Args:
        model: the ONNX file's bytes.
        placement: how ONNX Runtime is told.
        precision: f32 or f16.
        batch_size: images in a call at first, a power of two.

    Attributes:
        name: which program runs it.
        device: where.
        precision: the arithmetic it runs in.
        streams: calls side by side.
        batch_size: images in a call.

    Raises:
        BackboneError: the card was not opened, has no room for one image, or computes something
            else than the processor does.
    """

    name = "onnxruntime"
    streams = _STREAMS

    def __init__(
        self,
        model: bytes,
        placement: Placement,
        precision: Precision,
        *,
        batch_size: int = MAX_BATCH,
    ) -> None:
        self.device = placement.device
        self.precision = precision
        self.batch_size = batch_size
        self._memory = placement.memory
        self._halving = threading.Lock()
        self._session = _session(
            in_half_precision(model) if precision == "f16" else model, placement
        )
        self._inputs = {each.name: tuple(each.shape[1:]) for each in self._session.get_inputs()}
        self._names = [output.name for output in self._session.get_outputs()]
        self._slots: SimpleQueue[dict[int, _Bound]] = SimpleQueue()
        for _ in range(self.streams):
            self._slots.put({})
        self._compare(model)
        blank = [np.zeros((self.batch_size, *each), np.uint8) for each in self._inputs.values()]
        self.infer(*blank)  # is there room?

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        """See `Engine.infer`; numbers of f32 differ by less than 1e-3 between sizes of calls."""
        rows: list[list[Float32Array]] = []
        done = 0
        while done < len(images):
            size = self.batch_size
            part = [each[done : done + size] for each in (images, *beside)]
            try:
                rows.append(self._call(part))
            except Exception as error:  # its exceptions share no public base class
                self._make_room(size, error)
            else:
                done += len(part[0])
        return {
            name: np.concatenate([row[column] for row in rows])
            for column, name in enumerate(self._names)
        }

    def _call(self, images: Sequence[UInt8Array]) -> list[Float32Array]:
        """Up to `batch_size` images, padded to the next power of two."""
        slot = self._slots.get()
        try:
            size = 1 << (len(images[0]) - 1).bit_length()
            if size not in slot:
                slot[size] = _Bound(self._session, size, self._inputs, self._memory)
            return slot[size].run(images)
        except BaseException:
            slot.clear()  # gives the card's memory back
            raise
        finally:
            self._slots.put(slot)

    def _make_room(self, size: int, error: Exception) -> None:
        """Halve the calls if that may help, else raise."""
        words = _first_words(error)
        if not any(part in str(error).lower() for part in _MEMORY_WORDS):
            msg = f"The card failed while it ran the network: {words}"
            raise BackboneError(msg, "Run the same command again, or with --device cpu.") from error
        if size == 1:
            msg = f"The card has no room for a single image: {words}"
            hint = "End what else uses the card (nvidia-smi lists it), or use --device cpu."
            raise BackboneError(msg, hint) from error
        with self._halving:
            self.batch_size = min(self.batch_size, size // 2)

    def _compare(self, model: bytes) -> None:
        """The promise that f32 is the same everywhere is checked, not hoped for."""
        rng = np.random.default_rng(0)
        probes = {
            name: rng.integers(0, 256, (_PROBES, *shape), dtype=np.uint8)
            for name, shape in self._inputs.items()
        }
        exact = onnxruntime.InferenceSession(
            model, session_options(), providers=["CPUExecutionProvider"]
        )
        expected = exact.run(self._names, probes)
        found = self.infer(*probes.values())
        for name, right in zip(self._names, expected, strict=True):
            off = float(np.abs(found[name] - right).max())
            allowed = _TOLERANCE[self.precision] * max(1.0, float(np.abs(right).max()))
            if np.isfinite(right).all() and not off <= allowed:
                msg = f"In {self.precision}, {self.device} gives other numbers than the processor"
                msg = f"{msg} ({name} is off by {off:.2g}; {allowed:.2g} would do)."
                hint = "Use --precision f32." if self.precision == "f16" else "Use --device cpu."
                raise BackboneError(msg, hint)


class _Bound:
    """Memory on the card for one size of batch, bound to the session once."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        size: int,
        inputs: dict[str, tuple[int, ...]],
        memory: str,
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._hosts: list[UInt8Array] = []
        self._cards: list[onnxruntime.OrtValue] = []
        for name, shape in inputs.items():
            whole = (size, *shape)
            self._hosts.append(np.zeros(whole, np.uint8))
            self._cards.append(
                onnxruntime.OrtValue.ortvalue_from_shape_and_type(whole, np.uint8, memory, 0)
            )
            self._binding.bind_ortvalue_input(name, self._cards[-1])
        for output in session.get_outputs():
            self._binding.bind_output(output.name, memory, 0)

    def run(self, images: Sequence[UInt8Array]) -> list[Float32Array]:
        for given, host, card in zip(images, self._hosts, self._cards, strict=True):
            if given.shape == host.shape and given.flags.c_contiguous:
                card.update_inplace(given)
            else:
                host[: len(given)] = given
                card.update_inplace(host)
        self._session.run_with_iobinding(self._binding)
        values = self._binding.copy_outputs_to_cpu()
        return [np.array(value[: len(images[0])], dtype=np.float32) for value in values]


def _session(model: bytes, placement: Placement) -> onnxruntime.InferenceSession:
    """A session that runs on the card or not at all."""
    options = session_options()
    options.use_deterministic_compute = True
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # those that pip installed are not where the system looks
    providers = list(placement.providers)
    try:
        session = onnxruntime.InferenceSession(
            model, options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # its exceptions share no public base class
        words = words_on_a_closed_card(placement.device, _first_words(error))
        raise BackboneError(*words) from error
    if session.get_providers()[0] != providers[0][0]:
        raise BackboneError(*words_on_a_closed_card(placement.device, ""))
    session.disable_fallback()
    return session


def _first_words(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
