"""Is anything lost when an import is killed?

An import is killed with SIGKILL at a random moment; then the workspace is checked, and the same
import is run again to its end. In memory (/dev/shm) where there is room: what a process wrote
outlives it there as it does on a disk, and more kills fall between two steps than into the wait
for an fsync.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import Store, check_store
from stress.finding import Finding, Size
from stress.tiny_images import write_tiny_classes
from stress.workspace_driver import start

_SIZES = {"quick": (6, 150), "full": (200, 2000)}
_ROOM = 512 * 1024 * 1024
_TABLES = {
    "images": "image_id, object_id, format, bytes, width, height",
    "sources": "root, entry, image_id",
    "label_events": "image_id, value, kind, claim, who, why",
    "labels": "image_id, value, contradictory",
    "skipped": "root, entry, reason, detail",
}

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass
class _Tally:
    duration_s: float = 0.0
    kills: int = 0
    acknowledged: int = 0
    finished_before: int = 0
    leftovers: int = 0
    taken_over: int = 0
    failures: list[str] = field(default_factory=list)


def run(size: Size) -> Finding:
    """Kill, check, finish, compare; so many times."""
    times, count = _SIZES[size]
    chance = random.Random(0)
    tally = _Tally()
    with tempfile.TemporaryDirectory(prefix="keshikaran-stress-", dir=memory_disk()) as folder:
        source = write_tiny_classes(Path(folder) / "pictures", count)
        wanted, tally.duration_s = _whole(Path(folder) / "reference", source)
        while tally.kills < times and len(tally.failures) < 10:
            workspace = Path(folder) / "workspace"
            delay_s = chance.uniform(0, tally.duration_s)
            acknowledged = _killed(workspace, source, delay_s, tally)
            _check(workspace, source, acknowledged, wanted, tally)
            shutil.rmtree(workspace)
    return Finding(
        "Is anything lost when an import is killed?",
        {
            "images": count,
            "kills": tally.kills,
            "imports that were faster than the kill": tally.finished_before,
            "images acknowledged before a kill": tally.acknowledged,
            "temporary files and objects without a row left over": tally.leftovers,
            "kills between journal and catalogue": tally.taken_over,
        },
        tally.failures,
    )


def _whole(workspace: Path, source: Path) -> tuple[Rows, float]:
    """An import that nobody kills, by the same program: its rows and its seconds."""
    process = start("import", workspace, source)
    assert process.stdout is not None
    process.stdout.readline()
    started = time.perf_counter()
    process.communicate()
    return rows_of(workspace), time.perf_counter() - started


def _killed(workspace: Path, source: Path, delay_s: float, tally: _Tally) -> list[str]:
    """Start an import, kill it after so long, return the image ids that it acknowledged."""
    process = start("import", workspace, source)
    assert process.stdout is not None
    process.stdout.readline()
    started = time.perf_counter()
    killer = threading.Timer(delay_s, process.kill)
    killer.start()
    lines = process.stdout.read().splitlines(keepends=True)
    killer.cancel()
    code = process.wait()
    process.stdout.close()
    if code < 0:
        tally.kills += 1
    elif code == 0:
        tally.finished_before += 1  # other work slowed the reference down: kill earlier
        tally.duration_s = time.perf_counter() - started
    else:
        tally.failures.append(f"the import failed by itself: {lines[-1:]}")
    return [line.strip() for line in lines if len(line) == 65]  # cut lines are no promise


def _check(
    workspace: Path, source: Path, acknowledged: list[str], wanted: Rows, tally: _Tally
) -> None:
    tally.acknowledged += len(acknowledged)
    if not (workspace / "catalogue.sqlite").exists():
        workspace.mkdir(exist_ok=True)  # killed before it began
    report = check_store(workspace, full=True)
    if not report.clean:
        tally.failures.append(f"kill {tally.kills}: {report.findings[0]}")
    tally.leftovers += sum(
        finding.kind in {"temporary_file", "unreferenced_object"} for finding in report.findings
    )
    tally.taken_over += any(finding.kind == "journal_ahead" for finding in report.findings)
    there = {row[0] for row in rows_of(workspace)["images"]}
    lost = set(acknowledged) - there
    if lost:
        tally.failures.append(f"kill {tally.kills}: {len(lost)} acknowledged images are lost")
    with Store(workspace) as store:
        import_source(store, scan_folder(source))
    report = check_store(workspace)
    if not report.clean:
        tally.failures.append(f"after run {tally.kills} was repeated: {report.findings[0]}")
    if rows_of(workspace) != wanted:
        tally.failures.append(f"after run {tally.kills} was repeated the catalogue is another")


def memory_disk() -> str | None:
    """A folder in memory with room for a store of small images; None if there is none."""
    place = Path("/dev/shm")
    roomy = place.is_dir() and shutil.disk_usage(place).free > _ROOM
    return str(place) if roomy else None


def rows_of(workspace: Path) -> Rows:
    """What a catalogue says, without times, in an order of its own."""
    with closing(sqlite3.connect(workspace / "catalogue.sqlite", timeout=60)) as connection:
        return {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table}"), key=repr)
            for table, columns in _TABLES.items()
        }
