"""Who decodes: an object that is made once, used from many threads, and closed."""

from __future__ import annotations

from typing import Protocol

from keshikaran.pixels.contract import DEFAULT_LIMITS, DecodedImage, Limits, PixelSpec
from keshikaran.pixels.decode import decode_image


class Decoder(Protocol):
    """Turns image files into views. `decode` may be called from several threads at once."""

    def decode(self, data: bytes, spec: PixelSpec) -> DecodedImage:
        """See `decode_image`.

        Raises:
            ImageRefusedError: with the reason why there are no pixels.
        """

    def close(self) -> None:
        """Give back what the decoder holds; it cannot decode afterwards."""


class InProcessDecoder:
    """Decodes in the calling thread: nothing stands between a decoder's bug and this process.

    Args:
        limits: what a file may ask for.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits

    def decode(self, data: bytes, spec: PixelSpec) -> DecodedImage:
        """See `Decoder.decode`."""
        return decode_image(data, spec, self.limits)

    def close(self) -> None:
        """Nothing to give back."""
