"""Pixels in a file's own shape, for networks that do their own resizing."""

from __future__ import annotations

from keshikaran.pixels.contract import DEFAULT_LIMITS, DecodedImage, Limits, PixelSpec
from keshikaran.pixels.decoder import Decoder
from keshikaran.pixels.header import inspect

_TRANSPOSED = {5, 6, 7, 8}


class OwnSizeDecoder:
    """Gives pictures as they are, or shrunk in proportion until they fit into what is asked for.

    What a spec says of the resize mode has no say here. The shape is read from the header; a TIFF
    or AVIF file that is to be turned gets the shape that it has before it is turned.

    Args:
        decoder: does the work; closed by whoever opened it.
        limits: what a file may ask for.
    """

    def __init__(self, decoder: Decoder, limits: Limits = DEFAULT_LIMITS) -> None:
        self._decoder = decoder
        self._limits = limits

    def decode(self, data: bytes, spec: PixelSpec) -> DecodedImage:
        """Views of at most spec.height × spec.width; see `Decoder.decode`.

        Raises:
            ImageRefusedError: with the reason why there are no pixels.
        """
        found = inspect(data, self._limits)
        height, width = found.header.height, found.header.width
        if found.orientation in _TRANSPOSED:
            height, width = width, height
        scale = min(1.0, spec.height / height, spec.width / width)
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        return self._decoder.decode(data, PixelSpec(*shape, "stretch"))

    def close(self) -> None:
        """Nothing of its own to give back."""
