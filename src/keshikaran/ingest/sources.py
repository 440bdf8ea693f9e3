"""What lies on this machine: a folder of class folders, or single files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from keshikaran.errors import SourceError, UsageError
from keshikaran.ingest.entries import Entry, Listing, LocalFile, Source
from keshikaran.types import Label

# Folder names that say by themselves which class they hold.
CLASS_NAMES: dict[str, Label] = {
    "0": 0,
    "acceptable": 0,
    "negative": 0,
    "1": 1,
    "objectionable": 1,
    "positive": 1,
}
_SEPARATOR = os.sep  # paths here are plain text: there may be millions of them
_SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "__macosx"}


def scan_folder(root: Path, positives: Iterable[str] = ()) -> Listing:
    """List a folder with a sub-folder per class, or a plain folder of unlabelled images.

    Files whose names start with a dot, Windows' own index files and a workspace inside the
    folder are not listed.

    Args:
        root: the folder.
        positives: names of first-level folders whose images are objectionable; those in all
            other folders are acceptable. Without any, folders named as in `CLASS_NAMES` carry
            labels and others none.

    Raises:
        SourceError: the folder is missing or cannot be read.
    """
    root = root.resolve()
    files = [file.split(_SEPARATOR) for file in _names_below(root)]
    files.sort()
    folders = sorted({parts[0] for parts in files if len(parts) > 1})
    labels = labels_of(folders, tuple(positives))
    prefix = str(root).rstrip(_SEPARATOR) + _SEPARATOR
    entries = [
        Entry(
            _escaped("/".join(parts)),
            LocalFile(prefix + _SEPARATOR.join(parts)),
            labels.get(parts[0]) if parts[1:] else None,
        )
        for parts in files
    ]
    return Listing(as_text(root), entries, class_folders=folders)


def scan_files(paths: Sequence[Path], label: Label | None = None) -> Listing:
    """List single files, all with one label or none.

    Raises:
        SourceError: a path is missing.
    """
    entries = []
    for path in paths:
        if not is_file(path):
            msg = f"{path} is no file."
            raise SourceError(msg, "Check the path.")
        full = path.resolve()
        entries.append(Entry(as_text(full).lstrip("/"), LocalFile(str(full)), label))
    return Listing(str(Path(os.sep)), entries)


def files_below(root: Path) -> Iterator[Path]:
    """Files below `root`, relative to it; links to files are followed, links to folders not."""
    return map(Path, _names_below(root))


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of that name is the system's, not a person's."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _names_below(root: Path) -> Iterator[str]:
    def fail(error: OSError) -> None:
        msg = f"The folder {error.filename} cannot be read: {error.strerror}."
        raise SourceError(msg, "Check the path and its permissions.") from error

    if not is_folder(root):
        what = "is no folder" if is_file(root) else "does not exist"
        msg = f"{root} {what}."
        raise SourceError(msg, "Check the path.")
    for folder, folders, files in os.walk(root, onerror=fail):
        folders[:] = sorted(
            name
            for name in folders
            if not is_passed_over(name) and not _is_workspace(Path(folder) / name)
        )
        below = os.path.relpath(folder, root)
        prefix = "" if below == os.curdir else below + _SEPARATOR
        for name in files:
            if not is_passed_over(name):
                yield prefix + name


def check_positives(sources: Sequence[Source], positives: Sequence[str]) -> None:
    """Refuse a `--positive NAME` that no source has a folder for.

    Raises:
        UsageError: names the folders there are.
    """
    folders = sorted({name for source in sources for name in source.class_folders})
    for name in positives:
        if name not in folders:
            msg = f"--positive {name}: no source has a folder of that name with files in it."
            raise UsageError(msg, f"Folders there: {', '.join(folders) or 'none'}.")


def is_file(path: Path) -> bool:
    """Whether there is a file; False also where one may not look or the name is impossible."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False also where one may not look."""
    try:
        return path.is_dir()
    except OSError:
        return False


def as_text(path: Path) -> str:
    """A path with forward slashes; bytes that are no UTF-8, which no database takes, escaped."""
    return _escaped(path.as_posix())


def _escaped(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _is_workspace(folder: Path) -> bool:
    return is_file(folder / "catalogue.sqlite")


def labels_of(names: Iterable[str], positives: Sequence[str]) -> dict[str, Label]:
    """Which label each class has; a class that says nothing is left out.

    With `positives` those are objectionable and all others acceptable; without, names as in
    `CLASS_NAMES` speak for themselves.
    """
    if not positives:
        return {name: CLASS_NAMES[name.lower()] for name in names if name.lower() in CLASS_NAMES}
    return {name: 1 if name in positives else 0 for name in names}
