"""What a child that decodes may not do. Each limit is for one kind of harm: docs/isolation.md.

Every step is taken as far as the system lets us: a container that forbids one of them must not
stop the others. None of this is a wall against code of an attacker's choice running inside the
child; it narrows what that code could reach.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

from keshikaran.pixels.contract import Limits
from keshikaran.pixels.isolation.messages import ChildSettings

if sys.platform != "win32":
    import resource

_BYTES_PER_PIXEL = 32
_BASE_BYTES = 256 * 1024 * 1024
_NOBODY = 65534

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38

_LANDLOCK_CREATE_RULESET = 444  # the same numbers on every processor
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_VERSION = 1
_FILE_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}  # by version; all of them from 5 on
_ALL_FILE_RIGHTS = 0xFFFF
_TCP_RIGHTS = 0x3
_SCOPES = 0x3  # abstract sockets and signals of other processes

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def memory_for(limits: Limits) -> int:
    """Address space in bytes that the largest image within the limits may need.

    32 bytes a pixel cover what Pillow's and our own steps hold at the same time in the worst
    case, with room to spare: tests/test_isolation_limits.py decodes such images.
    """
    return _BASE_BYTES + 3 * limits.max_bytes + _BYTES_PER_PIXEL * limits.max_pixels


def confine(settings: ChildSettings, descriptors: int, parent: int) -> None:
    """Give up everything that decoding does not need; there is no way back.

    Args:
        settings: memory beyond what the process has now, processor time, threads.
        descriptors: how many are open, numbered from 0: no more can be opened.
        parent: the process whose end must be ours.
    """
    _die_first_when_memory_runs_out()
    used = address_space()
    _become_nobody()
    if _libc is not None:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _deny_files(_libc)
        _prctl(_PR_SET_DUMPABLE, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)
    limit_resources(settings, used, descriptors)


def limit_resources(settings: ChildSettings, used: int | None, descriptors: int | None) -> None:
    """Set the limits that POSIX has; nothing where it has none.

    Args:
        settings: memory, processor time, threads.
        used: address space taken now; None leaves it unlimited.
        descriptors: open files; None leaves them.
    """
    if sys.platform == "win32":
        return
    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CPU": settings.cpu_s,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_NPROC": None if settings.threads else 0,  # threads count, too
        "RLIMIT_AS": used + settings.memory_bytes if used else None,
        "RLIMIT_NOFILE": descriptors,
    }
    for name, value in wanted.items():
        number = getattr(resource, name, None)
        if number is not None and value is not None:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(number, (value, value))


def _die_first_when_memory_runs_out() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def address_space() -> int | None:
    """Bytes of it that this process takes now; None where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _become_nobody() -> None:
    """A child of root owns nothing, and the limit on processes holds for it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        os.setgroups([])
    with contextlib.suppress(OSError):
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    with contextlib.suppress(OSError):
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), 0)


def _deny_files(libc: ctypes.CDLL) -> None:
    """Landlock with no exception: no file can be opened, no TCP port reached (Linux 5.13 on)."""
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if version < 1:
        return
    rights = [_FILE_RIGHTS.get(version, _ALL_FILE_RIGHTS)]
    rights += [_TCP_RIGHTS] if version >= 4 else []
    rights += [_SCOPES] if version >= 6 else []
    rules = (ctypes.c_uint64 * len(rights))(*rights)
    size = ctypes.c_size_t(ctypes.sizeof(rules))
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(rules), size, 0)
    if ruleset >= 0:
        libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)


def peak_memory() -> int:
    """Bytes this process has had resident at most; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
