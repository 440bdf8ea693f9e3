"""Made-up scenes: skies, hills, streets, textures and other things without any lettering."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from keshikaran.demo.paint import (
    Colour,
    Field,
    Rng,
    Size,
    as_mask,
    blend,
    colour,
    gradient,
    mixed,
    rough_field,
)


def sky(rng: Rng, size: Size) -> Image.Image:
    """Paints a sky with clouds and, at times, a low sun."""
    width, height = size
    top = colour(rng, hue=(0.52, 0.72), strength=(0.3, 0.8), light=(0.35, 0.9))
    low = colour(rng, hue=(-0.08, 0.15), strength=(0.05, 0.6), light=(0.7, 1.0))
    picture = gradient(size, top, low)
    if rng.random() < 0.5:
        _sun(rng, picture)
    clouds = rough_field(rng, size, cells=(int(rng.integers(2, 5)), int(rng.integers(3, 7))))
    cover = np.clip((clouds - np.float32(rng.uniform(0.35, 0.6))) * 3, 0, 0.9)
    white = mixed((255, 255, 255), low, float(rng.uniform(0.0, 0.5)))
    picture.paste(white, (0, 0), as_mask(cover))
    if rng.random() < 0.4:
        ground = int(height * rng.uniform(0.75, 0.92))
        dark = colour(rng, light=(0.1, 0.4))
        ImageDraw.Draw(picture).rectangle((0, ground, width, height), fill=dark)
    return picture


def _sun(rng: Rng, picture: Image.Image) -> None:
    radius = picture.width * rng.uniform(0.04, 0.12)
    x, y = rng.uniform(0, picture.width), rng.uniform(0.1, 0.8) * picture.height
    disc = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(picture).ellipse(disc, fill=colour(rng, hue=(0.08, 0.16), light=(0.95, 1.0)))


def hills(rng: Rng, size: Size) -> Image.Image:
    """Paints ranges of hills, the near ones darker than the far ones."""
    width, height = size
    haze = colour(rng, strength=(0.05, 0.4), light=(0.75, 1.0))
    near = colour(rng, hue=(0.2, 0.65), light=(0.12, 0.45))
    picture = gradient(size, colour(rng, hue=(0.5, 0.7)), haze)
    draw = ImageDraw.Draw(picture)
    across = np.linspace(0.0, 1.0, 80)
    ranges = int(rng.integers(3, 7))
    for step in range(ranges):
        share = (step + 1) / ranges
        ridge = np.full_like(across, 0.3 + 0.6 * share)
        for wave in (1.5, 4.0, 11.0, 23.0):
            swing = rng.uniform(0.02, 0.16) / wave
            ridge += swing * np.sin(2 * math.pi * (across * wave + rng.random()))
        points = [(x * width, y * height) for x, y in zip(across, ridge, strict=True)]
        draw.polygon([*points, (width, height), (0, height)], fill=mixed(haze, near, share))
    return _grained(rng, picture, 0.12)


def street(rng: Rng, size: Size) -> Image.Image:
    """Paints a row of houses with windows."""
    width, height = size
    picture = gradient(size, colour(rng, hue=(0.5, 0.7), strength=(0.1, 0.5)), colour(rng))
    draw = ImageDraw.Draw(picture)
    left = -int(rng.integers(0, 60))
    while left < width:
        right = left + int(rng.integers(width // 6, width // 2))
        roof = int(height * rng.uniform(0.1, 0.6))
        wall = colour(rng, strength=(0.05, 0.6), light=(0.3, 0.9))
        draw.rectangle((left, roof, right, height), fill=wall)
        _windows(rng, draw, (left, roof, right, height), wall)
        left = right + int(rng.integers(0, 12))
    return _grained(rng, picture, 0.15)


def _windows(
    rng: Rng, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], wall: Colour
) -> None:
    left, top, right, bottom = box
    pitch_x, pitch_y = int(rng.integers(16, 44)), int(rng.integers(18, 56))
    pane = mixed(wall, colour(rng, light=(0.05, 0.4)), 0.8)
    lit = mixed(wall, colour(rng, hue=(0.1, 0.17), light=(0.9, 1.0)), 0.8)
    for y in range(top + pitch_y // 2, bottom - pitch_y, pitch_y):
        for x in range(left + pitch_x // 2, right - pitch_x, pitch_x):
            fill = lit if rng.random() < 0.2 else pane
            draw.rectangle((x, y, x + pitch_x * 0.55, y + pitch_y * 0.6), fill=fill)


def texture(rng: Rng, size: Size) -> Image.Image:
    """Paints something like stone, wood grain or water."""
    cells = (int(rng.integers(1, 16)), int(rng.integers(2, 32)))
    field = rough_field(rng, size, cells=cells, octaves=5, coarse=1)
    if rng.random() < 0.4:
        field = (0.5 + 0.5 * np.sin(field * np.float32(rng.uniform(8, 30)))).astype(np.float32)
    first = colour(rng, light=(0.15, 0.6))
    return blend(field, first, colour(rng, light=(0.5, 1.0)))


def shapes(rng: Rng, size: Size) -> Image.Image:
    """Paints a still life of flat discs, boxes and polygons."""
    width, height = size
    picture = gradient(size, colour(rng), colour(rng))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(4, 14))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        reach = rng.uniform(0.05, 0.25) * min(size)
        box = (x - reach, y - reach * rng.uniform(0.4, 1.0), x + reach, y + reach)
        form = rng.integers(3)
        if form == 0:
            draw.ellipse(box, fill=colour(rng))
        elif form == 1:
            draw.rectangle(box, fill=colour(rng))
        else:
            sides, turn = int(rng.integers(3, 8)), int(rng.integers(360))
            draw.regular_polygon((x, y, reach), sides, rotation=turn, fill=colour(rng))
    return _grained(rng, picture, 0.2)


def blobs(rng: Rng, size: Size) -> Image.Image:
    """Paints lights that are out of focus."""
    small = (max(size[0] // 3, 1), max(size[1] // 3, 1))
    picture = gradient(small, colour(rng, light=(0.05, 0.5)), colour(rng, light=(0.05, 0.6)))
    for _ in range(int(rng.integers(8, 30))):
        radius = rng.uniform(0.03, 0.16) * min(small)
        x, y = rng.uniform(0, small[0]), rng.uniform(0, small[1])
        light = Image.new("L", small)
        disc = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(light).ellipse(disc, fill=int(rng.integers(60, 220)))
        picture.paste(colour(rng, light=(0.6, 1.0)), (0, 0), light)
    soft = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.6, 4.0))))
    return soft.resize(size, Image.Resampling.BICUBIC)


def stripes(rng: Rng, size: Size) -> Image.Image:
    """Paints striped or checked cloth, a little crumpled."""
    wide = np.linspace(0, size[0], size[0], dtype=np.float32)[None, :]
    tall = np.linspace(0, size[1], size[1], dtype=np.float32)[:, None]
    turn, period = rng.uniform(0, math.pi), rng.uniform(14, 90)
    fold = rough_field(rng, size, cells=(3, 3), octaves=2) * np.float32(rng.uniform(0, 50))
    along = wide * np.float32(math.cos(turn)) + tall * np.float32(math.sin(turn)) + fold
    across = tall * np.float32(math.cos(turn)) - wide * np.float32(math.sin(turn)) + fold
    picture = blend(_bands(along, period), colour(rng), colour(rng))
    if rng.random() < 0.5:
        picture.paste(colour(rng), (0, 0), as_mask(_bands(across, period * 1.3) * np.float32(0.5)))
    return _grained(rng, picture, 0.15)


def _bands(phase: Field, period: float) -> Field:
    wave = np.sin(phase * np.float32(2 * math.pi / period))
    return np.asarray(np.clip(wave * 4 + 0.5, 0, 1), dtype=np.float32)


def _grained(rng: Rng, picture: Image.Image, amount: float) -> Image.Image:
    grain = rough_field(rng, picture.size, cells=(12, 12), octaves=3, coarse=3)
    return Image.blend(picture, blend(grain, (0, 0, 0), (255, 255, 255)), amount)
