"""An image file → a small picture for people to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import simplejpeg

from keshikaran.pixels.contract import PixelSpec
from keshikaran.pixels.decoder import Decoder
from keshikaran.pixels.resize import BAR_GREY
from keshikaran.types import UInt8Array

THUMBNAIL_SIDE = 160
TILE_SIDE = 40
_QUALITY = 60


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture.

    Attributes:
        file: a JPEG file.
        width: in pixels.
        height: in pixels.
        tile: the same still smaller and with bars, uint8 [40, 40, 3].
    """

    file: bytes
    width: int
    height: int
    tile: UInt8Array


def make_small(decoder: Decoder, data: bytes) -> Thumbnail:
    """As `make_thumbnail`, with what else can be had of the same pixels."""
    view = decoder.decode(data, PixelSpec(THUMBNAIL_SIDE, THUMBNAIL_SIDE, "pad")).views[0]
    drawn = without_bars(view)
    step = THUMBNAIL_SIDE // TILE_SIDE
    blocks = view.reshape(TILE_SIDE, step, TILE_SIDE, step, 3)
    tile = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    return Thumbnail(_as_jpeg(drawn), drawn.shape[1], drawn.shape[0], tile)


def make_thumbnail(decoder: Decoder, data: bytes, side: int = THUMBNAIL_SIDE) -> bytes:
    """All of the first view in small, in the picture's own shape, as a JPEG file.

    Nothing but the pixels comes along: no metadata of the file, no colour profile.

    Args:
        decoder: reads the file; a damaged one cannot harm who asks.
        data: the whole image file.
        side: the longer side in pixels.

    Raises:
        ImageRefusedError: with the reason why there is no picture.
    """
    view = decoder.decode(data, PixelSpec(side, side, "pad")).views[0]
    return _as_jpeg(without_bars(view))


def without_bars(view: UInt8Array) -> UInt8Array:
    """Cut the bars of a padded view; a picture that is all of their grey stays as it is.

    Args:
        view: uint8 [H, W, 3].
    """
    drawn = (view != np.array(BAR_GREY, dtype=np.uint8)).any(axis=2)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    if not len(rows):
        return view
    kept = view[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.ascontiguousarray(kept)


def _as_jpeg(drawn: UInt8Array) -> bytes:
    file: bytes = simplejpeg.encode_jpeg(
        drawn, quality=_QUALITY, colorspace="RGB", colorsubsampling="420"
    )
    return file
