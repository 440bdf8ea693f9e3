"""Two copies of one photograph are told from two photographs, whatever was done to the copy."""

from __future__ import annotations

import io
from random import Random
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from duplicates_support import landscape, picture
from keshikaran.alignment import (
    TURNS,
    Evidence,
    Picture,
    Turn,
    compare,
    is_copy,
    thumbnail_of,
    turned,
)
from keshikaran.alignment.coarse import starts
from support import encode, quadrants
from transforms import TRANSFORMS

UPRIGHT: tuple[Turn, ...] = ("none", "mirror")
SIZES = ((320, 240), (240, 320), (300, 300))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("seed", range(3))
def test_every_kind_of_copy_is_one(name: str, seed: int) -> None:
    image = landscape(seed, *SIZES[seed])
    copy = TRANSFORMS[name](image, Random(seed))
    evidence = compare(picture(encode(image)), picture(copy), TURNS)
    assert evidence is not None
    assert is_copy(evidence)
    assert evidence.turn == {"flip": "mirror", "rotation": "right"}.get(name, "none")
    assert 0.6 < evidence.overlap <= 1
    if name == "crop15":
        assert evidence.scale == pytest.approx(0.85, abs=0.02)


@pytest.mark.parametrize(
    ("agreement", "similarity", "copies"),
    [
        (0.75, 0.85, True),  # a quarter is painted over, the rest agrees well
        (0.97, 0.75, True),  # noise in every block, and all of them agree
        (0.75, 0.84, False),
        (0.74, 0.99, False),
        (0.73, 0.83, False),  # the hardest pair of different photographs
    ],
)
def test_copies_agree_in_most_blocks_or_well_in_many(
    agreement: float, similarity: float, copies: bool
) -> None:
    assert is_copy(Evidence("none", 1.0, 1.0, agreement, similarity)) is copies


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_close_look_sees_no_less(name: str) -> None:
    image = landscape(9)
    copy = TRANSFORMS[name](image, Random(9))
    quick = compare(picture(encode(image)), picture(copy), TURNS)
    close = compare(picture(encode(image)), picture(copy), TURNS, closely=True)
    assert quick is not None
    assert close is not None
    assert close.similarity >= quick.similarity - 0.02
    other = compare(picture(encode(landscape(8))), picture(copy), TURNS, closely=True)
    assert other is None or not is_copy(other)


def test_two_different_pictures_are_no_copies() -> None:
    pictures = [picture(encode(landscape(seed))) for seed in range(8)]
    for number, first in enumerate(pictures):
        for second in pictures[:number]:
            evidence = compare(first, second, TURNS)
            assert evidence is None or not is_copy(evidence)


def test_two_views_of_one_scene_are_no_copies() -> None:
    """The background is the same, what stands before it is not."""
    scene = landscape(1)
    pasted = []
    for seed in (2, 3):
        view = scene.copy()
        view.paste(landscape(seed, 160, 200), (80, 20))
        pasted.append(picture(encode(view)))
    evidence = compare(pasted[0], pasted[1], UPRIGHT)
    assert evidence is None or not is_copy(evidence)


def test_a_small_thing_pasted_in_leaves_a_copy() -> None:
    image = landscape(1)
    changed = image.copy()
    changed.paste(landscape(2, 60, 50), (30, 150))
    evidence = compare(picture(encode(image)), picture(encode(changed)), UPRIGHT)
    assert evidence is not None
    assert is_copy(evidence)
    assert evidence.agreement < 1


@pytest.mark.parametrize("turn", get_args(Turn))
def test_the_turn_that_is_named_brings_the_copy_upright(turn: Turn) -> None:
    image = np.asarray(landscape(4).convert("L")).astype(np.float32)
    copy = turned(image, turn)
    evidence = compare(Picture(image), Picture(copy), TURNS)
    assert evidence is not None
    assert is_copy(evidence)
    assert np.array_equal(turned(copy, evidence.turn), image)


def test_flat_drawings_are_never_called_copies() -> None:
    """Four plain fields have too little in them to tell a copy from a likeness."""
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)]
    drawing = picture(encode(quadrants(colours)))
    assert compare(drawing, drawing, UPRIGHT) is None
    plain = picture(encode(Image.new("RGB", (200, 100), (90, 120, 40))))
    assert compare(plain, plain, TURNS) is None


def test_bars_of_other_sites_do_not_hide_a_copy() -> None:
    image = landscape(5, 320, 180)
    square = Image.new("RGB", (320, 320))
    square.paste(image, (0, 70))
    evidence = compare(picture(encode(image)), picture(encode(square)), UPRIGHT)
    assert evidence is not None
    assert is_copy(evidence)


def test_a_very_narrow_picture_can_be_compared() -> None:
    narrow = picture(encode(landscape(6, 300, 6)))
    evidence = compare(narrow, picture(encode(landscape(6))), TURNS)
    assert evidence is None or not is_copy(evidence)


def test_bars_are_cut_off_a_thumbnail() -> None:
    data = encode(landscape(7, 320, 160))
    height, width = picture(data).grey.shape
    assert (height, width) == (80, 160)


def test_a_picture_in_the_bars_own_grey_stays() -> None:
    grey = np.full((160, 160, 3), 128, dtype=np.uint8)
    assert thumbnail_of(grey).shape == (160, 160)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 40), st.integers(0, 30), st.integers(60, 95))
def test_where_a_cut_comes_from_does_not_matter(
    seed: int, left: int, top: int, quality: int
) -> None:
    image = landscape(seed)
    cut = image.crop((left, top, left + 280, top + 210))
    out = io.BytesIO()
    cut.save(out, "JPEG", quality=quality)
    evidence = compare(picture(encode(image)), picture(out.getvalue()), UPRIGHT)
    assert evidence is not None
    assert is_copy(evidence)
    assert evidence.scale == pytest.approx(280 / 320, abs=0.02)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000), st.sampled_from(SIZES), st.booleans())
def test_a_mirror_image_lies_where_it_lay_when_it_was_mirrored_first(
    one: int, other: int, size: tuple[int, int], alike: bool
) -> None:
    first = picture(encode(landscape(one)))
    second = picture(encode(landscape(one if alike else other, *size)))
    places = starts(first, second, mirrored=True)
    direct = starts(first, second.turned("mirror"))
    assert [(p.scale, p.down, p.across) for p in places] == [
        (p.scale, p.down, p.across) for p in direct
    ]
    heights = [p.correlation for p in direct]
    assert [p.correlation for p in places] == pytest.approx(heights, abs=1e-4)
