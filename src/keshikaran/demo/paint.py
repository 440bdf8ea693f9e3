"""Drawing helpers that the demonstration's backgrounds and overlays share."""

import colorsys
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Size = tuple[int, int]
Field = npt.NDArray[np.float32]
Rng = np.random.Generator


def colour(
    rng: Rng,
    *,
    hue: tuple[float, float] = (0.0, 1.0),
    strength: tuple[float, float] = (0.15, 0.9),
    light: tuple[float, float] = (0.25, 0.95),
) -> Colour:
    """Draws a colour from ranges of hue, saturation and value, each 0 to 1."""
    red, green, blue = colorsys.hsv_to_rgb(
        rng.uniform(*hue) % 1.0, rng.uniform(*strength), rng.uniform(*light)
    )
    return round(red * 255), round(green * 255), round(blue * 255)


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """Returns the colour that lies ``share`` of the way from ``first`` to ``second``."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def ink_for(paper: Colour) -> Colour:
    """Returns black or white, whichever reads better on ``paper``."""
    red, green, blue = paper
    return (15, 15, 15) if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else (250, 250, 250)


def smooth_field(rng: Rng, size: Size, cells: Size) -> Field:
    """Makes smooth noise of 0 to 1 with about ``cells`` bumps across and down."""
    coarse = rng.random((cells[1], cells[0]), dtype=np.float32)
    fine = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    return np.clip(np.asarray(fine, dtype=np.float32), 0.0, 1.0)


def rough_field(rng: Rng, size: Size, *, cells: Size, octaves: int = 4, coarse: int = 2) -> Field:
    """Sums smooth noise of ever finer grain and stretches the sum to 0 to 1.

    Args:
        rng: Where the noise comes from.
        size: The width and height of the field.
        cells: How many bumps the coarsest noise has across and down.
        octaves: How many noises are summed, each twice as fine as the one before.
        coarse: The sum is made this many times smaller and then enlarged, which saves time.
    """
    small = (-(-size[0] // coarse), -(-size[1] // coarse))
    total = np.zeros((small[1], small[0]), dtype=np.float32)
    for octave in range(octaves):
        grain = (min(cells[0] << octave, small[0]), min(cells[1] << octave, small[1]))
        total += smooth_field(rng, small, grain) / np.float32(1.7**octave)
    low, high = float(total.min()), float(total.max())
    total = (total - np.float32(low)) / np.float32(max(high - low, 1e-6))
    if coarse == 1:
        return total
    whole = Image.fromarray(total).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(whole, dtype=np.float32)


def as_mask(field: Field) -> Image.Image:
    """Turns a field of 0 to 1 into a grey picture for blending."""
    return Image.fromarray(np.clip(field * 255, 0, 255).astype(np.uint8))


def blend(field: Field, low: Colour, high: Colour) -> Image.Image:
    """Colours a field: ``low`` where it is 0, ``high`` where it is 1."""
    size = (field.shape[1], field.shape[0])
    return Image.composite(
        Image.new("RGB", size, high), Image.new("RGB", size, low), as_mask(field)
    )


def gradient(size: Size, top: Colour, bottom: Colour) -> Image.Image:
    """Makes a picture that runs from ``top`` to ``bottom``."""
    ramp = np.linspace(0.0, 1.0, size[1], dtype=np.float32)[:, None]
    return blend(np.ascontiguousarray(np.broadcast_to(ramp, (size[1], size[0]))), top, bottom)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def lettering(text: str, height: int, ink: Colour, *, opacity: int = 255) -> Image.Image:
    """Draws a line of text, about ``height`` pixels high, on a clear ground."""
    font = _font(max(8, height))
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    clear = Image.new("RGBA", (right - left + 4, bottom - top + 4), (*ink, 0))
    stroke = 1 if height >= 18 else 0
    ImageDraw.Draw(clear).text(
        (2 - left, 2 - top), text, font=font, fill=(*ink, opacity), stroke_width=stroke
    )
    return clear


def fitted(text: str, box: Size, ink: Colour) -> Image.Image:
    """Draws a line of text as large as ``box`` allows."""
    trial = lettering(text, 24, ink)
    scale = min(box[0] / trial.width, box[1] / trial.height)
    return lettering(text, int(24 * scale), ink)
