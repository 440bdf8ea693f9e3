"""Sides as a file states them: a CSV with the header `objectId,value,type`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keshikaran.errors import SourceError
from keshikaran.store import LabelledImage
from keshikaran.types import SPLITS, ImageId, Split

_FILE_HEADER = ["objectId", "value", "type"]


@dataclass(frozen=True, slots=True)
class StatedSides:
    """What a split file says of the labelled images here.

    Attributes:
        sides: side of each image that it names.
        unknown: lines that name no labelled image.
        disagreeing: lines whose value is not the image's label here.
    """

    sides: Mapping[ImageId, Split]
    unknown: int
    disagreeing: int


def read_split_file(path: Path, images: Sequence[LabelledImage]) -> StatedSides:
    """Read the sides of `images` from a file; it may call them by object id or image id.

    Raises:
        SourceError: the file cannot be read, makes no sense, or puts an image on two sides.
    """
    by_object = {image.object_id: image for image in images}
    by_image: dict[str, LabelledImage] = {image.image_id: image for image in images}
    chosen: dict[ImageId, Split] = {}
    unknown = disagreeing = 0
    for line, name, value, side in _file_rows(path):
        image = by_object.get(name) or by_image.get(name)
        if image is None:
            unknown += 1
            continue
        before = chosen.get(image.image_id)
        if before is not None and before != side:
            msg = f"{path}, line {line}: {name} is both {before} and {side}."
            raise SourceError(msg, "Keep one line for each image.")
        disagreeing += value != str(image.label)
        chosen[image.image_id] = side
    return StatedSides(chosen, unknown, disagreeing)


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
