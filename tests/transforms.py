"""What happens to photographs on their way through the web: nine kinds of copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from support import encode

Transform = Callable[[Image.Image, Random], bytes]


def _jpeg(image: Image.Image, quality: int = 90) -> bytes:
    return encode(image.convert("RGB"), "JPEG", quality=quality)


def jpeg50(image: Image.Image, random: Random) -> bytes:
    """Saved again at quality 50."""
    del random
    return _jpeg(image, 50)


def half(image: Image.Image, random: Random) -> bytes:
    """Half the width and half the height."""
    del random
    size = (max(1, image.width // 2), max(1, image.height // 2))
    return _jpeg(image.resize(size, Image.Resampling.LANCZOS))


def _cropped(image: Image.Image, random: Random, share: float) -> bytes:
    width, height = int(image.width * share), int(image.height * share)
    left, top = random.randint(0, width), random.randint(0, height)
    box = (left, top, left + image.width - width, top + image.height - height)
    return _jpeg(image.crop(box))


def crop5(image: Image.Image, random: Random) -> bytes:
    """A twentieth of the width and of the height is gone, from anywhere."""
    return _cropped(image, random, 0.05)


def crop15(image: Image.Image, random: Random) -> bytes:
    """15% of the width and of the height are gone, from anywhere."""
    return _cropped(image, random, 0.15)


def flip(image: Image.Image, random: Random) -> bytes:
    """Left is right."""
    del random
    return _jpeg(ImageOps.mirror(image))


def watermark(image: Image.Image, random: Random) -> bytes:
    """White words across the middle."""
    del random
    image = image.copy()
    font = ImageFont.load_default(size=max(12, image.width // 10))
    place = (image.width // 8, image.height // 2)
    ImageDraw.Draw(image).text(place, "© example.com", fill=(255, 255, 255), font=font)
    return _jpeg(image)


def border(image: Image.Image, random: Random) -> bytes:
    """A black frame, as wide as 8% of the shorter side."""
    del random
    return _jpeg(ImageOps.expand(image, int(min(image.size) * 0.08), fill=(0, 0, 0)))


def brightness(image: Image.Image, random: Random) -> bytes:
    """30% brighter."""
    del random
    return _jpeg(ImageEnhance.Brightness(image).enhance(1.3))


def rotation(image: Image.Image, random: Random) -> bytes:
    """A quarter turn to the left."""
    del random
    return _jpeg(image.transpose(Image.Transpose.ROTATE_90))


TRANSFORMS: dict[str, Transform] = {
    function.__name__: function
    for function in (
        jpeg50,
        half,
        crop5,
        crop15,
        flip,
        watermark,
        border,
        brightness,
        rotation,
    )
}


def write_copies(files: Sequence[Path], folder: Path, seed: int = 7) -> dict[str, Path]:
    """Write all kinds of copies of each file; the name of each copy, and what it is a copy of."""
    folder.mkdir(parents=True, exist_ok=True)
    random = Random(seed)
    made: dict[str, Path] = {}
    for number, path in enumerate(files):
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        for kind, transform in TRANSFORMS.items():
            name = f"{number:04d}-{kind}.jpg"
            (folder / name).write_bytes(transform(image, random))
            made[name] = path
    return made


def kind_of(name: str) -> str:
    """Which kind of copy a file of `write_copies` is."""
    return name.split("-")[1].removesuffix(".jpg")
