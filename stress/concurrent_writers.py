"""Do several importers, a labeller and fsck get in each other's way?"""

from __future__ import annotations

import sqlite3
import subprocess
import tempfile
import threading
from contextlib import closing
from pathlib import Path

from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import Store, check_store
from stress.finding import Finding, Size
from stress.import_kill import rows_of
from stress.tiny_images import write_tiny_classes
from stress.workspace_driver import start

_SIZES = {"quick": (60, 40), "full": (1500, 600)}
_IMPORTERS = 4
_PAUSE_S = 0.2  # between two runs of fsck
_OVERLAP = 2  # each picture lies in so many importers' folders


def run(size: Size) -> Finding:
    """Let them all work on a workspace that is new to all of them."""
    share, labels = _SIZES[size]
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="keshikaran-stress-") as folder:
        place = Path(folder)
        workspace = place / "workspace"
        sources = [
            write_tiny_classes(place / f"pictures{number}", _OVERLAP * share, number * share)
            for number in range(_IMPORTERS)
        ]
        early = write_tiny_classes(place / "early", labels, 10_000_000)
        processes = [start("import", workspace, source) for source in sources]
        processes.append(start("label", workspace, early))
        checks = _Checks(workspace)
        words = _all_words(processes)
        checks.stop()
        failures.extend(checks.failures)
        for process, text in zip(processes, words, strict=True):
            if process.returncode != 0 or "locked" in text:
                failures.append(f"exit code {process.returncode}: {text[-300:]}")
        failures.extend(_lost(workspace, words, labels))
        final = check_store(workspace, full=True)
        failures.extend(f"at the end: {finding}" for finding in final.findings)
        rows = rows_of(workspace)
        wanted = _alone(place / "alone", sources, early)
        if {name: rows[name] for name in wanted} != wanted:
            failures.append("the catalogue is not what one importer after the other makes")
    return Finding(
        "Do several importers, a labeller and fsck get in each other's way?",
        {
            "importers at once": _IMPORTERS,
            "images each": _OVERLAP * share,
            "images in the store": len(rows["images"]),
            "labels by a person meanwhile": labels,
            "runs of fsck meanwhile": checks.runs,
            "times 'locked' was said": sum(text.count("locked") for text in words),
        },
        failures,
    )


class _Checks:
    """fsck again and again, in a thread, until told to stop."""

    def __init__(self, workspace: Path) -> None:
        self.failures: list[str] = []
        self.runs = 0
        self._workspace = workspace
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._enough.is_set():
            try:
                report = check_store(self._workspace, full=self.runs % 2 == 1)
                self.runs += 1
                if not report.clean:
                    self.failures.append(f"fsck meanwhile: {report.findings[0]}")
            except Exception as error:  # whatever it is, it is a failure to report
                self.failures.append(f"fsck meanwhile: {error!r}")
                return
            self._enough.wait(_PAUSE_S)


def _all_words(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each process says, read at once so that none waits for a reader."""
    words = [""] * len(processes)

    def read(number: int) -> None:
        words[number] = processes[number].communicate()[0]

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(processes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return words


def _lost(workspace: Path, words: list[str], count: int) -> list[str]:
    """What was acknowledged and is not there."""
    *imports, labels = (text.splitlines() for text in words)
    with closing(sqlite3.connect(workspace / "catalogue.sqlite")) as connection:
        there = {row[0] for row in connection.execute("SELECT image_id FROM images")}
        said = connection.execute(
            "SELECT image_id, value FROM label_events WHERE kind = 'person' ORDER BY id"
        ).fetchall()
    failures = []
    for lines in (*imports, labels):
        lost = {line for line in lines if len(line) == 64} - there
        if lost:
            failures.append(f"{len(lost)} acknowledged images are lost")
    given = [tuple(line.split()) for line in labels if " " in line]
    if [(image_id, str(value)) for image_id, value in said] != given or len(given) != count:
        failures.append(f"{len(given)} labels were acknowledged, {len(said)} are there")
    return failures


def _alone(
    workspace: Path, sources: list[Path], early: Path
) -> dict[str, list[tuple[object, ...]]]:
    """The images and sources that one importer after the other finds."""
    with Store(workspace) as store:
        for source in (early, *sources):
            import_source(store, scan_folder(source))
    rows = rows_of(workspace)
    return {name: rows[name] for name in ("images", "sources", "skipped")}
