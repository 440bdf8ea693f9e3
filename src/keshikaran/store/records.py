"""Rows of the catalogue as values."""

from __future__ import annotations

from dataclasses import dataclass

from keshikaran.pixels import ImageFormat
from keshikaran.types import ImageId, Label


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One stored image.

    Attributes:
        image_id: SHA-256 of the bytes.
        object_id: SHA-1 of the bytes.
        format: by magic number.
        bytes: size of the file.
        width: columns as stored.
        height: rows as stored.
    """

    image_id: ImageId
    object_id: str
    format: ImageFormat
    bytes: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One entry of a source and the image found there; `label` None if it carries none."""

    root: str
    entry: str
    image_id: ImageId
    label: Label | None
