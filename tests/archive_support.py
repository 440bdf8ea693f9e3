"""Archives of pictures for tests, good and hostile ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from support import bluish, encode, reddish

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
}


def pictures(count: int, *, red: str = "red", blue: str = "blue") -> dict[str, bytes]:
    """`count` pictures each under the two folder names."""
    named = {f"{red}/{number:04d}.png": encode(reddish(number)) for number in range(count)}
    return named | {f"{blue}/{number:04d}.png": encode(bluish(number)) for number in range(count)}


def tar_bytes(members: Iterable[tuple[str, bytes]] | dict[str, bytes]) -> bytes:
    """A plain tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_bytes(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def special_member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A link, a device, a pipe."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def write(path: Path, data: bytes) -> Path:
    """Write and return the path."""
    path.write_bytes(data)
    return path
