"""Sound pictures of every kind, against what libvips makes of the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import pyvips
from stress.files import encode, soft
from stress.golden import HEIGHT, WIDTH, golden_files

from cli_support import cli
from keshikaran.pixels import DEFAULT_LIMITS, PixelSpec, decode_image, read_header, read_pixels
from keshikaran.predictor import Predictor
from keshikaran.training import TrainingResult
from keshikaran.types import UInt8Array

_FILES = golden_files()
_NOT_READ_BY_VIPS = ".bmp"
_WORST_MEAN_ERROR = 2.0
_SAME_SCORE = 1e-3


def _vips(data: bytes) -> UInt8Array:
    """Upright, sRGB, on white, 8 bits, first frame: all by another library."""
    image = pyvips.Image.new_from_buffer(data, "").autorot()
    profiled = image.get_typeof("icc-profile-data") != 0
    if image.interpretation == "cmyk" and not profiled:
        return _naive_cmyk(image.numpy())
    if image.format == "ushort" and not profiled:
        image = image.colourspace("grey16" if image.bands < 3 else "rgb16")
    image = (
        image.icc_transform("srgb", embedded=True, intent="perceptual", depth=8)
        if profiled
        else image.colourspace("srgb")
    )
    if image.hasalpha():
        image = image.flatten(background=255)
    pixels: UInt8Array = image.cast("uchar").numpy()
    return pixels if pixels.ndim == 3 and pixels.shape[2] == 3 else np.repeat(pixels[..., :1], 3, 2)


def _naive_cmyk(ink: UInt8Array) -> UInt8Array:
    """The contract's rule for ink without a profile; libvips would assume one."""
    light = 255 - ink.astype(np.float64)
    rgb: UInt8Array = (light[..., :3] * light[..., 3:] / 255).round().astype(np.uint8)
    return rgb


def _ours(data: bytes) -> UInt8Array:
    header = read_header(data, DEFAULT_LIMITS)
    upright = (header.width, header.height)
    if min(upright) == HEIGHT and upright[0] != WIDTH:
        upright = (WIDTH, HEIGHT)
    return read_pixels(data, PixelSpec(upright[1], upright[0]))


def _mean_error(a: UInt8Array, b: UInt8Array) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def test_there_are_sixty_and_each_is_another_file() -> None:
    assert len(_FILES) >= 60
    assert len(set(_FILES.values())) == len(_FILES)


@pytest.mark.parametrize("name", [name for name in _FILES if not name.endswith(_NOT_READ_BY_VIPS)])
def test_pixels_are_those_of_another_library(name: str) -> None:
    ours, theirs = _ours(_FILES[name]), _vips(_FILES[name])
    assert ours.shape == theirs.shape
    assert _mean_error(ours, theirs) <= _WORST_MEAN_ERROR


@pytest.mark.parametrize("name", [name for name in _FILES if name.endswith(_NOT_READ_BY_VIPS)])
def test_a_bmp_has_the_pixels_of_the_png_it_was_made_with(name: str) -> None:
    twin = _FILES[name.replace(".bmp", ".png")]
    assert np.array_equal(_ours(_FILES[name]), _ours(twin))


@pytest.mark.parametrize("profile", ["cmyk", "p3"])
@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_a_real_profile_is_followed(profile: str, image_format: str) -> None:
    image = soft(WIDTH, HEIGHT, 1).convert("CMYK" if profile == "cmyk" else "RGB")
    block = bytes(pyvips.Operation.call("profile_load", profile))
    data = encode(image, image_format, icc_profile=block, quality=92)
    plain = encode(image, image_format, quality=92)
    assert _mean_error(_ours(data), _vips(data)) <= _WORST_MEAN_ERROR
    assert _mean_error(_ours(data), _ours(plain)) > _WORST_MEAN_ERROR


def test_python_command_line_and_bundle_give_the_same_score(
    trained: TrainingResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / name for name in _FILES]
    for path in paths:
        path.write_bytes(_FILES[path.name])
    predictor = Predictor.load(trained.model_path)
    in_python = [predictor.predict(path).score for path in paths]
    done = cli(capsys, "predict", *paths, "--model", trained.model_path, "--json")
    typed = [json.loads(line)["score"] for line in done.out.splitlines()]
    session = onnxruntime.InferenceSession(trained.model_path)
    spec = predictor.manifest.pixels
    bare = [
        float(session.run(["score"], {"images": decode_image(data, spec).views})[0].max())
        for data in _FILES.values()
    ]
    assert done.code == 0
    assert np.ptp(bare) > 0.1
    assert np.abs(np.array(in_python) - typed).max() <= _SAME_SCORE
    assert np.abs(np.array(in_python) - bare).max() <= _SAME_SCORE
