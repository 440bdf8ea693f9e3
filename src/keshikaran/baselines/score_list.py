"""A list of scores as a rival: which stored images its lines are about."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keshikaran.baselines.rival import RivalCard
from keshikaran.baselines.score_file import ScoreFile, read_score_file
from keshikaran.errors import SourceError
from keshikaran.inert import printable
from keshikaran.store import RivalScore, Store
from keshikaran.types import ImageId


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
