"""Which images train, which choose settings, which judge.

The default rule looks at an image's hash alone, so that an image keeps its side as others are
added. The seed rule and a rule from a file reproduce splits that were made elsewhere.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from keshikaran.errors import SourceError, UsageError
from keshikaran.store import LabelledImage, Store
from keshikaran.types import SPLITS, ImageId, Label, Split

_VALIDATION_SHARE = 0.1
_TEST_SHARE = 0.1
_SEED_TEST_BELOW = 25
_SEED_VALIDATION_BELOW = 50
_FILE_HEADER = ["objectId", "value", "type"]

SchemeName = Literal["hash", "seed", "file"]


@dataclass(frozen=True, slots=True)
class SplitScheme:
    """How sides are chosen.

    Attributes:
        name: `hash`, `seed`, or `file`.
        salt: for `hash`: another salt, another split of the same images.
        balance: cut the larger class of validation and test to the smaller one's size; the
            surplus goes to train. `seed` always does.
        file: for `file`: a CSV with the header `objectId,value,type`.
    """

    name: SchemeName = "hash"
    salt: str = ""
    balance: bool = False
    file: str = ""

    def __post_init__(self) -> None:
        if self.name != "hash" and self.salt:
            msg = f"--salt changes nothing under --scheme {self.name}."
            raise UsageError(msg, "Leave it out, or use --scheme hash.")
        if self.name != "hash" and self.balance:
            msg = f"--balance changes nothing under --scheme {self.name}."
            raise UsageError(msg, "Leave it out, or use --scheme hash.")

    def to_json(self) -> str:
        """The settings as canonical JSON, for the store."""
        fields = {"name": self.name, "salt": self.salt, "balance": self.balance, "file": self.file}
        return json.dumps(fields, sort_keys=True)


@dataclass(frozen=True, slots=True)
class SplitReport:
    """How many images of each label are on each side.

    Attributes:
        counts: split → label as text → number.
        unassigned: labelled images without a side (a split file does not name them).
        unknown: lines of a split file that name no labelled image.
        disagreeing: lines of a split file whose value is not the image's label here.
    """

    counts: dict[Split, dict[str, int]]
    unassigned: int = 0
    unknown: int = 0
    disagreeing: int = 0


def hash_side(image_id: ImageId, salt: str = "") -> Split:
    """Side of one image by its hash alone: 80% train, 10% validation, 10% test."""
    digest = hashlib.sha256(f"{salt}:{image_id}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < _TEST_SHARE:
        return "test"
    if share < _TEST_SHARE + _VALIDATION_SHARE:
        return "validation"
    return "train"


def seed_side(object_id: str) -> Split:
    """Side by the last byte of the SHA-1: 0-24 test, 25-49 validation, the rest train."""
    last = int(object_id[38:40], 16)
    if last < _SEED_TEST_BELOW:
        return "test"
    return "validation" if last < _SEED_VALIDATION_BELOW else "train"


def balance_sides(images: Sequence[LabelledImage], sides: Sequence[Split]) -> list[Split]:
    """Cut the larger class in validation and in test, keeping the first ones in order.

    Args:
        images: in file order.
        sides: one for each image.

    Returns:
        New sides; what was cut is `train`.
    """
    sizes: Counter[tuple[Split, Label]] = Counter(
        (side, image.label) for image, side in zip(images, sides, strict=True)
    )
    room = {side: min(sizes[side, 0], sizes[side, 1]) for side in SPLITS}
    taken: Counter[tuple[Split, Label]] = Counter()
    result: list[Split] = []
    for image, side in zip(images, sides, strict=True):
        if side != "train" and taken[side, image.label] >= room[side]:
            result.append("train")
        else:
            taken[side, image.label] += 1
            result.append(side)
    return result


def split_images(store: Store, scheme: SplitScheme | None = None) -> SplitReport:
    """Give every labelled image its side and remember the scheme.

    Args:
        store: the open store.
        scheme: None repeats the scheme used before, or the default.

    Raises:
        SourceError: a split file cannot be read.
    """
    scheme = scheme or stored_scheme(store)
    images = store.labelled_images()
    if scheme.name == "file":
        pairs, report = _from_file(Path(scheme.file), images)
    else:
        if scheme.name == "seed":
            sides = balance_sides(images, [seed_side(image.object_id) for image in images])
        else:
            # By id, not by arrival: the same images give the same split, balanced or not.
            images = sorted(images, key=lambda image: image.image_id)
            sides = [hash_side(image.image_id, scheme.salt) for image in images]
            if scheme.balance:
                sides = balance_sides(images, sides)
        pairs = list(zip(images, sides, strict=True))
        report = SplitReport(_counts(pairs))
    store.assign_splits(((image.image_id, side) for image, side in pairs), scheme.to_json())
    return report


def stored_scheme(store: Store) -> SplitScheme:
    """The scheme used last in this workspace, or the default."""
    settings = store.split_scheme()
    if not settings:
        return SplitScheme()
    return SplitScheme(
        name=cast("SchemeName", settings["name"]),
        salt=str(settings["salt"]),
        balance=bool(settings["balance"]),
        file=str(settings["file"]),
    )


def scheme_from_option(text: str, *, salt: str = "", balance: bool = False) -> SplitScheme:
    """Read `hash`, `seed` or the name of a CSV file, as typed after `--scheme`.

    Raises:
        UsageError: something else, or an option that would have no effect.
    """
    if text == "hash":
        return SplitScheme("hash", salt, balance)
    if text == "seed":
        return SplitScheme("seed", salt, balance)
    if text.lower().endswith(".csv"):
        return SplitScheme("file", salt, balance, str(Path(text).resolve()))
    msg = f"--scheme {text} is unknown."
    raise UsageError(msg, "Use hash, seed, or the path of a CSV file: objectId,value,type")


def _from_file(
    path: Path, images: Sequence[LabelledImage]
) -> tuple[list[tuple[LabelledImage, Split]], SplitReport]:
    by_object = {image.object_id: image for image in images}
    by_image: dict[str, LabelledImage] = {image.image_id: image for image in images}
    chosen: dict[ImageId, tuple[LabelledImage, Split]] = {}
    unknown = disagreeing = 0
    for line, name, value, side in _file_rows(path):
        image = by_object.get(name) or by_image.get(name)
        if image is None:
            unknown += 1
            continue
        before = chosen.get(image.image_id)
        if before is not None and before[1] != side:
            msg = f"{path}, line {line}: {name} is both {before[1]} and {side}."
            raise SourceError(msg, "Keep one line for each image.")
        disagreeing += value != str(image.label)
        chosen[image.image_id] = (image, side)
    pairs = list(chosen.values())
    return pairs, SplitReport(_counts(pairs), len(images) - len(pairs), unknown, disagreeing)


def _file_rows(path: Path) -> list[tuple[int, str, str, Split]]:
    rows: list[tuple[int, str, str, Split]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            if header != _FILE_HEADER:
                msg = f"{path} starts with the header {','.join(header)[:80]!r}."
                raise SourceError(msg, "A split file starts with: objectId,value,type")
            for row in reader:
                if row:
                    rows.append((reader.line_num, *_parse(path, reader.line_num, row)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path} cannot be read as CSV: {error}."
        raise SourceError(msg, "Check the path, and save the file as UTF-8.") from error
    return rows


def _parse(path: Path, line: int, row: list[str]) -> tuple[str, str, Split]:
    if len(row) != len(_FILE_HEADER) or row[2] not in SPLITS or row[1] not in {"0", "1"}:
        msg = f"{path}, line {line}: {','.join(row)[:100]!r} makes no sense."
        raise SourceError(msg, "Write: objectId,0|1,train|validation|test")
    return row[0].split(".")[0], row[1], row[2]


def _counts(pairs: Sequence[tuple[LabelledImage, Split]]) -> dict[Split, dict[str, int]]:
    counts: dict[Split, dict[str, int]] = {side: {"0": 0, "1": 0} for side in SPLITS}
    for image, side in pairs:
        counts[side][str(image.label)] += 1
    return counts
