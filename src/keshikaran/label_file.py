"""A list of labels as a CSV file: written for a person to fill in, and read back.

Spreadsheets run cells that begin with certain characters as formulas (CWE-1236). Such a cell gets
an apostrophe in front, which spreadsheets take as "this is text"; reading takes it off again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from keshikaran.errors import SourceError
from keshikaran.types import ImageId

Correction = Literal["0", "1", "none", "keep"]
"""What a person wrote: a label, take back what a person said, or the label is right."""

COLUMNS = (
    "rank",
    "image_id",
    "path",
    "label",
    "score",
    "doubt",
    "reason",
    "neighbours",
    "correct",
    "why",
)
_NEEDED = ("image_id", "correct")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_TEXT = "'"
_BYTE_ORDER_MARK = "\ufeff"  # by which spreadsheets know UTF-8
_DELIMITERS = ",;\t"
_ADVICE = "Take a file that review-labels wrote, or one with the columns image_id and correct."


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row that a person has filled in.

    Attributes:
        line: where it ends in the file, counting from 1.
        image_id: whose label it is about, as it stands there.
        shown: the label that the row shows; None if the file has no such column.
        correct: what the person wrote.
        why: the person's reason; may be empty.
    """

    line: int
    image_id: ImageId
    shown: str | None
    correct: Correction
    why: str


def to_csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    """A file with `COLUMNS`; what a row lacks stays empty."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_as_text(row.get(name, "")) for name in COLUMNS])
    return (_BYTE_ORDER_MARK + out.getvalue()).encode("utf-8", "backslashreplace")


def read_corrections(path: Path) -> tuple[list[FileRow], list[str]]:
    """The rows whose `correct` is filled in.

    Columns are found by their names, in any order; commas, semicolons or tabs separate them.

    Returns:
        The rows, and a sentence for each that makes no sense.

    Raises:
        SourceError: the file cannot be read, or lacks a column.
    """
    rows: list[FileRow] = []
    wrong: list[str] = []
    for line, cells in _cells(path):
        correct = cells["correct"].strip().lower()
        if not correct:
            continue
        if correct not in get_args(Correction):
            wrong.append(f"line {line}: {correct[:40]!r} is not 0, 1, none or keep")
            continue
        image_id = ImageId(cells["image_id"].strip().lower())
        shown = cells["label"].strip() if "label" in cells else None
        why = cells.get("why", "")
        rows.append(FileRow(line, image_id, shown, cast("Correction", correct), why))
    return rows, wrong


def _cells(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and named cells of each row that has any."""
    text = _read(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in _NEEDED if header.count(name) != 1]
        if missing:
            msg = f"{path} has not exactly one column {missing[0]!r} in its first line."
            raise SourceError(msg, _ADVICE)
        for row in reader:
            if any(cell.strip() for cell in row):
                padded = [*row, *[""] * len(header)]
                named = zip(header, map(_as_written, padded), strict=False)
                yield reader.line_num, dict(named)
    except csv.Error as error:
        msg = f"{path}, line {reader.line_num}, cannot be read as CSV: {error}."
        raise SourceError(msg, "Save the file as CSV again.") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        msg = f"{path} cannot be read: {words}."
        raise SourceError(msg, "Check the path, and save the file as CSV in UTF-8.") from error


def _delimiter(text: str) -> str:
    """What separates the names of the columns: spreadsheets write what their language wants."""
    first = text.partition("\n")[0]
    return max(_DELIMITERS, key=first.count)


def _as_text(cell: str) -> str:
    return _TEXT + cell if cell.startswith((*_FORMULA, _TEXT)) else cell


def _as_written(cell: str) -> str:
    return cell[1:] if cell.startswith(_TEXT) else cell
