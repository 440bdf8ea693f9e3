"""What the readers of headers share: their result, and the checks against the limits."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import ImageFormat, Limits

MAX_PROFILE_BYTES = 4 * 1024 * 1024
"""A colour profile beyond this counts as broken: it is not read, and the picture as sRGB.
Packed metadata that inflates beyond it is refused.
"""
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header says, before any pixel is decoded.

    Attributes:
        format: by magic number.
        width: columns as stored (before EXIF orientation).
        height: rows as stored.
        frames: pictures that a viewer shows one after the other, or pages.
    """

    format: ImageFormat
    width: int
    height: int
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Inspection:
    """A header, and what else the decoder needs to know.

    Attributes:
        header: format, size, number of frames.
        data: what the decoder gets: the file, or what matters of it.
        orientation: by EXIF, 1 to 8.
        profile: an ICC profile, unchecked.
        gamma: the file's encoding exponent (PNG), where it counts.
        key: the one grey or colour that is transparent (PNG), at the file's depth.
        depth: bits a sample (PNG).
    """

    header: ImageHeader
    data: bytes
    orientation: int = 1
    profile: bytes | None = None
    gamma: float | None = None
    key: tuple[int, ...] | None = None
    depth: int = 8


Inspector = Callable[[bytes, Limits], Inspection]


class MetadataBudget:
    """Counts the bytes of metadata.

    Args:
        limits: how many there may be.
    """

    def __init__(self, limits: Limits) -> None:
        self._limit = self._left = limits.max_metadata_bytes

    def spend(self, count: int) -> None:
        """Take note of `count` more bytes.

        Raises:
            ImageRefusedError: `too_much_metadata`.
        """
        self._left -= count
        if self._left < 0:
            detail = f"more metadata than {self._limit:,} bytes"
            raise ImageRefusedError("too_much_metadata", detail)

    def inflate(self, packed: bytes, *, keep: bool) -> bytes | None:
        """Inflate zlib data, counting what comes out.

        Args:
            packed: the data.
            keep: whether what comes out is wanted.

        Returns:
            What came out; None if it is damaged or not wanted.

        Raises:
            ImageRefusedError: `too_much_metadata`.
        """
        inflater = zlib.decompressobj()
        pieces, count = [], 0
        while not inflater.eof:
            try:
                piece = inflater.decompress(packed, _PIECE)
            except zlib.error:
                return None
            self.spend(len(piece))
            count += len(piece)
            if count > MAX_PROFILE_BYTES:
                detail = f"metadata that inflates to more than {MAX_PROFILE_BYTES:,} bytes"
                raise ImageRefusedError("too_much_metadata", detail)
            if keep:
                pieces.append(piece)
            packed = inflater.unconsumed_tail
            if not piece and not packed:
                break
        return b"".join(pieces) if keep and inflater.eof else None


def check_size(width: int, height: int, limits: Limits) -> None:
    """Refuse sizes beyond the limits.

    Raises:
        ImageRefusedError: `side_too_long`, `too_many_pixels`, or `corrupt` for an empty image.
    """
    if width < 1 or height < 1:
        detail = f"the header says {width}×{height} pixels"
        raise ImageRefusedError("corrupt", detail)
    if max(width, height) > limits.max_side:
        detail = f"{width}×{height}, the limit is {limits.max_side:,} pixels a side"
        raise ImageRefusedError("side_too_long", detail)
    if width * height > limits.max_pixels:
        detail = f"{width}×{height}, the limit is {limits.max_pixels:,} pixels"
        raise ImageRefusedError("too_many_pixels", detail)


def check_frames(frames: int, limits: Limits) -> None:
    """Refuse files of too many frames or pages.

    Raises:
        ImageRefusedError: `too_many_frames`.
    """
    if frames > limits.max_frames:
        detail = f"more frames than {limits.max_frames:,}"
        raise ImageRefusedError("too_many_frames", detail)


def check_work(pixels: int, limits: Limits) -> None:
    """Refuse files whose frames or scans are too much to decode in all.

    Raises:
        ImageRefusedError: `too_many_pixels`.
    """
    if pixels > limits.max_total_pixels:
        detail = f"{pixels:,} pixels in all, the limit is {limits.max_total_pixels:,}"
        raise ImageRefusedError("too_many_pixels", detail)


def corrupt(detail: str) -> ImageRefusedError:
    """The refusal for a header that contradicts itself."""
    return ImageRefusedError("corrupt", detail)


def truncated(what: str) -> ImageRefusedError:
    """The refusal for a file that ends within its own structure."""
    return ImageRefusedError("truncated", f"the file ends before its {what} does")
