"""Takes away what interrupted commands left: temporary files, and objects without a row."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keshikaran.errors import StoreError
from keshikaran.hashing import TEMPORARY_PREFIX, write_error
from keshikaran.store.blobs import BlobStore, FileFacts, files_below, is_object
from keshikaran.store.lock import alone_in
from keshikaran.store.store import Store
from keshikaran.types import Progress, SilentProgress

MIN_AGE_S = 3600.0
"""Nothing younger is touched, whatever the locks say."""


@dataclass(frozen=True, slots=True)
class GcReport:
    """What was taken away, or would be.

    Attributes:
        temporary_files: how many unfinished files.
        objects: how many objects that no row names.
        bytes: their sizes together.
        too_young: files of both kinds that stay because they are less than an hour old.
        removed: each file, below the workspace.
        dry_run: whether everything is still there.
    """

    temporary_files: int
    objects: int
    bytes: int
    too_young: int
    removed: tuple[str, ...]
    dry_run: bool


def collect_garbage(
    folder: Path,
    *,
    dry_run: bool = False,
    now: float | None = None,
    progress: Progress | None = None,
) -> GcReport:
    """Remove temporary files and unreferenced objects that are more than an hour old.

    Args:
        folder: the workspace.
        dry_run: only say what would go.
        now: the time, in seconds since 1970; None for the present.
        progress: told of each file.

    Raises:
        StoreError: an import is at work; the catalogue is empty, so that every object would
            go; or a file cannot be removed.
    """
    now = time.time() if now is None else now
    objects = folder / "objects"
    try:
        objects.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(objects, error) from error
    busy = f"An import is at work in {folder}: what it just wrote must not be taken for garbage."
    with alone_in(objects, busy), Store(folder) as store:
        garbage = _garbage(store)
        old = [file for file in garbage if now - file.changed_at > MIN_AGE_S]
        with (progress or SilentProgress()).task("collect", len(old)) as task:
            for file in old:
                if not dry_run:
                    _remove(file.path)
                task.advance()
    temporary = sum(_is_temporary(file) for file in old)
    return GcReport(
        temporary_files=temporary,
        objects=len(old) - temporary,
        bytes=sum(file.bytes for file in old),
        too_young=len(garbage) - len(old),
        removed=tuple(sorted(file.path.relative_to(folder).as_posix() for file in old)),
        dry_run=dry_run,
    )


def _garbage(store: Store) -> Sequence[FileFacts]:
    expected = set(store.object_files())
    files = list(files_below(store.folder))
    unnamed = [file for file in files if _is_unnamed(store.blobs, file, expected)]
    if unnamed and not expected:
        msg = f"The catalogue in {store.folder} knows no image at all, but there are objects."
        raise StoreError(msg, "Make it again from them first: keshikaran rebuild")
    return [*unnamed, *(file for file in files if _is_temporary(file))]


def _is_unnamed(blobs: BlobStore, file: FileFacts, expected: set[Path]) -> bool:
    return is_object(blobs.root, file.path) and file.path not in expected


def _is_temporary(file: FileFacts) -> bool:
    return file.path.name.startswith(TEMPORARY_PREFIX)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
