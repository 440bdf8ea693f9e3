"""Is anything lost or half done when the disk fails?

Each write, sync, rename and the like of an import, a label and a split is made to fail in turn,
once and for good; and the same is done on disks that are too small (a tmpfs each where mounting
is permitted, else with a limit on the size of files).
"""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from keshikaran.errors import KeshikaranError
from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import Added, ImageRecord, SourceEntry, Store, check_store
from keshikaran.types import ImageId
from stress.finding import Finding, Size
from stress.import_kill import memory_disk, rows_of
from stress.tiny_images import write_tiny_classes

_CALLS = ("open", "write", "fsync", "replace", "chmod", "mkdir", "truncate", "ftruncate")
_ERRORS = (errno.EIO, errno.ENOSPC)
_IMAGES = {"quick": (3, 60), "full": (40, 2000)}
_DISKS_KIB = {"quick": range(32, 512, 64), "full": range(64, 12_288, 256)}


@dataclass
class _Tally:
    calls: int = 0
    reported: int = 0
    disks: int = 0
    too_small: int = 0
    kind_of_disk: str = ""
    failures: list[str] = field(default_factory=list)


class _RememberingStore(Store):
    """A store that remembers what it acknowledged."""

    def __init__(self, folder: Path, acknowledged: set[ImageId]) -> None:
        self.acknowledged = acknowledged
        super().__init__(folder)

    def add(
        self, records: Sequence[ImageRecord], entries: Sequence[SourceEntry], *, who: str
    ) -> Added:
        """See `Store.add`."""
        added = super().add(records, entries, who=who)
        self.acknowledged.update(entry.image_id for entry in entries)
        return added


def run(size: Size) -> Finding:
    """Fail everywhere once; fill disks of several sizes."""
    few, many = _IMAGES[size]
    tally = _Tally()
    with tempfile.TemporaryDirectory(prefix="keshikaran-stress-", dir=memory_disk()) as folder:
        _every_call(Path(folder), write_tiny_classes(Path(folder) / "few", few), tally)
        _small_disks(
            Path(folder), write_tiny_classes(Path(folder) / "many", many), _DISKS_KIB[size], tally
        )
    return Finding(
        "Is anything lost or half done when the disk fails?",
        {
            "calls that failed in turn": tally.calls,
            "of these reported in words": tally.reported,
            f"small disks ({tally.kind_of_disk})": tally.disks,
            "of these too small": tally.too_small,
        },
        tally.failures,
    )


def _every_call(folder: Path, source: Path, tally: _Tally) -> None:
    counter = _Faults(None, 0, for_good=False)
    with counter.at_work():
        _work(folder / "reference", source, set())
    wanted = _content(folder / "reference")
    for call in range(1, counter.calls + 1):
        for for_good in (False, True):
            faults = _Faults(call, _ERRORS[call % 2], for_good=for_good)
            where = folder / f"call-{call}-{for_good}"
            tally.reported += _survives(where, source, faults.at_work(), None, wanted, tally)
            tally.calls += 1


def _small_disks(folder: Path, source: Path, sizes_kib: range, tally: _Tally) -> None:
    _work(folder / "whole", source, set())
    wanted = _content(folder / "whole")
    mounted = _mount(folder / "trial", 64)
    if mounted:
        _unmount(folder / "trial")
    tally.kind_of_disk = "tmpfs" if mounted else "limit on the size of files"
    for size_kib in sizes_kib:
        where = folder / f"disk-{size_kib}"
        if mounted:
            _mount(where, size_kib)
            room = _mounted_room(where)
            limit: AbstractContextManager[None] = ExitStack()  # type: ignore[assignment]
        else:
            room, limit = None, _file_size_limit(size_kib)
        try:
            tally.too_small += _survives(where / "w", source, limit, room, wanted, tally)
            tally.disks += 1
        finally:
            if mounted:
                _unmount(where)


def _survives(
    where: Path,
    source: Path,
    trouble: AbstractContextManager[None],
    more_room: Callable[[], None] | None,
    wanted: dict[str, Any],
    tally: _Tally,
) -> bool:
    """Work in trouble, look, work without; returns whether the trouble was told in words."""
    acknowledged: set[ImageId] = set()
    told = False
    try:
        with trouble:
            _work(where, source, acknowledged)
    except KeshikaranError:
        told = True
    except Exception as error:  # anything else is a traceback for a person
        tally.failures.append(f"{where.name}: {error!r}")
    if more_room is not None:
        more_room()
    if where.exists():
        report = check_store(where, full=True)
        if not report.clean:
            tally.failures.append(f"{where.name}: {report.findings[0]}")
        lost = acknowledged - {row[0] for row in rows_of(where)["images"]}
        if lost:
            tally.failures.append(f"{where.name}: {len(lost)} acknowledged images are lost")
    _work(where, source, set())
    if _content(where) != wanted or not check_store(where, full=True).clean:
        tally.failures.append(f"{where.name}: doing it again gives something else")
    return told


def _work(workspace: Path, source: Path, acknowledged: set[ImageId]) -> None:
    """An import, a label by a person and a split."""
    with _RememberingStore(workspace, acknowledged) as store:
        import_source(store, scan_folder(source))
        images = [image.image_id for image in store.labels.images()]
        store.labels.say(min(images), 1, who="person", why="")
        store.assign_splits([(image_id, "train") for image_id in images], "{}")


def _content(workspace: Path) -> dict[str, Any]:
    """What it says; not how often a label was given: a failed command may have been done."""
    rows = rows_of(workspace)
    del rows["label_events"]
    return rows


class _Faults:
    """Lets calls of `os` through until the chosen one.

    Args:
        fail_at: which call fails, counted from 1; None for none.
        number: the `errno`.
        for_good: whether all later ones fail too.
    """

    def __init__(self, fail_at: int | None, number: int, *, for_good: bool) -> None:
        self.calls = 0
        self._fail_at = fail_at
        self._number = number
        self._for_good = for_good
        self._lock = threading.Lock()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Be in the way for the length of a block."""
        with ExitStack() as stack:
            for name in _CALLS:
                stack.enter_context(mock.patch.object(os, name, self._wrap(getattr(os, name))))
            yield

    def _wrap(self, original: Callable[..., object]) -> Callable[..., object]:
        def call(*words: object, **more: object) -> object:
            with self._lock:
                self.calls += 1
                late = self._fail_at is not None and self.calls >= self._fail_at
                fails = late and (self._for_good or self.calls == self._fail_at)
            if fails:
                raise OSError(self._number, os.strerror(self._number))
            return original(*words, **more)

        return call


def _mount(where: Path, size_kib: int) -> bool:
    where.mkdir()
    return _quietly("mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "none", str(where))


def _unmount(where: Path) -> None:
    _quietly("umount", str(where))


def _mounted_room(where: Path) -> Callable[[], None]:
    def enlarge() -> None:
        _quietly("mount", "-o", "remount,size=256m", str(where))

    return enlarge


def _quietly(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def _file_size_limit(size_kib: int) -> Iterator[None]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_kib * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
