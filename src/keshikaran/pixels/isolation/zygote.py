"""A small process that loads the decoders once and forks children at a word (Linux).

It is started before the parent loads anything large, so that forking is a matter of a
millisecond or two and children share its pages. It sees no uploads. It ends when its parent
does, and takes the children along.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import select
import signal
import socket
from dataclasses import dataclass

from keshikaran.pixels.isolation.child import DecodeFunction, find_function, warm_up
from keshikaran.pixels.isolation.forked import become_child
from keshikaran.pixels.isolation.messages import ANSWER, FORK, REAP, ChildSettings

_PACKET = 64 * 1024
_LOOK_FOR_PARENT_MS = 2000


@dataclass(frozen=True, slots=True)
class _Zygote:
    control: socket.socket
    settings: ChildSettings
    decode: DecodeFunction
    children: set[int]


def main() -> None:
    """Take settings from the socket that is standard input, get ready, serve until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    control = socket.socket(fileno=0)
    settings = ChildSettings.from_json(control.recv(_PACKET))
    try:
        decode = find_function(settings.function)
        warm_up(settings.limits)
    except Exception as error:
        control.send(json.dumps({"error": f"{type(error).__name__}: {error}"[:500]}).encode())
        os._exit(1)
    gc.freeze()  # children shall not touch, and so copy, what they share
    gc.enable()
    control.send(b"{}")
    zygote = _Zygote(control, settings, decode, set())
    with contextlib.suppress(OSError):
        _serve(zygote, parent)
    for pid in zygote.children:
        _end(pid)
    os._exit(0)


def _serve(zygote: _Zygote, parent: int) -> None:
    waiting = select.poll()
    waiting.register(zygote.control, select.POLLIN)
    while True:
        ready = waiting.poll(_LOOK_FOR_PARENT_MS)
        if os.getppid() != parent:
            return
        if not ready:
            continue
        word, descriptors, _, _ = socket.recv_fds(zygote.control, _PACKET, 2)
        if not word:
            return
        zygote.control.send(ANSWER.pack(_obey(zygote, word, descriptors)))


def _obey(zygote: _Zygote, word: bytes, descriptors: list[int]) -> int:
    if word[:1] == REAP:
        (pid,) = ANSWER.unpack(word[1:])
        zygote.children.discard(pid)
        return _end(pid)
    if word != FORK:
        return -errno.EINVAL
    us = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        pid = -(error.errno or 1)
    if pid == 0:
        become_child(zygote.settings, zygote.decode, us, *descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    if pid > 0:
        zygote.children.add(pid)
    return pid


def _end(pid: int) -> int:
    """Kill and reap. Only reaping frees a process id: the parent never names a stranger."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, 0)[1]
    return 0
