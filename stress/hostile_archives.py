"""Archives made to harm: what comes of each is counted and typed, and nothing is written elsewhere.

`run` makes the archives and has a child process import them, one after the other, so that its
memory can be watched.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import resource
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keshikaran.errors import KeshikaranError
from keshikaran.ingest import import_source
from keshikaran.ingest.archives import scan_archive
from keshikaran.store import Store
from stress.finding import Finding, Size

_MEMORY_MB = {"quick": 500, "full": 1200}
_SEED = 20
_ROOT = Path(__file__).resolve().parent.parent
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080200000090775"
    "3de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


@dataclass(frozen=True, slots=True)
class _Sizes:
    entries: int  # in archives of many
    blown_up_mb: int  # in bombs
    cuts: int  # of each good archive
    flips: int


_SIZES: dict[Size, _Sizes] = {
    "quick": _Sizes(entries=5_000, blown_up_mb=40, cuts=6, flips=12),
    "full": _Sizes(entries=1_000_001, blown_up_mb=2000, cuts=100, flips=500),
}


def run(size: Size) -> Finding:
    """Import every hostile archive and look at what is left."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "archives").mkdir()
        for file_name, data in _archives(_SIZES[size]):
            (place / "archives" / file_name).write_bytes(data)
        before = _listing(place)
        command = [sys.executable, "-m", "stress.hostile_archives", str(place)]
        child = subprocess.run(command, capture_output=True, text=True, timeout=3600, cwd=_ROOT)
        if child.returncode:
            return Finding("Do hostile archives do harm?", {}, [child.stderr[-2000:]])
        outcome = json.loads(child.stdout)
        after = _listing(place)
    failures: list[str] = list(outcome["failures"])
    failures += [f"written outside the workspace: {path}" for path in sorted(after - before)]
    failures += [f"gone: {path}" for path in sorted(before - after)]
    if outcome["memory_mb"] > _MEMORY_MB[size]:
        failures.append(f"{outcome['memory_mb']:.0f} MB of memory")
    figures = {
        "archives": outcome["archives"],
        "entries seen": outcome["seen"],
        "images imported from them": outcome["imported"],
        "entries refused with a reason": outcome["skipped"],
        "archives refused as a whole, or from some point on": outcome["stopped"],
        "errors with no type": len(outcome["failures"]),
        "files written outside the workspace": len(after - before),
        "slowest archive, s": outcome["slowest_s"],
        "slowest archive": outcome["slowest"],
        "peak memory of the process, MB": outcome["memory_mb"],
    }
    return Finding("Do hostile archives do harm?", figures, failures)


def _listing(place: Path) -> set[str]:
    return {str(path) for path in place.rglob("*") if "workspace" not in path.parts}


# What is imported


def _archives(sizes: _Sizes) -> Iterator[tuple[str, bytes]]:
    yield from _names()
    yield from _kinds()
    yield from _headers()
    yield from _bombs(sizes.blown_up_mb)
    yield from _many(sizes.entries)
    yield from _damaged(sizes)


def _names() -> Iterator[tuple[str, bytes]]:
    evil = ["../evil.png", "../../../evil.png", "/tmp/evil.png", "a/../../evil.png", "..\\evil.png"]
    evil += ["workspace/../../evil.png", "~/evil.png", "C:\\evil.png", "a" * 5000, "\x1b[2J.png"]
    yield "names.tar", _tar([(name, _PNG) for name in evil])
    yield "names.zip", _zip([(name, _PNG) for name in evil])
    yield "twice.tar", _tar([("a.png", _PNG)] * 50)


def _kinds() -> Iterator[tuple[str, bytes]]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"Z"):
            info = tarfile.TarInfo(f"{kind!r}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        # A link to a folder, and then a file "inside" it: how extractors are led outside.
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, ".."
        archive.addfile(link)
        inside = tarfile.TarInfo("out/evil.png")
        inside.size = len(_PNG)
        archive.addfile(inside, io.BytesIO(_PNG))
    yield "kinds.tar", out.getvalue()
    link_in_zip = zipfile.ZipInfo("link.png")
    link_in_zip.external_attr = 0o120777 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive_of_links:
        archive_of_links.writestr(link_in_zip, "../../etc/passwd")
    yield "links.zip", packed.getvalue()


def _headers() -> Iterator[tuple[str, bytes]]:
    for number, (kind, size) in enumerate(
        [
            (tarfile.REGTYPE, 1 << 60),
            (tarfile.REGTYPE, -(1 << 40)),
            (tarfile.GNUTYPE_LONGNAME, 1 << 40),
            (tarfile.XHDTYPE, 8 << 20),
            (tarfile.XGLTYPE, 8 << 20),
            (tarfile.GNUTYPE_SPARSE, 1 << 50),
        ]
    ):
        info = tarfile.TarInfo("a.png")
        info.type, info.size = kind, size
        yield f"header{number}.tar", info.tobuf(tarfile.GNU_FORMAT) + _PNG.ljust(512, b"\0")
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 900_000
    yield "digits.tar.gz", gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + b"1" * 900_096)
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 0
    yield "nested.tar.gz", gzip.compress(info.tobuf(tarfile.GNU_FORMAT) * 100_000)
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # "more of the map follows", for ever
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 256 + sum(header[156:512]))
    more = (b"0" * 11 + b"\0") * 42 + b"\1" + bytes(7)
    yield "sparse.tar.gz", gzip.compress(bytes(header) + more * 100_000)


def _bombs(megabytes: int) -> Iterator[tuple[str, bytes]]:
    zeros = bytes(1 << 20)
    members = [(f"{number}.bmp", zeros * 20) for number in range(max(1, megabytes // 20))]
    for kind, opened in (("gz", gzip.open), ("bz2", bz2.open), ("xz", lzma.open)):
        out = io.BytesIO()
        with (
            opened(out, "wb") as packed,
            tarfile.open(fileobj=packed, mode="w|") as archive,
        ):
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        yield f"bomb.tar.{kind}", out.getvalue()
    bomb = _zip(members)
    yield "bomb.zip", bomb
    yield "nested.zip", _zip([(f"{number}.zip", bomb) for number in range(5)])
    yield "overlap.zip", _overlapping(200, zeros * 20)
    lying = bytearray(_zip([("a.png", _PNG)]))
    at = lying.index(b"PK\x01\x02")
    lying[at + 24 : at + 28] = struct.pack("<L", 0xFFFFFFF0)
    yield "lying.zip", bytes(lying)


def _many(entries: int) -> Iterator[tuple[str, bytes]]:
    info = tarfile.TarInfo("a.png")
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as packed:
        for start in range(0, entries, 1000):
            packed.write(info.tobuf() * min(1000, entries - start))
        packed.write(bytes(1024))
    yield "many.tar.gz", out.getvalue()
    one = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *(0,) * 6, *(0,) * 3, 1, *(0,) * 4, 0, 0) + b"a"
    directory = one * entries
    count = min(entries, 0xFFFF)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), 0, 0)
    yield "many.zip", directory + end


def _damaged(sizes: _Sizes) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(_SEED)
    members = [(f"red/{number}.png", _PNG) for number in range(20)]
    plain = _tar(members)
    good = {
        "tar": plain,
        "tar.gz": gzip.compress(plain),
        "tar.bz2": bz2.compress(plain),
        "tar.xz": lzma.compress(plain),
        "zip": _zip(members),
    }
    for kind, data in good.items():
        for number in range(sizes.cuts):
            cut = len(data) * number // sizes.cuts
            yield f"cut{number}.{kind}", data[:cut]
        for number in range(sizes.flips):
            flipped = bytearray(data)
            for _ in range(chance.randint(1, 8)):
                flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            yield f"flip{number}.{kind}", bytes(flipped)


def _tar(members: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _zip(members: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def _overlapping(entries: int, data: bytes) -> bytes:
    """Many directory entries that share one packed body, each under the same name."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    common = (20, 0, 8, 0, 33, zlib.crc32(data), len(body), len(data))
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", *common, 1, 0) + b"a" + body
    central = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, *common, 1, 0, 0, 0, 0, 0, 0) + b"a"
    sizes = (entries, entries, len(central) * entries, len(local), 0)
    return local + central * entries + struct.pack("<4s2H2H2LH", b"PK\x05\x06", 0, 0, *sizes)


# What imports it


def _import_all(place: Path) -> dict[str, object]:
    import time

    figures: dict[str, int] = dict.fromkeys(("archives", "seen", "imported", "skipped"), 0)
    figures["stopped"] = 0
    failures: list[str] = []
    slowest = (0.0, "")
    with Store(place / "workspace") as store:
        for path in sorted((place / "archives").iterdir()):
            started = time.perf_counter()
            figures["archives"] += 1
            try:
                report = import_source(store, scan_archive(path, ["red"]))
            except KeshikaranError:
                figures["stopped"] += 1
                continue
            except Exception as error:
                failures.append(f"{path.name}: {type(error).__name__}: {error}")
                continue
            slowest = max(slowest, (time.perf_counter() - started, path.name))
            if report.seen != report.imported + report.duplicates + report.skipped:
                failures.append(f"{path.name}: {report.seen} seen do not add up")
            figures["seen"] += report.seen
            figures["imported"] += report.imported + report.duplicates
            figures["skipped"] += report.skipped
            figures["stopped"] += any(r.path.endswith(" itself)") for r in report.refusals)
    return {
        **figures,
        "failures": failures,
        "memory_mb": _peak_memory_mb(),
        "slowest_s": slowest[0],
        "slowest": slowest[1],
    }


def _peak_memory_mb() -> float:
    """Of this process alone: what `getrusage` says includes its parent's before the start."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024


if __name__ == "__main__":
    print(json.dumps(_import_all(Path(sys.argv[1]))))
