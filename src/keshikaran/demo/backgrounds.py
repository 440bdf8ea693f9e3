"""What the demonstration's pictures show before anything is pasted on them.

Two kinds of background are cut out of the photographs that scikit-learn ships, `china.jpg` by
danielbuechele and `flower.jpg` by vultilion (both Flickr, CC BY 2.0); the others are painted.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageOps

from keshikaran.demo import scenes
from keshikaran.demo.paint import Rng, Size, as_mask, colour, rough_field
from keshikaran.errors import MissingExtraError

Painter = Callable[[Rng, Size], Image.Image]


@lru_cache(maxsize=1)
def _photographs() -> tuple[Image.Image, Image.Image]:
    try:
        from sklearn.datasets import load_sample_images
    except ImportError as failure:
        what = "Making the demonstration's pictures"
        raise MissingExtraError(what, "train") from failure
    temple, flower = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    return temple, flower


def _cut(rng: Rng, photograph: Image.Image, size: Size) -> Image.Image:
    """Cuts a random part of the photograph, of the shape of ``size``, and changes its colours."""
    widest = min(photograph.width / size[0], photograph.height / size[1])
    scale = widest * rng.uniform(0.35, 1.0)
    width, height = size[0] * scale, size[1] * scale
    left = rng.uniform(0, photograph.width - width)
    top = rng.uniform(0, photograph.height - height)
    part = photograph.resize(
        size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height)
    )
    if rng.random() < 0.5:
        part = ImageOps.mirror(part)
    return _recoloured(rng, part)


def _recoloured(rng: Rng, picture: Image.Image) -> Image.Image:
    picture = ImageEnhance.Color(picture).enhance(float(rng.uniform(0.2, 1.6)))
    picture = _levels(picture, gain=rng.uniform(0.6, 1.3), pivot=128)
    if rng.random() < 0.12:
        red, green, blue = picture.split()
        picture = Image.merge(
            "RGB", (blue, red, green) if rng.random() < 0.5 else (green, red, blue)
        )
    return picture


def _levels(picture: Image.Image, *, gain: float, pivot: int = 0) -> Image.Image:
    """Stretches every value away from ``pivot`` by ``gain``."""
    table = np.clip((np.arange(256) - pivot) * gain + pivot, 0, 255).astype(int).tolist()
    return picture.point(table * 3)


def _temple(rng: Rng, size: Size) -> Image.Image:
    return _cut(rng, _photographs()[0], size)


def _flower(rng: Rng, size: Size) -> Image.Image:
    return _cut(rng, _photographs()[1], size)


def _double(rng: Rng, size: Size) -> Image.Image:
    """Lays one photograph over the other, as a double exposure does."""
    mask = as_mask(rough_field(rng, size, cells=(2, 2), octaves=2))
    return Image.composite(_temple(rng, size), _flower(rng, size), mask)


# Photographs come up more often than any one painted scene; each entry is used equally often.
_CYCLE: tuple[tuple[str, Painter], ...] = (
    ("temple", _temple),
    ("sky", scenes.sky),
    ("flower", _flower),
    ("hills", scenes.hills),
    ("street", scenes.street),
    ("double", _double),
    ("texture", scenes.texture),
    ("temple", _temple),
    ("shapes", scenes.shapes),
    ("flower", _flower),
    ("blobs", scenes.blobs),
    ("stripes", scenes.stripes),
)
_PAINTERS = dict(_CYCLE)


def kind_of(index: int) -> str:
    """Names the kind of background of the picture with this number, the same in both classes."""
    return _CYCLE[index % len(_CYCLE)][0]


def background(rng: Rng, kind: str, size: Size) -> Image.Image:
    """Makes a background of one kind."""
    return _PAINTERS[kind](rng, size)


def as_taken(rng: Rng, picture: Image.Image) -> Image.Image:
    """Gives a picture the exposure and the sensor noise of a camera."""
    picture = _levels(picture, gain=rng.uniform(0.75, 1.15))
    level = int(rng.integers(1, 13))
    shape = (picture.height, picture.width)
    grain = Image.fromarray(rng.integers(128 - level, 129 + level, shape, dtype=np.uint8))
    return ImageChops.add(picture, Image.merge("RGB", (grain, grain, grain)), offset=-128)


def wash(rng: Rng, picture: Image.Image) -> Image.Image:
    """Tints a picture with one colour, as a filter of a photograph app does."""
    sheet = Image.new("RGB", picture.size, colour(rng))
    return Image.blend(picture, sheet, float(rng.uniform(0.05, 0.25)))
