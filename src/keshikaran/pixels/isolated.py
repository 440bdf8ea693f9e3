"""Decoding in child processes: an uploaded file can break one of them, for one image."""

from __future__ import annotations

import logging
import os
import signal
import time
import weakref
from typing import Literal

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import (
    DEFAULT_LIMITS,
    EXTRA_FORMATS,
    DecodedImage,
    Limits,
    PixelSpec,
)
from keshikaran.pixels.decoder import Decoder, InProcessDecoder
from keshikaran.pixels.isolation.confine import memory_for
from keshikaran.pixels.isolation.messages import (
    ChildDiedError,
    ChildSettings,
    ChildTimeoutError,
)
from keshikaran.pixels.isolation.pool import Launcher, Pool

Isolation = Literal["process", "off"]
"""Where images are decoded: in child processes with limits, or in this one."""

DECODE_TIMEOUT_S = 10.0
_IMAGES_PER_CHILD = 1000
_BUSY_S_PER_CHILD = 60.0
_CPU_S_SPARE = 30
_FUNCTION = "keshikaran.pixels.decode:decode_image"

CAN_FORK = hasattr(os, "memfd_create") and hasattr(os, "fork")
"""Whether a zygote can fork children that share sealed memory with us (Linux)."""

_logger = logging.getLogger("keshikaran")


def open_decoder(isolation: Isolation, limits: Limits = DEFAULT_LIMITS) -> Decoder:
    """A decoder of the kind asked for; close it when done.

    Args:
        isolation: `process`, or `off`, which is said in the log.
        limits: what a file may ask for.

    Raises:
        IsolationError: no process can be started.
    """
    if isolation == "process":
        return IsolatedDecoder(limits)
    _logger.warning(
        "Images are decoded in this process (isolation off): a file that crashes a decoder, keeps"
        " it busy or fills the memory takes the whole program along."
    )
    return InProcessDecoder(limits)


class IsolatedDecoder:
    """Decodes in child processes that have limits, are watched and are replaced. Thread-safe.

    A child that dies is replaced and its image tried once more: a child killed from outside costs
    nothing, a file that kills its child two children. A file that takes too long is tried once.
    Closing is good manners; without it the children end with the decoder or the program.

    Args:
        limits: what a file may ask for.
        workers: children at most; default: one more than there are usable processors.
        timeout_s: seconds that one image may take.
        function: what the children run, as `module:name`; others than the default are for tests.
        memory_bytes: address space for a child; default: enough for the largest legal image.
        forked: whether children are forked by a zygote; default: where the system can.

    Raises:
        IsolationError: no process can be started.
    """

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        *,
        workers: int | None = None,
        timeout_s: float = DECODE_TIMEOUT_S,
        function: str = _FUNCTION,
        memory_bytes: int | None = None,
        forked: bool | None = None,
    ) -> None:
        self.limits = limits
        self._workers = workers or _usable_cores() + 1
        self._timeout_s = timeout_s
        self._forked = CAN_FORK if forked is None else forked
        self._settings = ChildSettings(
            function,
            limits,
            memory_for(limits) if memory_bytes is None else memory_bytes,
            int(_BUSY_S_PER_CHILD + timeout_s) + _CPU_S_SPARE,
            threads=bool(limits.formats & EXTRA_FORMATS),
        )
        self._open(early=True)
        _open_decoders.add(self)

    def decode(self, data: bytes, spec: PixelSpec) -> DecodedImage:
        """See `Decoder.decode`.

        Raises:
            ImageRefusedError: the image's own reasons; `decoder_died` when two children died
                over it; `decode_timeout`.
            IsolationError: no process can be started, or the decoder is closed.
        """
        if len(data) > self.limits.max_bytes:
            detail = f"the file has {len(data):,} bytes, the limit is {self.limits.max_bytes:,}"
            raise ImageRefusedError("too_many_bytes", detail)
        try:
            return self._try(data, spec)
        except ChildDiedError:
            _logger.info("A decoder process ended; its image is tried once more.")
        try:
            return self._try(data, spec, fresh=True)
        except ChildDiedError as error:
            detail = f"two decoder processes did not survive this file: the second {error}"
            raise ImageRefusedError("decoder_died", detail) from error

    def pids(self) -> list[int]:
        """Process ids of the children there are now."""
        return self._pool.pids()

    def close(self) -> None:
        """End all processes; images that are being decoded are refused."""
        _open_decoders.discard(self)
        self._finalizer()

    def __enter__(self) -> IsolatedDecoder:
        """The decoder itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def _open(self, *, early: bool) -> None:
        launcher = _launcher(self._settings, forked=self._forked, early=early)
        self._pool = Pool(launcher, self._workers)
        self._finalizer = weakref.finalize(self, self._pool.close)

    def _after_fork(self) -> None:
        """Leave the children to the process that started them; have own ones when needed."""
        self._finalizer.detach()
        self._pool.abandon()
        self._open(early=False)

    def _try(self, data: bytes, spec: PixelSpec, *, fresh: bool = False) -> DecodedImage:
        lent = self._pool.take(fresh=fresh)
        started = time.monotonic()
        try:
            reply, image = lent.child.ask(data, spec, self._timeout_s)
        except ChildTimeoutError as error:
            self._pool.drop(lent)
            detail = f"decoding took more than {self._timeout_s:g} s"
            raise ImageRefusedError("decode_timeout", detail) from error
        except ChildDiedError as error:
            words = f"{error}{_words(self._pool.drop(lent))}"
            raise ChildDiedError(words) from error
        except BaseException:
            self._pool.drop(lent)
            raise
        lent.images += 1
        lent.busy_s += time.monotonic() - started
        tired = lent.images >= _IMAGES_PER_CHILD or lent.busy_s >= _BUSY_S_PER_CHILD
        (self._pool.drop if tired or reply.worn else self._pool.put)(lent)
        if reply.failure is not None:
            raise ImageRefusedError("decoder_died", f"the decoder failed: {reply.failure}")
        if reply.refusal is not None:
            raise reply.refusal
        return image


def _words(code: int) -> str:
    """How a child ended, unless it was our own signal or one like it."""
    if code == -signal.SIGKILL:
        return ""
    return f" (exit code {code})" if code >= 0 else f" ({signal.Signals(-code).name})"


def _launcher(settings: ChildSettings, *, forked: bool, early: bool) -> Launcher:
    if forked:
        from keshikaran.pixels.isolation.launch import Zygote

        zygote = Zygote(settings)
        if early:
            zygote.start()
        return zygote
    from keshikaran.pixels.isolation.piped import PipeLauncher

    return PipeLauncher(settings)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _after_fork() -> None:
    for decoder in list(_open_decoders):
        decoder._after_fork()


_open_decoders: weakref.WeakSet[IsolatedDecoder] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
