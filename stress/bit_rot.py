"""Is every flipped bit found, and no other file accused?"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from keshikaran.errors import ImageRefusedError
from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import Store, check_store
from keshikaran.types import ImageId
from stress.finding import Finding, Size
from stress.import_kill import memory_disk
from stress.tiny_images import write_tiny_classes

_SIZES = {"quick": (5, 200), "full": (100, 10_000)}


def run(size: Size) -> Finding:
    """Flip one bit in some objects; check, read, and import the originals again."""
    flips, count = _SIZES[size]
    chance = random.Random(0)
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="keshikaran-stress-", dir=memory_disk()) as folder:
        source = write_tiny_classes(Path(folder) / "pictures", count)
        workspace = Path(folder) / "workspace"
        with Store(workspace) as store:
            import_source(store, scan_folder(source))
            files = sorted(store.object_files())
        damaged = {path.stem for path in chance.sample(files, flips)}
        for path in files:
            if path.stem in damaged:
                _flip(path, chance)
        started = time.perf_counter()
        report = check_store(workspace, full=True)
        seconds = time.perf_counter() - started
        named = {item.subject for item in report.findings if item.kind == "damaged_object"}
        if named != damaged or len(report.findings) != flips:
            failures.append(f"named {len(named & damaged)}, and {len(named - damaged)} wrongly")
        refused = _refused(workspace, files)
        if refused != damaged:
            failures.append(f"reads refuse {len(refused)} objects: {len(refused ^ damaged)} wrong")
        with Store(workspace) as store:
            repaired = import_source(store, scan_folder(source))
        if repaired.imported or not check_store(workspace, full=True).clean:
            failures.append("importing the originals again does not repair it")
    return Finding(
        "Is every flipped bit found, and no other file accused?",
        {
            "objects": count,
            "objects with one bit flipped": flips,
            "named by fsck --full": len(named),
            "refused when read": len(refused),
            "seconds that fsck --full took": seconds,
        },
        failures,
    )


def _flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    bit = chance.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def _refused(workspace: Path, files: list[Path]) -> set[str]:
    refused = set()
    with Store(workspace) as store:
        for path in files:
            try:
                store.blobs.read(ImageId(path.stem), path.suffix[1:])
            except ImageRefusedError as refusal:
                if refusal.reason == "damaged_object":
                    refused.add(path.stem)
    return refused
