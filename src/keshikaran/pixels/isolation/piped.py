"""Children where there is no zygote (not Linux): started one by one, talked to through pipes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import IO

import numpy as np

from keshikaran.errors import IsolationError
from keshikaran.pixels.contract import DecodedImage, PixelSpec
from keshikaran.pixels.isolation.launch import HINT, command, environment
from keshikaran.pixels.isolation.messages import (
    MAX_PACKET,
    ChildDiedError,
    ChildSettings,
    ChildTimeoutError,
    Reply,
    Request,
    image_of,
    pixel_bytes,
    read_reply,
)

_LENGTH = 4
_END_S = 5.0


class PipedChild:
    """Asks one child. Used by one thread at a time.

    Args:
        process: runs `piped_child.main`.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            msg = "the process needs pipes"
            raise ValueError(msg)
        self.pid = process.pid
        self._process = process
        self._to, self._from = process.stdin, process.stdout
        self._number = 0

    def begin(self, settings: bytes) -> None:
        """Tell it its settings and wait until it is ready.

        Raises:
            EOFError: it ended instead.
        """
        self._to.write(len(settings).to_bytes(_LENGTH, "little") + settings)
        self._to.flush()
        self._packet()

    def ask(self, data: bytes, spec: PixelSpec, timeout_s: float) -> tuple[Reply, DecodedImage]:
        """See `keshikaran.pixels.isolation.shared.SharedChild.ask`."""
        self._number += 1
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(timeout_s, stop)
        timer.daemon = True
        timer.start()
        try:
            return self._ask(Request(self._number, len(data), spec), data)
        except (OSError, EOFError, ChildDiedError) as error:
            if late.is_set():
                raise ChildTimeoutError from error
            msg = str(error) or "ended while it decoded"
            raise ChildDiedError(msg) from error
        finally:
            timer.cancel()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def kill(self) -> int:
        """End it at once and give back what it held; see `pool.Child.kill`."""
        self._process.kill()
        code = self._process.wait(_END_S)
        self.forget()
        return code

    def forget(self) -> None:
        """Close our side."""
        if self._process.returncode is None:
            self._process.returncode = 0  # it is not ours to wait for
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):
                pipe.close()

    def _ask(self, request: Request, data: bytes) -> tuple[Reply, DecodedImage]:
        self._to.write(request.pack())
        self._to.write(data)
        self._to.flush()
        reply = read_reply(self._packet(), self._number)
        size = pixel_bytes(reply, request.spec)
        pixels = np.frombuffer(read_exactly(self._from, size), np.uint8).copy()
        return reply, image_of(reply, request.spec, pixels)

    def _packet(self) -> bytes:
        length = int.from_bytes(read_exactly(self._from, _LENGTH), "little")
        if length > MAX_PACKET:
            msg = f"wants to send {length:,} bytes where a reply was due"
            raise ChildDiedError(msg)
        return read_exactly(self._from, length)


class PipeLauncher:
    """Starts a process for each child; see `pool.Launcher`.

    Args:
        settings: for the children.
    """

    def __init__(self, settings: ChildSettings) -> None:
        self._settings = settings

    def launch(self) -> PipedChild:
        """Start a child.

        Raises:
            IsolationError: that cannot be done.
        """
        try:
            process = subprocess.Popen(
                command("keshikaran.pixels.isolation.piped_child"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
                start_new_session=sys.platform != "win32",
            )
        except OSError as error:
            what = f"No process to decode images in could be started: {error}."
            raise IsolationError(what, HINT) from error
        child = PipedChild(process)
        try:
            child.begin(self._settings.to_json())
        except (OSError, EOFError) as error:
            code = child.kill()
            what = f"No process to decode images in could be started: it ended with {code}."
            raise IsolationError(what, HINT) from error
        return child

    def close(self) -> None:
        """Nothing to end."""

    def abandon(self) -> None:
        """Nothing to close."""


def read_exactly(pipe: IO[bytes], count: int) -> bytes:
    """Read that many bytes.

    Raises:
        EOFError: there are no more.
    """
    data = pipe.read(count)
    if len(data) != count:
        raise EOFError
    return data
