"""Formats that are off by default are decoded by children as well as here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 - lets Pillow write it
import pytest

from keshikaran.errors import IsolationError
from keshikaran.pixels import DEFAULT_LIMITS, Limits, PixelSpec, decode_image
from keshikaran.pixels.contract import EXTRA_FORMATS
from keshikaran.pixels.isolated import IsolatedDecoder
from support import encode, reddish

pillow_heif.register_heif_opener()
_SPEC = PixelSpec(32, 48, "crop")
_LIMITS = Limits(formats=DEFAULT_LIMITS.formats | EXTRA_FORMATS)


@pytest.fixture(scope="module", params=["forked", "piped"])
def decoder(request: pytest.FixtureRequest) -> Iterator[IsolatedDecoder]:
    with IsolatedDecoder(_LIMITS, workers=1, forked=request.param == "forked") as opened:
        yield opened


@pytest.mark.parametrize("name", ["AVIF", "HEIF", "JXL", "PNG"])
def test_pixels_are_those_of_this_process(decoder: IsolatedDecoder, name: str) -> None:
    data = encode(reddish(1).resize((640, 480)), name)
    here, there = decode_image(data, _SPEC, _LIMITS), decoder.decode(data, _SPEC)
    assert np.array_equal(here.views, there.views)


def test_a_missing_package_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pillow_heif.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(str(tmp_path))
    with (
        IsolatedDecoder(_LIMITS) as decoder,
        pytest.raises(IsolationError, match=r"Reading HEIC images needs packages"),
    ):
        decoder.decode(encode(reddish(1)), _SPEC)
