"""What a person types → sources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keshikaran.errors import UsageError
from keshikaran.ingest.archives import scan_archive
from keshikaran.ingest.entries import Source
from keshikaran.ingest.label_csv import scan_label_csv
from keshikaran.ingest.remote import scan_remote
from keshikaran.ingest.shards import expand_shards, is_archive_name
from keshikaran.ingest.sources import check_positives, is_file, is_folder, scan_files, scan_folder
from keshikaran.types import Label

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")  # C:\\ is a drive: one letter


@dataclass(slots=True)
class _Named:
    """What was typed, told apart."""

    folders: list[Path] = field(default_factory=list)
    remotes: list[str] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


def resolve_sources(
    paths: Sequence[Path | str],
    *,
    positives: Sequence[str] = (),
    media_dir: Path | None = None,
    label: Label | None = None,
) -> list[Source]:
    """Tell folders, archives, label files, remote folders and files apart, and list them.

    Args:
        paths: folders, archives (`shard-{000..009}.tar` for many), remote folders (`s3://…`),
            `.csv` label files, image files; in any mix.
        positives: names of objectionable class folders.
        media_dir: where the files of a label file lie.
        label: what to say about single files; None for nothing.

    Raises:
        SourceError: something cannot be read.
        UsageError: an option is missing, or would have no effect.
        MissingExtraError: remote folders need a package that is not installed.
    """
    named = _tell_apart(paths)
    _check_options(named, positives, media_dir, label)
    sources: list[Source] = [scan_folder(folder, positives) for folder in named.folders]
    sources += [scan_remote(address, positives) for address in named.remotes]
    sources += [scan_archive(archive, positives) for archive in named.archives]
    check_positives(sources, positives)
    if media_dir is not None:
        sources += [scan_label_csv(table, media_dir) for table in named.tables]
    if named.files:
        sources.append(scan_files(named.files, label))
    return sources


def _tell_apart(paths: Sequence[Path | str]) -> _Named:
    named = _Named()
    for text in map(str, paths):
        if _ADDRESS.match(text) and not is_folder(Path(text)):
            _refuse_web(text)
            named.remotes.append(text)
            continue
        whole = Path(text)
        if is_folder(whole):
            named.folders.append(whole)
        elif whole.suffix.lower() == ".csv":
            named.tables.append(whole)
        elif is_archive_name(whole.name):
            named.archives += [Path(name) for name in _shards(whole)]
        else:
            named.files.append(whole)
    return named


def _shards(path: Path) -> list[str]:
    return [str(path)] if is_file(path) else expand_shards(str(path))


def _refuse_web(text: str) -> None:
    if text.lower().startswith(("http://", "https://")):
        msg = f"{text} is an address on the web."
        raise UsageError(msg, "Write it into a file, and run: keshikaran import-urls FILE")


def _check_options(
    named: _Named, positives: Sequence[str], media_dir: Path | None, label: Label | None
) -> None:
    if positives and not (named.folders or named.archives or named.remotes):
        msg = "--positive changes nothing without a folder of class folders."
        raise UsageError(msg, "Name the folder or archive that holds the class folders.")
    if named.tables and media_dir is None:
        msg = f"{named.tables[0]} names files; where are they?"
        raise UsageError(msg, "Add --media-dir FOLDER.")
    if media_dir is not None and not named.tables:
        msg = "--media-dir changes nothing without a label.csv."
        raise UsageError(msg, "Name the CSV file with the header objectId,value.")
    if label is not None and not named.files:
        msg = "--label changes nothing without single files."
        raise UsageError(msg, "In folders, class folders carry the labels: use --positive NAME.")
