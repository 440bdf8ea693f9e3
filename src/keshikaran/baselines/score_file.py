"""A CSV of scores that were made elsewhere: by any model, by a service, by hand.

One column says which image, `path`, `image_id` or `object_id`; one the `score`: a number, larger
means more objectionable, or nothing where there is none. Other columns are passed over.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keshikaran.baselines.rival import RivalCard
from keshikaran.comparison import Scale
from keshikaran.errors import SourceError
from keshikaran.inert import printable
from keshikaran.store import RivalScore, Store
from keshikaran.types import ImageId

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


@dataclass(frozen=True, slots=True)
class Matched:
    """Which images the lines of a file are about.

    Attributes:
        scores: of each stored image that is named; None where its cell is empty.
        unknown: lines that name no stored image.
        ambiguous: lines whose path fits several images.
    """

    scores: Mapping[ImageId, float | None]
    unknown: int
    ambiguous: int


class ScoreFileRival:
    """A list of scores as a rival.

    Args:
        path: the CSV file.
        store: the images that it may name.

    Raises:
        SourceError: the file cannot be read, makes no sense, or scores an image twice.
    """

    def __init__(self, path: Path, store: Store) -> None:
        read = read_score_file(path)
        self._path = path
        self._rows = len(read.rows)
        self._matched = match_scores(path, read, store)
        self._asked = self._named = 0
        self.card = RivalCard(
            printable(path.name), "", "unknown", read.scale, "a score from a file", cached=False
        )

    def score(self, image_ids: Sequence[ImageId]) -> Generator[RivalScore, None, None]:
        """See `Rival.score`."""
        scores = self._matched.scores
        for image_id in image_ids:
            self._asked += 1
            self._named += image_id in scores
            score = scores.get(image_id)
            reason = "no score in its line" if image_id in scores else "no line names it"
            yield RivalScore(image_id, score, None if score is not None else reason)

    def notes(self) -> tuple[str, ...]:
        """See `Rival.notes`."""
        found = self._matched
        words = (
            f"{self._rows:,} lines in {printable(self._path.name)}; they name {self._named:,} of"
            f" {self._asked:,} validation and test images"
        )
        if found.unknown:
            words += f"; {found.unknown:,} name no image of this workspace"
        if found.ambiguous:
            words += f"; {found.ambiguous:,} fit several images and count for none"
        return (f"{words}.",)

    def close(self) -> None:
        """Nothing to give back."""


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


def match_scores(path: Path, file: ScoreFile, store: Store) -> Matched:
    """Find the image that each line is about.

    A path may be what the store knows, or its end: `dress/0001.jpg` is enough where no other
    image was met at a path that ends so.

    Raises:
        SourceError: two lines give one image different scores.
    """
    found = _images_by_name(file, store)
    scores: dict[ImageId, float | None] = {}
    unknown = ambiguous = 0
    for row in file.rows:
        images = found.get(_cleaned(file.key, row.name), set())
        unknown += not images
        ambiguous += len(images) > 1
        if len(images) != 1:
            continue
        (image_id,) = images
        if image_id in scores and scores[image_id] != row.score:
            msg = f"{path}, line {row.line}: {row.name!r} is an image that has another score above."
            raise SourceError(msg, "Keep one line for each image.")
        scores[image_id] = row.score
    return Matched(scores, unknown, ambiguous)


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


def _cleaned(key: str, name: str) -> str:
    """A name as it is looked up."""
    if key == "path":
        return "/".join(_parts(name))
    name = name.strip().lower()
    return name.partition(".")[0] if key == "object_id" else name


def _parts(name: str) -> list[str]:
    return [part for part in name.strip().replace("\\", "/").split("/") if part not in {"", "."}]


def _images_by_name(file: ScoreFile, store: Store) -> Mapping[str, set[ImageId]]:
    """Stored images by whatever the file calls them by."""
    image_ids = store.image_ids()
    if file.key == "image_id":
        return {image_id: {image_id} for image_id in image_ids}
    if file.key == "object_id":
        return {name: {image_id} for image_id, name in store.object_ids(image_ids).items()}
    lengths = {len(_parts(row.name)) for row in file.rows}
    found: dict[str, set[ImageId]] = {}
    for image_id, places in store.places_of(image_ids).items():
        for place in places:
            parts = _parts(place)
            for length in lengths:
                if 0 < length <= len(parts):
                    found.setdefault("/".join(parts[-length:]), set()).add(image_id)
    return found
