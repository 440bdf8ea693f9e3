"""What a file's header says about it, and whether that is within the limits."""

from __future__ import annotations

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import Limits
from keshikaran.pixels.headers import INSPECTORS, ImageHeader, Inspection
from keshikaran.pixels.sniff import sniff_format


def read_header(data: bytes, limits: Limits) -> ImageHeader:
    """Read format, size and number of frames of an image file; hold them against the limits.

    Args:
        data: the whole file.
        limits: what is allowed.

    Raises:
        ImageRefusedError: not an image we decode, header damaged, or a limit exceeded.
    """
    return inspect(data, limits).header


def inspect(data: bytes, limits: Limits) -> Inspection:
    """The same, with what else the decoder needs to know.

    Raises:
        ImageRefusedError: see `read_header`.
    """
    if len(data) > limits.max_bytes:
        detail = f"the file has {len(data):,} bytes, the limit is {limits.max_bytes:,}"
        raise ImageRefusedError("too_many_bytes", detail)
    return INSPECTORS[sniff_format(data, limits.formats)](data, limits)
