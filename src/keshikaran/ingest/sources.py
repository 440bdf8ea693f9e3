"""What a source contains: a folder of class folders, or single files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from keshikaran.errors import SourceError, UsageError
from keshikaran.types import Label, Refusal

# Folder names that say by themselves which class they hold.
CLASS_NAMES: dict[str, Label] = {
    "0": 0,
    "acceptable": 0,
    "negative": 0,
    "1": 1,
    "objectionable": 1,
    "positive": 1,
}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a source.

    Attributes:
        name: what the source calls it; unique within the source.
        path: where to read it.
        label: what the source says about it; None if nothing.
        object_id: the SHA-1 that the content must have; None if not known.
    """

    name: str
    path: Path
    label: Label | None = None
    object_id: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Everything a source names.

    Attributes:
        root: the folder or file that names the entries; absolute.
        entries: in a fixed order.
        refusals: entries that cannot even be found.
        class_folders: names of first-level folders, for messages.
    """

    root: str
    entries: Sequence[Entry]
    refusals: Sequence[Refusal] = ()
    class_folders: Sequence[str] = ()


def scan_folder(root: Path, positives: Iterable[str] = ()) -> Source:
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
    files = sorted(files_below(root))
    folders = sorted({file.parts[0] for file in files if len(file.parts) > 1})
    labels = _labels_of(folders, tuple(positives))
    entries = [
        Entry(as_text(file), root / file, labels.get(file.parts[0]) if file.parts[1:] else None)
        for file in files
    ]
    return Source(as_text(root), entries, class_folders=folders)


def scan_files(paths: Sequence[Path], label: Label | None = None) -> Source:
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
        entries.append(Entry(as_text(full).lstrip("/"), full, label))
    return Source(str(Path(os.sep)), entries)


def files_below(root: Path) -> Iterator[Path]:
    """Files below `root`, relative to it; links to files are followed, links to folders not."""

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
            if not name.startswith(".") and not _is_workspace(Path(folder) / name)
        )
        for name in files:
            if not name.startswith(".") and name.lower() not in _SYSTEM_FILES:
                yield (Path(folder) / name).relative_to(root)


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
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def _is_workspace(folder: Path) -> bool:
    return is_file(folder / "catalogue.sqlite")


def _labels_of(folders: list[str], positives: tuple[str, ...]) -> dict[str, Label]:
    if not positives:
        return {name: CLASS_NAMES[name.lower()] for name in folders if name.lower() in CLASS_NAMES}
    return {name: 1 if name in positives else 0 for name in folders}
