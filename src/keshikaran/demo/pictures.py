"""Makes the labelled pictures that `keshikaran demo` trains on: no download, the same every time.

The policy is harmless: advertising pasted on a picture is objectionable, a plain picture is fine.
Both classes have the same backgrounds, so only what was pasted on tells them apart.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from keshikaran.demo.backgrounds import as_taken, background, kind_of, wash
from keshikaran.demo.lookalikes import distract
from keshikaran.demo.overlays import advertise
from keshikaran.demo.paint import Rng, Size
from keshikaran.errors import UsageError

Label = Literal["plain", "advert"]

BROKEN_NAME = "broken-half.jpg"
TEXT_NAME = "not-a-picture.jpg"

_SUFFIXES = (*["jpg"] * 7, "png", "jpg", "jpg", "webp")
_FRESH_SUFFIXES = ("jpg", "png", "jpg", "webp", "jpg")
_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
_ORIENTATION_TAG = 0x0112
# An EXIF orientation, and the turn that makes stored pixels out of upright ones.
_STORED_AS = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
_ORIENTED: dict[tuple[Label, int], int] = {("plain", 3): 6, ("advert", 5): 8, ("plain", 13): 3}
_LABELS: tuple[Label, Label] = ("plain", "advert")
_SMALLEST, _LARGEST = 240, 640
_SHAPES = (4 / 3, 3 / 2, 16 / 9, 1.0, 5 / 4)
# Parts of the seed, so that the fresh pictures repeat none of the labelled ones.
_LABELLED, _FRESH, _BROKEN = 0, 1, 2


@dataclass(frozen=True)
class DemoPictures:
    """What was written.

    Attributes:
        folder: The folder that holds `labelled` and `fresh`.
        plain: How many good pictures are in `labelled/plain`; the two broken files not counted.
        advert: How many pictures are in `labelled/advert`.
        fresh: The pictures for trying the trained model, in the order they were made.
    """

    folder: Path
    plain: int
    advert: int
    fresh: tuple[Path, ...]


@dataclass(frozen=True)
class Recipe:
    """Everything but the seed that decides how one picture comes out.

    Attributes:
        label: The class.
        index: The picture's number within its class, from 0.
        part: Which part of the data set it belongs to.
    """

    label: Label
    index: int
    part: int = _LABELLED

    @property
    def kind(self) -> str:
        """The kind of background; it goes by the number, so both classes have the same ones."""
        return kind_of(self.index)

    @property
    def suffix(self) -> str:
        """The ending of the file name."""
        cycle = _FRESH_SUFFIXES if self.part == _FRESH else _SUFFIXES
        return cycle[self.index % len(cycle)]

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1 where the pixels are stored upright."""
        return _ORIENTED.get((self.label, self.index), 1) if self.part == _LABELLED else 1

    def generator(self, seed: int) -> Rng:
        """Starts this picture's own random numbers, whatever else is made before it."""
        return np.random.default_rng([seed, self.part, _LABELS.index(self.label), self.index])


def make_pictures(
    folder: Path, *, count: int = 480, fresh: int = 6, seed: int = 20
) -> DemoPictures:
    """Writes the demonstration's pictures.

    Files of the same names are overwritten, and nothing else in the folder is touched. The names
    depend on the counts alone, so that another seed replaces the pictures of an earlier one.

    Args:
        folder: Where to write; made if it is not there.
        count: How many labelled pictures, half of them of each class.
        fresh: How many pictures to put aside for trying the trained model.
        seed: The same seed gives the same pictures.

    Returns:
        What was written.

    Raises:
        UsageError: A count is negative.
        MissingExtraError: scikit-learn, whose photographs are needed, is not installed.
    """
    if count < 0 or fresh < 0:
        what = f"The counts of pictures must not be negative, got {count} and {fresh}."
        raise UsageError(what)
    halves: dict[Label, int] = {"plain": (count + 1) // 2, "advert": count // 2}
    for label, number in halves.items():
        home = folder / "labelled" / label
        home.mkdir(parents=True, exist_ok=True)
        for index in range(number):
            recipe = Recipe(label, index)
            name = f"{label}-{index + 1:04d}.{recipe.suffix}"
            (home / name).write_bytes(encoded(recipe, seed))
    _write_broken(folder / "labelled" / "plain", seed)
    return DemoPictures(
        folder, halves["plain"], halves["advert"], _write_fresh(folder / "fresh", fresh, seed)
    )


def _write_fresh(home: Path, number: int, seed: int) -> tuple[Path, ...]:
    home.mkdir(parents=True, exist_ok=True)
    written = []
    for index in range(number):
        recipe = Recipe(_LABELS[index % 2], index, _FRESH)
        path = home / f"{recipe.label}-{index + 1}.{recipe.suffix}"
        path.write_bytes(encoded(recipe, seed))
        written.append(path)
    return tuple(written)


def _write_broken(home: Path, seed: int) -> None:
    """Writes what real uploads have too: half a picture, and a text that is called a picture."""
    whole = encoded(Recipe("plain", 0, _BROKEN), seed)
    (home / BROKEN_NAME).write_bytes(whole[: len(whole) // 2])
    text = "This file is a line of text, whatever its name says.\n"
    (home / TEXT_NAME).write_text(text, encoding="utf-8", newline="\n")


def encoded(recipe: Recipe, seed: int) -> bytes:
    """Paints one picture and returns the bytes of its file."""
    rng = recipe.generator(seed)
    picture = painted(rng, recipe)
    target = io.BytesIO()
    quality = int(rng.integers(70, 93))
    if recipe.orientation != 1:
        tags = Image.Exif()
        tags[_ORIENTATION_TAG] = recipe.orientation
        stored = picture.transpose(_STORED_AS[recipe.orientation])
        stored.save(target, "JPEG", quality=quality, exif=tags)
    else:
        options = {"jpg": {"quality": quality}, "png": {"compress_level": 1}}
        fast = {"quality": quality, "method": 1}
        picture.save(target, _FORMATS[recipe.suffix], **options.get(recipe.suffix, fast))
    return target.getvalue()


def painted(rng: Rng, recipe: Recipe) -> Image.Image:
    """Paints one picture, upright."""
    picture = background(rng, recipe.kind, _size(rng))
    if rng.random() < 0.25:
        picture = wash(rng, picture)
    advert = recipe.label == "advert"
    # A few adverts have lookalikes as well, or they would be a sign of a plain picture.
    distract(rng, picture, chance=0.35 if advert else 0.65)
    if advert:
        advertise(rng, picture)
    return as_taken(rng, picture)


def _size(rng: Rng) -> Size:
    long = round(320 + (_LARGEST - 320) * rng.random() ** 1.5)
    short = max(_SMALLEST, round(long / _SHAPES[int(rng.integers(len(_SHAPES)))]))
    return (long, short) if rng.random() < 0.6 else (short, long)
