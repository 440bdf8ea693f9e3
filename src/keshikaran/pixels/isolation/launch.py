"""Starting processes: the environment they get, and the parent's handle on its zygote."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from keshikaran.errors import IsolationError
from keshikaran.pixels.isolation.messages import ANSWER, FORK, REAP, ChildSettings
from keshikaran.pixels.isolation.shared import SharedChild, shared_memory

_START_S = 60.0
_END_S = 5.0
_PACKET = 64 * 1024
_INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT", "TZ")
# glibc's allocator: what an ordinary picture takes is kept for the next one. By default it goes
# back after each, and the system clears some thirty pages anew for every picture.
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 1024 * 1024),
}
HINT = (
    "Check that sys.executable is a Python interpreter and that processes may be started,"
    " or decode without isolation (--isolation off)."
)


def command(module: str) -> list[str]:
    """The command that runs `main` of one of our modules, and nothing of the user's.

    Without `site`, since the path is handed over whole, and without the current folder. Garbage
    is not collected while modules load: there is none.
    """
    if not sys.executable:
        what = "There is no Python interpreter to start decoder processes with."
        raise IsolationError(what, HINT)
    start = f"import gc; gc.disable(); from {module} import main; main()"
    return [sys.executable, "-S", "-P", "-c", start]


def environment() -> dict[str, str]:
    """What a child needs to find its modules; no secret of the parent's."""
    package = str(Path(__file__).resolve().parents[3])
    folders = [str(Path(folder).absolute()) for folder in sys.path]
    if package not in folders:
        folders.append(package)
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**kept, **threads, **_KEEP_MEMORY, "PYTHONPATH": os.pathsep.join(folders)}


class Zygote:
    """Launches forked children. Thread-safe. A zygote that died is started again.

    Args:
        settings: for its children.
    """

    def __init__(self, settings: ChildSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """Its process id; None when it is not running."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, without waiting until it is ready.

        Raises:
            IsolationError: no process can be started.
        """
        with self._lock:
            self._start()

    def launch(self) -> SharedChild:
        """Fork a child.

        Raises:
            IsolationError: that cannot be done.
        """
        with self._lock:
            try:
                return self._fork()
            except (OSError, EOFError):
                self._stop()
            try:
                return self._fork()
            except (OSError, EOFError) as error:
                what = f"No process to decode images in could be started: {error}."
                raise IsolationError(what, HINT) from error

    def close(self) -> None:
        """End it and all its children."""
        with self._lock:
            self._stop()

    def abandon(self) -> None:
        """Close our side without ending anything: in a fork of the process that owns it."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.returncode = 0
        self._control = self._process = None

    def end(self, pid: int) -> int:
        """Kill and reap a child; nothing to do if the zygote is gone, and so its children.

        Returns:
            Its exit code, or minus the number of the signal that ended it.
        """
        with self._lock, contextlib.suppress(OSError, EOFError):
            if self._control is not None:
                return os.waitstatus_to_exitcode(self._command(REAP + ANSWER.pack(pid)))
        return -signal.SIGKILL

    def _start(self) -> None:
        if self._process is not None:
            return
        words = command("keshikaran.pixels.isolation.zygote")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = subprocess.Popen(
                words,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment(),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            what = f"No process to decode images in could be started: {error}."
            raise IsolationError(what, HINT) from error
        finally:
            theirs.close()
        self._control, self._ready = ours, False
        ours.settimeout(_START_S)
        with contextlib.suppress(OSError):  # who waits until it is ready hears that it is gone
            ours.send(self._settings.to_json())

    def _await_ready(self) -> None:
        if self._ready or self._control is None:
            return
        packet = self._control.recv(_PACKET)
        if not packet:
            msg = "it ended before it was ready"
            raise EOFError(msg)
        trouble = json.loads(packet).get("error")
        if trouble:
            self._stop()
            what = f"The process to decode images in cannot start: {trouble}."
            raise IsolationError(what, HINT)
        self._ready = True

    def _fork(self) -> SharedChild:
        self._start()
        self._await_ready()
        max_bytes = self._settings.limits.max_bytes
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = -1
        try:
            memory = shared_memory(max_bytes)
            pid = self._command(FORK, [theirs.fileno(), memory])
            if pid < 0:
                raise OSError(-pid, os.strerror(-pid))
            return SharedChild(ours, mmap.mmap(memory, 0), pid, self.end)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            if memory >= 0:
                os.close(memory)

    def _command(self, word: bytes, descriptors: list[int] | None = None) -> int:
        control = self._control
        if control is None:
            raise EOFError
        socket.send_fds(control, [word], descriptors or [])
        packet = control.recv(_PACKET)
        if not packet:
            msg = "the process that forks them has ended"
            raise EOFError(msg)
        (answer,) = ANSWER.unpack(packet)
        return int(answer)

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        process, self._control, self._process = self._process, None, None
        if process is None:
            return
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
