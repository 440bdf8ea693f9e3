"""Memory: large blocks go back to the system; the collector looks at what is new only."""

from __future__ import annotations

import ctypes
import gc
import sys

_M_TRIM_THRESHOLD = -1  # malloc.h of glibc
_M_MMAP_THRESHOLD = -3
_OWN_MAPPING_BYTES = 64 * 1024
_KEPT_FREE_BYTES = 2 * 1024 * 1024


def give_large_blocks_back() -> bool:
    """Let each large block be a mapping of its own, which ends when it is freed.

    By default glibc takes the size of the largest block that was freed for what is usual, up to
    32 MiB, and puts whatever is smaller into the heap, where one block in use keeps all those
    before it. Bodies that grew side by side left three times their size.

    Returns:
        Whether the C library could be told; others than glibc do so by themselves, or cannot.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    thresholds = (
        (_M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES),
        (_M_TRIM_THRESHOLD, _KEPT_FREE_BYTES),
    )
    return all([mallopt(name, size) == 1 for name, size in thresholds])


def leave_alone_what_stays() -> None:
    """Keep the collector of circles from what has been loaded so far.

    It holds up every thread for some 30 ms when it goes through all modules, and a request
    with them that is to be refused within 50 ms.
    """
    gc.collect()
    gc.freeze()
