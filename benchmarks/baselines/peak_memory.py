"""The largest memory this process has held; standard library only, for any environment."""

from __future__ import annotations

import sys
from pathlib import Path

BYTES_PER_MB = 1_000_000


def peak_rss_mb() -> float:
    """Return the peak resident set size of this process, in MB of 10^6 bytes.

    Linux is read from /proc, because there `ru_maxrss` survives `exec`: a child of a large
    benchmark process would report its parent's peak as its own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / BYTES_PER_MB, 1)
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * unit / BYTES_PER_MB, 1)
