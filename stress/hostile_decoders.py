"""What a taken-over decoder might do; the image file names which. Run in children only.

`decode` stands in for the real decoder: the test hands its name to `IsolatedDecoder`. Where the
system stops an attempt it says so with the refusal `corrupt`; where it succeeds there are pixels,
and that is a failure of the confinement.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import DecodedImage, Limits, PixelSpec
from keshikaran.pixels.isolation.messages import MAX_PACKET, Reply

_CHANNEL, _MEMORY = 3, 4
_HARMLESS_GREY = 77


def crash() -> None:
    """Read address 0."""
    ctypes.string_at(0)


def abort() -> None:
    """End by SIGABRT."""
    os.abort()


def leave() -> None:
    """End as if all were well."""
    os._exit(0)


def exit_politely() -> None:
    """End by an exception that is no error."""
    raise SystemExit


def recurse() -> None:
    """Use up the stack of the interpreter."""
    recurse()


def raise_anything() -> None:
    """Raise what no decoder is known to raise."""
    msg = "a defect\x1b[31m with colours"
    raise ZeroDivisionError(msg)


def loop() -> None:
    """Compute for ever."""
    for _ in itertools.count():
        pass


def sleep() -> None:
    """Wait for ever."""
    time.sleep(3600)


def pause() -> None:
    """Take a moment, then go on."""
    time.sleep(0.8)


def swell() -> None:
    """Use a lot of memory once, then go on."""
    bytearray(b"x" * 300 * 1024 * 1024)


def ignore_signals() -> None:
    """Wait for ever, deaf to all that can be ignored."""
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    sleep()


def allocate() -> None:
    """Take memory until there is none."""
    kept = []
    for _ in itertools.count():
        kept.append(bytearray(16 * 1024 * 1024))


def map_memory() -> None:
    """The same by the system's own call."""
    kept = []
    for _ in itertools.count():
        kept.append(mmap.mmap(-1, 16 * 1024 * 1024))


def write_file() -> None:
    """Leave something on the disk."""
    Path("/tmp/keshikaran-was-here").write_bytes(b"x")


@contextmanager
def _spare_descriptor() -> Iterator[None]:
    """Give one up, so that another can be opened."""
    os.close(0)
    try:
        yield
    finally:
        os.dup2(1, 0)


def write_file_instead() -> None:
    """The same, with a descriptor that was given up for it."""
    with _spare_descriptor():
        write_file()


def read_file() -> None:
    """Read what everybody may read."""
    with _spare_descriptor():
        Path("/etc/passwd").read_bytes()


def fork() -> None:
    """Become two."""
    if os.fork() == 0:
        os._exit(0)


def execute() -> None:
    """Become another program."""
    os.execv("/bin/true", ["true"])


def open_socket() -> None:
    """Reach for the network."""
    socket.socket()


def connect() -> None:
    """The same, with a descriptor that was given up for it."""
    with _spare_descriptor(), socket.socket() as there:
        there.connect(("127.0.0.1", 9))


def kill_parent() -> None:
    """End the process that forks."""
    os.kill(os.getppid(), signal.SIGTERM)


def raise_limits() -> None:
    """Take back what was given up."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))


def become_root() -> None:
    """Be somebody else."""
    os.setuid(0)


def shrink_memory() -> None:
    """Pull the shared memory from under the parent."""
    os.ftruncate(_MEMORY, 0)


def talk_nonsense() -> None:
    """Answer with noise."""
    os.write(_CHANNEL, os.urandom(200))
    sleep()


def talk_too_much() -> None:
    """Answer with more than an answer."""
    os.write(_CHANNEL, b"x" * (MAX_PACKET + 1000))
    sleep()


def claim_many_views() -> None:
    """Announce pixels that would fill the parent's memory."""
    os.write(_CHANNEL, struct.pack("<QBBIII", 1, 0, 0, 2**32 - 1, 2**31 - 1, 1))
    sleep()


def answer_another() -> None:
    """Answer a question that was not asked."""
    os.write(_CHANNEL, Reply(2**40, False, 1, 1, 1).pack())
    sleep()


def promise_more() -> None:
    """Announce many views and deliver the first part only."""
    os.write(_CHANNEL, Reply(1, False, 200, 200, 200).pack())
    sleep()


def invent_a_reason() -> None:
    """Refuse with words that are no reason."""
    os.write(_CHANNEL, struct.pack("<QBBIII", 1, 1, 0, 0, 0, 0) + b'{"reason": "x", "detail": ""}')
    sleep()


def give_wrong_shape(spec: PixelSpec) -> DecodedImage:
    """Fewer pixels than were asked for."""
    return DecodedImage(np.zeros((2, spec.height // 2, spec.width, 3), np.uint8))


_ATTEMPTS: dict[str, Callable[[], None]] = {
    attempt.__name__: attempt
    for attempt in (
        *(crash, abort, leave, exit_politely, recurse, raise_anything),
        *(loop, sleep, pause, swell, ignore_signals, allocate, map_memory),
        *(write_file, write_file_instead, read_file, fork, execute, open_socket, connect),
        *(kill_parent, raise_limits, become_root, shrink_memory),
        *(talk_nonsense, talk_too_much, claim_many_views, answer_another, promise_more),
        invent_a_reason,
    )
}
DIED = "decoder_died"
LATE = "decode_timeout"
STOPPED = "corrupt"
FULL = "too_many_pixels"
EXPECTED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_ATTEMPTS, (STOPPED,)),
    **dict.fromkeys(("crash", "abort", "leave", "exit_politely", "recurse"), (DIED,)),
    **dict.fromkeys(("raise_anything", "wrong_shape"), (DIED,)),
    **dict.fromkeys(("loop", "sleep", "ignore_signals"), (LATE,)),
    **dict.fromkeys(
        ("talk_nonsense", "talk_too_much", "claim_many_views", "answer_another"), (DIED,)
    ),
    "invent_a_reason": (DIED,),
    "promise_more": (LATE, DIED),  # late if the child is new: only then the number is right
    "pause": ("pixels",),
    "swell": (FULL,),
    "allocate": (FULL,),
    "map_memory": (FULL, STOPPED),
}
"""What may come of each."""


def decode(data: bytes, spec: PixelSpec, limits: Limits) -> DecodedImage:
    """Do what the file names; a file that names nothing is a grey picture."""
    name = data.decode("latin-1")
    if name == "wrong_shape":
        return give_wrong_shape(spec)
    if name in _ATTEMPTS:
        try:
            _ATTEMPTS[name]()
        except OSError as error:
            raise ImageRefusedError("corrupt", f"stopped: {error}") from error
        except ValueError as error:  # what Python makes of a limit that cannot be raised
            raise ImageRefusedError("corrupt", f"stopped: {error}") from error
    views = np.full((1, spec.height, spec.width, 3), _HARMLESS_GREY, np.uint8)
    return DecodedImage(views)


def many_views(data: bytes, spec: PixelSpec, limits: Limits) -> DecodedImage:
    """As many views as the file says, each of another grey."""
    count = int(data or b"1")
    views = np.empty((count, spec.height, spec.width, 3), np.uint8)
    views[:] = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return DecodedImage(views, frames_total=2 * count, frames_scored=count)
