"""Things that look a little like an advertisement and are none: bands, grids, discs, wires.

Without them a classifier could tell the classes apart by any sharp edge or flat colour.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from keshikaran.demo.overlays import pasted
from keshikaran.demo.paint import Rng, Size, as_mask, blend, colour, rough_field


def _band(rng: Rng, size: Size) -> Image.Image:
    """A coloured bar, like a painted beam, with nothing on it."""
    width = int(size[0] * rng.uniform(0.45, 1.0))
    height = int(min(size) * rng.uniform(0.06, 0.18))
    paint = colour(rng, strength=(0.2, 1.0))
    return Image.new("RGBA", (width, height), (*paint, int(rng.integers(120, 256))))


def _grid(rng: Rng, size: Size) -> Image.Image:
    """A window with panes, or a tiled or chequered panel."""
    side = int(min(size) * rng.uniform(0.18, 0.4))
    cells = int(rng.integers(2, 12))
    step = side / cells
    sheet = Image.new("RGBA", (side, side), (*colour(rng), int(rng.integers(200, 256))))
    draw = ImageDraw.Draw(sheet)
    pane, chequered = colour(rng), rng.random() < 0.4
    for row in range(cells):
        for column in range(cells):
            if chequered and (row + column) % 2:
                continue
            x, y = column * step + 1, row * step + 1
            gap = 1 if chequered else max(2, step * 0.2)
            draw.rectangle((x, y, x + max(step - gap, 1), y + max(step - gap, 1)), fill=pane)
    return sheet


def _disc(rng: Rng, size: Size) -> Image.Image:
    """A ball, a flower head or a many-sided plate."""
    side = int(min(size) * rng.uniform(0.15, 0.36))
    paint = colour(rng, strength=(0.4, 1.0), light=(0.5, 1.0))
    sheet = Image.new("RGBA", (side, side), (*paint, 0))
    draw = ImageDraw.Draw(sheet)
    opacity = int(rng.integers(190, 256))
    if rng.random() < 0.5:
        draw.ellipse((0, 0, side - 1, side - 1), fill=(*paint, opacity))
    else:
        sides = int(rng.integers(5, 14))
        draw.regular_polygon((side / 2, side / 2, side / 2 - 1), sides, fill=(*paint, opacity))
    heart = side * rng.uniform(0.2, 0.35)
    draw.circle((side / 2, side / 2), heart, fill=(*colour(rng), opacity))
    return sheet


def _thicket(rng: Rng, size: Size) -> Image.Image:
    """A patch of leaves, gravel or foam: fine natural grain with a ragged edge."""
    side = int(min(size) * rng.uniform(0.3, 0.6))
    grain = rough_field(rng, (side, side), cells=(24, 24), octaves=3, coarse=1)
    patch = blend((grain > 0.5).astype(np.float32), colour(rng, light=(0.1, 0.5)), colour(rng))
    edge = rough_field(rng, (side, side), cells=(3, 3), octaves=3)
    patch.putalpha(as_mask(np.clip((edge - np.float32(0.45)) * 6, 0, 1).astype(np.float32)))
    return patch


def _wires(rng: Rng, size: Size) -> Image.Image:
    """A few thin lines: wires, a fence or twigs."""
    width, height = size[0], int(size[1] * rng.uniform(0.1, 0.5))
    ink = colour(rng, strength=(0.0, 0.4), light=(0.0, 0.4))
    sheet = Image.new("RGBA", (width, height), (*ink, 0))
    draw = ImageDraw.Draw(sheet)
    upright = rng.random() < 0.5
    for _ in range(int(rng.integers(2, 16))):
        if upright:
            x = rng.uniform(0, width)
            ends = (x, 0.0), (x + rng.uniform(-10, 10), float(height))
        else:
            ends = (0.0, rng.uniform(0, height)), (float(width), rng.uniform(0, height))
        draw.line(ends, fill=(*ink, 255), width=int(rng.integers(1, 5)))
    return sheet


_MAKERS: tuple[Callable[[Rng, Size], Image.Image], ...] = (
    _band,
    _band,
    _grid,
    _disc,
    _thicket,
    _wires,
)


def distract(rng: Rng, picture: Image.Image, *, chance: float) -> None:
    """Adds, with this chance, one to three harmless things to a picture."""
    if rng.random() >= chance:
        return
    for _ in range(int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))):
        maker = _MAKERS[int(rng.integers(len(_MAKERS)))]
        turn = 0.0 if rng.random() < 0.4 else 25.0
        pasted(rng, picture, maker(rng, picture.size), turn=turn)
