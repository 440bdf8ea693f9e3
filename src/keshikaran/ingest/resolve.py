"""Paths as a person types them → sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keshikaran.errors import UsageError
from keshikaran.ingest.entries import Source
from keshikaran.ingest.label_csv import scan_label_csv
from keshikaran.ingest.sources import (
    check_positives,
    is_folder,
    scan_files,
    scan_folder,
)
from keshikaran.types import Label


def resolve_sources(
    paths: Sequence[Path],
    *,
    positives: Sequence[str] = (),
    media_dir: Path | None = None,
    label: Label | None = None,
) -> list[Source]:
    """Tell folders, label files and single files apart, and list what they contain.

    Args:
        paths: folders, `.csv` label files, image files; in any mix.
        positives: names of objectionable class folders.
        media_dir: where the files of a label file lie.
        label: what to say about single files; None for nothing.

    Raises:
        SourceError: something cannot be read.
        UsageError: an option is missing, or would have no effect.
    """
    folders = [path for path in paths if is_folder(path)]
    tables = [path for path in paths if path not in folders and path.suffix.lower() == ".csv"]
    files = [path for path in paths if path not in folders and path not in tables]
    _check_options(folders, tables, files, positives, media_dir, label)
    sources: list[Source] = [scan_folder(folder, positives) for folder in folders]
    check_positives(sources, positives)
    if media_dir is not None:
        sources.extend(scan_label_csv(table, media_dir) for table in tables)
    if files:
        sources.append(scan_files(files, label))
    return sources


def _check_options(
    folders: list[Path],
    tables: list[Path],
    files: list[Path],
    positives: Sequence[str],
    media_dir: Path | None,
    label: Label | None,
) -> None:
    if positives and not folders:
        msg = "--positive changes nothing without a folder of class folders."
        raise UsageError(msg, "Name the folder that holds the class folders.")
    if tables and media_dir is None:
        msg = f"{tables[0]} names files; where are they?"
        raise UsageError(msg, "Add --media-dir FOLDER.")
    if media_dir is not None and not tables:
        msg = "--media-dir changes nothing without a label.csv."
        raise UsageError(msg, "Name the CSV file with the header objectId,value.")
    if label is not None and not files:
        msg = "--label changes nothing without single files."
        raise UsageError(msg, "In folders, class folders carry the labels: use --positive NAME.")
