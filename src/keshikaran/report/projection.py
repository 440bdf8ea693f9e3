"""Test images in space for TensorBoard's projector: its files, which no event file knows of.

tensorboardX writes the same ones, but slowly: numbers one by one, and a sprite with what
memory happened to hold where no tile is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keshikaran.inert import printable
from keshikaran.pixels import encode_png
from keshikaran.principal import principal_directions
from keshikaran.report.content import ReportContent
from keshikaran.types import Float32Array, UInt8Array

_CLASSES = ("acceptable", "objectionable")
_DIRECTIONS = 50
_MOST = 2_000  # as the sprite of 40 × 40 tiles must stay below 8,192 pixels, and quick
_PART = "00000/test"
_HEADER = ("id", "label", "score", "place")


def write_projection(folder: Path, content: ReportContent, features: Float32Array) -> None:
    """Write test images as far as 50 directions tell them apart: the projector shows three.

    Args:
        folder: the run's, there already.
        content: what to show.
        features: of the test images in the order of `evaluation.test_set`, float32 [n, D].

    Raises:
        OSError: the folder cannot be written.
    """
    test, pictures = content.evaluation.test_set, content.pictures
    rows = np.arange(len(test.image_ids))
    if len(rows) > _MOST:
        rows = np.linspace(0, len(rows) - 1, _MOST).astype(np.int64)
    ids = [test.image_ids[row] for row in rows]
    described = [
        (image_id[:16], _CLASSES[test.y_true[row]], f"{test.y_score[row]:.4f}",
         printable(pictures[image_id].place if image_id in pictures else image_id))
        for row, image_id in zip(rows.tolist(), ids, strict=True)
    ]  # fmt: skip
    shown = features[rows]
    projected, _, _ = principal_directions(shown - shown.mean(axis=0), _DIRECTIONS)
    points = [[f"{value:.7g}" for value in row] for row in projected.tolist()]
    (folder / _PART).mkdir(parents=True, exist_ok=True)
    _write_table(folder / _PART / "tensors.tsv", points)
    _write_table(folder / _PART / "metadata.tsv", [_HEADER, *described])
    tiles = [pictures[image_id].tile if image_id in pictures else None for image_id in ids]
    side = next((len(tile) for tile in tiles if tile is not None), None)
    if side is not None:
        _write_sprite(folder / _PART / "sprite.png", tiles, side)
    config = folder / "projector_config.pbtxt"
    config.write_text(_config(side), encoding="utf-8")


def _write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def _config(side: int | None) -> str:
    """What the projector reads first; `side` is that of a tile, None without pictures."""
    sprite = (
        f'  sprite {{ image_path: "{_PART}/sprite.png"'
        f" single_image_dim: {side} single_image_dim: {side} }}\n"
    )
    return (
        'embeddings {\n  tensor_name: "test:00000"\n'
        f'  tensor_path: "{_PART}/tensors.tsv"\n  metadata_path: "{_PART}/metadata.tsv"\n'
        f"{sprite if side is not None else ''}}}\n"
    )


def _write_sprite(path: Path, tiles: list[UInt8Array | None], side: int) -> None:
    """Tiles row by row in a square of gray."""
    across = math.ceil(math.sqrt(len(tiles)))
    sheet = np.full((across**2, side, side, 3), 128, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        if tile is not None:
            sheet[number] = tile
    rows = sheet.reshape(across, across, side, side, 3).swapaxes(1, 2)
    path.write_bytes(encode_png(rows.reshape(across * side, across * side, 3)))
