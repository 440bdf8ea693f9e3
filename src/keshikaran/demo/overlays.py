"""What an advertiser pastes on a picture: banners, prices, codes and web addresses."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from keshikaran.demo.paint import (
    Rng,
    Size,
    colour,
    fitted,
    ink_for,
    lettering,
)

_CALLS = (
    "SALE -{n}%",
    "{n}% OFF TODAY",
    "BUY 1 GET 1 FREE",
    "USE CODE {code}",
    "CODE {code} = -{n}%",
    "LIMITED OFFER",
    "ORDER NOW",
    "FREE SHIPPING",
    "BEST PRICE {price}",
    "CLICK THE LINK",
    "NOW {price}!",
    "Follow @deals_{n} for more",
)
_SITES = ("shop.example.com", "deals.example.com", "cheap.invalid", "promo.example.org")
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_DIGITS = "23456789"


def _code(rng: Rng) -> str:
    head = "".join(rng.choice(list(_LETTERS), 2)) + str(rng.choice(list(_DIGITS)))
    tail = "".join(rng.choice(list(_DIGITS), 2)) + str(rng.choice(list(_LETTERS)))
    return f"{head}-{tail}"


def _price(rng: Rng) -> str:
    return f"{rng.choice(['$', '$', 'EUR '])}{rng.integers(2, 99)}.{rng.choice(['99', '95', '49'])}"


def _call(rng: Rng) -> str:
    pattern = str(rng.choice(_CALLS))
    return pattern.format(n=5 * rng.integers(2, 15), code=_code(rng), price=_price(rng))


def _centred(sheet: Image.Image, piece: Image.Image) -> None:
    place = ((sheet.width - piece.width) // 2, (sheet.height - piece.height) // 2)
    sheet.alpha_composite(piece, (max(place[0], 0), max(place[1], 0)))


def _banner(rng: Rng, size: Size) -> Image.Image:
    """A coloured bar with a slogan."""
    width = int(size[0] * rng.uniform(0.45, 1.0))
    height = int(min(size) * rng.uniform(0.09, 0.18))
    paper = colour(rng, strength=(0.2, 1.0))
    sheet = Image.new("RGBA", (width, height), (*paper, int(rng.integers(120, 256))))
    _centred(sheet, fitted(_call(rng), (int(width * 0.92), int(height * 0.7)), ink_for(paper)))
    return sheet


def _slogan(rng: Rng, size: Size) -> Image.Image:
    """A slogan with nothing behind it but, mostly, its own shadow."""
    box = (int(size[0] * rng.uniform(0.5, 0.9)), int(min(size) * rng.uniform(0.08, 0.15)))
    text, ink = _call(rng), colour(rng, strength=(0.0, 1.0), light=(0.7, 1.0))
    front = fitted(text, box, ink)
    if rng.random() < 0.25:
        return front
    sheet = Image.new("RGBA", (front.width + 2, front.height + 2))
    sheet.alpha_composite(fitted(text, box, (20, 20, 20)), (2, 2))
    sheet.alpha_composite(front)
    return sheet


def _burst(rng: Rng, size: Size) -> Image.Image:
    """A star with a price in it."""
    side = int(min(size) * rng.uniform(0.22, 0.38))
    paper = colour(rng, hue=(-0.08, 0.18), strength=(0.7, 1.0), light=(0.75, 1.0))
    sheet = Image.new("RGBA", (side, side), (*paper, 0))
    points, inner = int(rng.integers(9, 20)), rng.uniform(0.72, 0.9)
    outline = []
    for step in range(points * 2):
        reach = side / 2 * (inner if step % 2 else 1.0)
        turn = math.pi * step / points
        outline.append((side / 2 + reach * math.cos(turn), side / 2 + reach * math.sin(turn)))
    ImageDraw.Draw(sheet).polygon(outline, fill=(*paper, int(rng.integers(190, 256))))
    _centred(sheet, fitted(_price(rng), (int(side * 0.66), side // 3), ink_for(paper)))
    return sheet


def _tag(rng: Rng, size: Size) -> Image.Image:
    """A price tag with a hole, or a coupon with a dashed edge."""
    width = int(size[0] * rng.uniform(0.28, 0.46))
    height = int(width * rng.uniform(0.3, 0.45))
    paper = colour(rng, strength=(0.0, 0.8), light=(0.7, 1.0))
    sheet = Image.new("RGBA", (width, height), (*paper, 0))
    draw = ImageDraw.Draw(sheet)
    edge = height // 3
    body = [(edge, 0), (width, 0), (width, height), (edge, height), (0, height // 2)]
    draw.polygon(body, fill=(*paper, int(rng.integers(190, 256))))
    draw.circle((edge, height / 2), height / 12, fill=(0, 0, 0, 0))
    text = fitted(
        _price(rng) if rng.random() < 0.6 else _code(rng),
        (width - 2 * edge, height // 2),
        (20, 20, 20),
    )
    sheet.alpha_composite(text, (edge + edge // 2, (height - text.height) // 2))
    return sheet


def _square_code(rng: Rng, size: Size) -> Image.Image:
    """A square of black and white cells with three corner marks; no reader can read it."""
    cells = int(rng.choice([21, 25, 29]))
    grid = rng.integers(0, 2, (cells, cells), dtype=np.uint8)
    mark = np.ones((8, 8), dtype=np.uint8)
    mark[:7, :7], mark[1:6, 1:6], mark[2:5, 2:5] = 0, 1, 0
    grid[:8, :8], grid[:8, -8:], grid[-8:, :8] = mark, mark[:, ::-1], mark[::-1]
    padded = np.pad(grid, 2, constant_values=1)
    side = int(min(size) * rng.uniform(0.18, 0.36))
    light = Image.fromarray(padded * np.uint8(255)).resize((side, side), Image.Resampling.BOX)
    dark = Image.new("RGBA", (side, side), (*colour(rng, light=(0.0, 0.3)), 255))
    dark.paste((255, 255, 255, 255), (0, 0), light)
    dark.putalpha(int(rng.integers(200, 256)))
    return dark


def _address(rng: Rng, size: Size) -> Image.Image:
    """A web address, once or repeated all over the picture as a watermark."""
    site = str(rng.choice(_SITES))
    height = int(min(size) * rng.uniform(0.05, 0.1))
    ink = (255, 255, 255) if rng.random() < 0.7 else (20, 20, 20)
    word = lettering(site, height, ink, opacity=int(rng.integers(130, 230)))
    if rng.random() < 0.35:
        return word
    step_x, step_y = int(word.width * 1.25), int(word.height * rng.uniform(3, 6))
    sheet = Image.new("RGBA", (int(size[0] * 1.2), int(size[1] * 1.2)), (*ink, 0))
    for row, top in enumerate(range(0, sheet.height, step_y)):
        for left in range(-(row % 2) * step_x // 2, sheet.width, step_x):
            sheet.paste(word, (left, top))
    return sheet


_MAKERS: tuple[Callable[[Rng, Size], Image.Image], ...] = (
    _banner,
    _banner,
    _slogan,
    _burst,
    _tag,
    _square_code,
    _address,
)


def pasted(rng: Rng, picture: Image.Image, piece: Image.Image, *, turn: float) -> None:
    """Pastes a piece at a random place, turned by up to ``turn`` degrees; it may stick out."""
    if turn:
        angle = float(rng.uniform(-turn, turn))
        piece = piece.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    spare = (picture.width - piece.width, picture.height - piece.height)
    left, top = (round(rng.uniform(min(-0.05 * s, s), max(s, 0))) for s in spare)
    picture.paste(piece.convert("RGB"), (left, top), piece.getchannel("A"))


def advertise(rng: Rng, picture: Image.Image) -> None:
    """Pastes one to three advertisements on a picture."""
    for _ in range(int(rng.choice([1, 2, 3], p=[0.35, 0.4, 0.25]))):
        maker = _MAKERS[int(rng.integers(len(_MAKERS)))]
        turn = 0.0 if rng.random() < 0.4 else 25.0
        pasted(rng, picture, maker(rng, picture.size), turn=turn)
