"""`label.csv` with a folder of files named by their SHA-1: lists of older collections."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from keshikaran.errors import SourceError
from keshikaran.ingest.entries import Entry, Listing, LocalFile
from keshikaran.ingest.sources import as_text, is_file, is_folder
from keshikaran.types import Label, Refusal

_HEADER = ["objectId", "value"]
_OBJECT_ID = re.compile(r"[0-9a-f]{40}(\.[A-Za-z0-9]{1,8})?")


def scan_label_csv(path: Path, media_dir: Path) -> Listing:
    """Read `objectId,value` lines and find each file.

    An `objectId` is the SHA-1 of the content in hex plus an extension; the file may lie at
    `ab/cd/<objectId>`, at `object/ab/cd/<objectId>` or flat in `media_dir`. An id that is
    listed twice is kept as two claims, so that two values become a contradiction.

    Raises:
        SourceError: the file cannot be read, has another header, or a line makes no sense.
    """
    if not is_folder(media_dir):
        msg = f"--media-dir {media_dir} is no folder."
        raise SourceError(msg, "Name the folder that holds the listed files.")
    entries: list[Entry] = []
    refusals: list[Refusal] = []
    seen: set[str] = set()
    for line, object_id, label in _rows(path):
        name = object_id if object_id not in seen else f"{object_id} (line {line})"
        seen.add(object_id)
        file = _find(media_dir, object_id)
        if file is None:
            detail = f"line {line}: no such file in {as_text(media_dir)}"
            refusals.append(Refusal(name, "import", "missing_file", detail))
        else:
            entries.append(Entry(name, LocalFile(str(file.resolve())), label, object_id[:40]))
    return Listing(as_text(path.resolve()), entries, refusals)


def _rows(path: Path) -> Iterator[tuple[int, str, Label]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            if header != _HEADER:
                found = ",".join(header)[:80] or "nothing"
                msg = f"{path} starts with the header {found!r}."
                raise SourceError(msg, "A label file starts with: objectId,value")
            for row in reader:
                if row:
                    yield (reader.line_num, *_parse(path, reader.line_num, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path} cannot be read as CSV: {error}."
        raise SourceError(msg, "Check the path, and save the file as UTF-8.") from error


def _parse(path: Path, line: int, row: list[str]) -> tuple[str, Label]:
    where = f"{path}, line {line}"
    if len(row) != len(_HEADER):
        msg = f"{where}: {len(row)} columns instead of 2."
        raise SourceError(msg, "Write: objectId,value")
    object_id, value = row[0].strip(), row[1].strip()
    if not _OBJECT_ID.fullmatch(object_id):
        msg = f"{where}: {object_id[:80]!r} is no object id."
        raise SourceError(msg, "An object id is 40 hex digits (SHA-1) and an extension.")
    if value not in {"0", "1"}:
        msg = f"{where}: the value is {value[:20]!r}."
        raise SourceError(msg, "Values are 0 (acceptable) and 1 (objectionable).")
    return object_id, cast("Label", int(value))


def _find(media_dir: Path, object_id: str) -> Path | None:
    nested = Path(object_id[:2]) / object_id[2:4] / object_id
    for candidate in (nested, Path("object") / nested, Path(object_id)):
        if is_file(media_dir / candidate):
            return media_dir / candidate
    return None
