"""Whether a folder lies on a network file system, where SQLite's locks cannot be trusted."""

from __future__ import annotations

import os
import re
from pathlib import Path

from keshikaran.errors import StoreError

NETWORK_VARIABLE = "KESHIKARAN_NETWORK_WORKSPACE"
"""Set to `allow`, workspaces on network file systems are opened all the same."""

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = {
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "davfs",
    "fuse.ceph-fuse",
    "fuse.davfs2",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
}
_ESCAPED = re.compile(r"\\([0-7]{3})")


def refuse_network(folder: Path) -> None:
    """Pass folders on local disks, and all where the system does not say (Linux does).

    Raises:
        StoreError: the folder is on a network file system and nobody allowed that.
    """
    kind = file_system_of(folder)
    if kind in _NETWORK and os.environ.get(NETWORK_VARIABLE) != "allow":
        msg = f"{folder} is on a network file system ({kind}), which can damage its catalogue."
        hint = (
            "Choose a --workspace on a local disk. If only one machine uses it, and one command"
            f" at a time, you may set {NETWORK_VARIABLE}=allow."
        )
        raise StoreError(msg, hint)


def is_network(folder: Path) -> bool:
    """Whether the folder lies on a network file system, as far as the system says."""
    return file_system_of(folder) in _NETWORK


def file_system_of(folder: Path) -> str:
    """Type of the file system that `folder` is on; "" where the system does not say."""
    try:
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
        place = folder.resolve()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[4]))
        # Of two mounts on the same point the later one is seen.
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind
