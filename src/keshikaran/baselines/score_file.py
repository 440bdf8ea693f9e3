"""A CSV of scores that were made elsewhere: by any model, by a service, by hand.

One column says which image, `path`, `image_id` or `object_id`; one the `score`: a number, larger
means more objectionable, or nothing where there is none. Other columns are passed over.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keshikaran.comparison import Scale
from keshikaran.errors import SourceError

KEYS = ("path", "image_id", "object_id")
_SCORE = "score"
_DELIMITERS = ",;\t"
_TEXT = "'"  # in front of what a spreadsheet would take for a formula
_ADVICE = "A list of scores starts with: path,score (or image_id,score or object_id,score)"


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One line.

    Attributes:
        line: where it ends in the file, counting from 1.
        name: which image, as it stands there.
        score: None where the cell is empty.
    """

    line: int
    name: str
    score: float | None


@dataclass(frozen=True, slots=True)
class ScoreFile:
    """A list of scores as it stands in the file.

    Attributes:
        key: which of `KEYS` names the images.
        rows: its lines.
    """

    key: str
    rows: tuple[ScoreRow, ...]

    @property
    def scale(self) -> Scale:
        """Probabilities if no score is outside [0, 1]."""
        scores = [row.score for row in self.rows if row.score is not None]
        return "probability" if all(0.0 <= score <= 1.0 for score in scores) else "number"


def read_score_file(path: Path) -> ScoreFile:
    """Read the lines; columns are found by their names, in any order.

    Raises:
        SourceError: the file cannot be read, lacks a column, or a score is no finite number.
    """
    text = _read(path)
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=first.count))
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        key, columns = _columns(path, header)
        rows = tuple(
            _row(path, reader.line_num, cells, columns)
            for cells in reader
            if any(cell.strip() for cell in cells)
        )
    except csv.Error as error:
        msg = f"{path}, line {reader.line_num}, cannot be read as CSV: {error}."
        raise SourceError(msg, "Save the file as CSV again.") from error
    if not any(row.score is not None for row in rows):
        msg = f"{path} has no score in it."
        raise SourceError(msg, _ADVICE)
    return ScoreFile(key, rows)


def _columns(path: Path, header: Sequence[str]) -> tuple[str, tuple[int, int]]:
    """Which column names the images, and the numbers of it and of the score's."""
    keys = [name for name in header if name in KEYS]
    if header.count(_SCORE) != 1 or len(keys) != 1:
        msg = (
            f"{path} starts with the header {','.join(header)[:80]!r}: it needs one column `score`"
            f" and one of {', '.join(KEYS)}."
        )
        raise SourceError(msg, _ADVICE)
    return keys[0], (header.index(keys[0]), header.index(_SCORE))


def _row(path: Path, line: int, cells: Sequence[str], columns: tuple[int, int]) -> ScoreRow:
    if len(cells) <= max(columns):
        msg = f"{path}, line {line}: {','.join(cells)[:100]!r} has too few cells."
        raise SourceError(msg, "Write a cell for each column, if only an empty one.")
    name, written = (cells[column] for column in columns)
    name = name[1:] if name.startswith(_TEXT) else name
    written = written.strip()
    if not name.strip():
        msg = f"{path}, line {line}: it names no image."
        raise SourceError(msg, "Say in every line which image it is about.")
    try:
        score = float(written) if written else None
    except ValueError:
        score = math.nan
    if score is not None and not math.isfinite(score):
        msg = f"{path}, line {line}: {written[:40]!r} is no score."
        raise SourceError(msg, "Write a number with a point, or nothing where there is no score.")
    return ScoreRow(line, name, score)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        msg = f"{path} cannot be read: {words}."
        raise SourceError(msg, "Check the path, and save the file as CSV in UTF-8.") from error
