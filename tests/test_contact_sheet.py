"""The contact sheet: one page that loads nothing, blurred at first, in which names are inert."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from html_support import read_page
from keshikaran.errors import ImageRefusedError, StoreError
from keshikaran.pixels import InProcessDecoder, make_thumbnail, read_pixels
from keshikaran.pixels.contract import PixelSpec
from keshikaran.report import (
    ContactSheet,
    SheetImage,
    SheetSection,
    render_contact_sheet,
    write_contact_sheet,
)
from support import encode, reddish

_HOSTILE = [
    "<script>alert(1)</script>.jpg",
    '"><img src=x onerror=alert(1)>.jpg',
    "' onmouseover='alert(1).jpg",
    "{{ 7 * 7 }}.jpg",
    "</label></figure></body>",
]
_JPEG, _WEBP = b"\xff\xd8\xff\xe0 jpeg", b"RIFF\x00\x00\x00\x00WEBP"


def _sheet(*rows: tuple[SheetImage, ...], note: str = "") -> ContactSheet:
    return ContactSheet("Labels to check", "Look.", (SheetSection("Doubtful", rows, note),))


@pytest.fixture(scope="module")
def decoder() -> InProcessDecoder:
    return InProcessDecoder()


def test_a_sheet_shows_its_sections_images_facts_and_commands() -> None:
    first = SheetImage(
        _JPEG, "in/a.jpg", (("label", "acceptable"),), "keshikaran label ab --value 1"
    )
    other = SheetImage(_WEBP, "in/b.webp", (("cosine", "0.91"),))
    page = read_page(render_contact_sheet(_sheet((first, other), note="Worst first.")))
    words = page.words()
    for part in (
        "Labels to check",
        "Look.",
        "Doubtful",
        "Worst first.",
        "in/a.jpg label acceptable keshikaran label ab --value 1",
        "in/b.webp cosine 0.91",
    ):
        assert part in words
    kept = {"jpeg": _JPEG, "webp": _WEBP}
    assert page.values("img", "src") == [
        f"data:image/{kind};base64,{base64.b64encode(data).decode()}" for kind, data in kept.items()
    ]


def test_pictures_are_blurred_until_asked_for_one_by_one_or_all_without_a_script() -> None:
    html = render_contact_sheet(_sheet((SheetImage(_JPEG, "a.jpg"),)))
    style = "".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    assert re.search(r"\.thumb img {[^}]*filter: blur\(\d+px\)", style)
    (undone,) = re.findall(r"([^}]*){ filter: none; }", style)
    for way in (":hover img", "input:checked + img", ":focus-visible + img", ":has(#all:checked)"):
        assert way in undone
    page = read_page(html)
    assert page.values("input", "type") == ["checkbox", "checkbox"]
    assert page.values("input", "id") == ["all"]


def test_every_picture_and_button_has_words_for_those_who_do_not_see_it() -> None:
    image = SheetImage(_JPEG, "a.jpg", command="keshikaran label ab --value 1")
    page = read_page(render_contact_sheet(_sheet((image,))))
    assert page.values("img", "alt") == ["a.jpg (blurred until shown)"]
    assert page.values("input", "aria-label") == ["show a.jpg"]
    assert page.values("button", "aria-label") == ["copy the command for a.jpg"]


def test_the_button_is_hidden_until_the_script_runs() -> None:
    image = SheetImage(_JPEG, "a.jpg", command="keshikaran label ab --value 1")
    page = read_page(render_contact_sheet(_sheet((image,))))
    assert ("button", "hidden", "") in page.attributes


def test_a_sheet_loads_nothing_and_runs_only_its_own_script() -> None:
    html = render_contact_sheet(_sheet(*((SheetImage(_JPEG, name),) for name in _HOSTILE)))
    page = read_page(html)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert page.values("meta", "content")[-1] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
        f" script-src 'sha256-{digest}'"
    )
    assert not {"iframe", "object", "embed", "form", "base", "link"} & set(page.tags)
    assert page.tags.count("img") == len(_HOSTILE)
    assert all(not name.startswith("on") for _, name, _ in page.attributes)
    assert all(value.startswith("data:image/jpeg;") for value in page.values("img", "src"))
    assert "://" not in html


def test_hostile_texts_are_shown_and_inert() -> None:
    rows = [
        (SheetImage(None, name, ((name, name),), f"keshikaran label {name}"),) for name in _HOSTILE
    ]
    sheet = ContactSheet(
        _HOSTILE[0], _HOSTILE[1], (SheetSection(_HOSTILE[2], tuple(rows), _HOSTILE[3]),)
    )
    page = read_page(render_contact_sheet(sheet))
    assert page.tags.count("script") == 1
    for name in _HOSTILE:
        assert page.words().count(name) >= 4
    assert "49.jpg" not in page.words()


def test_marks_that_turn_or_hide_text_come_out_as_escapes() -> None:
    html = render_contact_sheet(_sheet((SheetImage(None, "a\x1b[31m\n\u202egpj.exe\udcff\u200b"),)))
    assert "a\\x1b[31m\\n\\u202egpj.exe\\udcff\\u200b" in read_page(html).words()
    assert not set("\x1b\u202e\u200b") & set(html)


def test_an_image_without_a_thumbnail_says_so() -> None:
    page = read_page(render_contact_sheet(_sheet((SheetImage(None, "broken.jpg"),))))
    assert "no picture broken.jpg" in page.words()
    assert "img" not in page.tags


def test_an_empty_sheet_says_that_there_is_nothing() -> None:
    page = read_page(render_contact_sheet(_sheet()))
    assert "Nothing to show." in page.words()
    assert "Doubtful" not in page.words()


def test_a_sheet_is_written_to_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.html"
    write_contact_sheet(path, _sheet((SheetImage(None, "a\udcff.jpg"),)))
    assert path.read_text(encoding="utf-8") == render_contact_sheet(
        _sheet((SheetImage(None, "a\udcff.jpg"),))
    )


def test_a_sheet_that_cannot_be_written_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"sheet\.html could not be written"):
        write_contact_sheet(tmp_path / "file" / "sheet.html", _sheet())


@pytest.mark.parametrize(("size", "expected"), [((200, 100), (40, 20)), ((50, 200), (10, 40))])
def test_a_thumbnail_is_the_whole_picture_in_its_own_shape(
    decoder: InProcessDecoder, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[:, : size[0] // 2] = (200, 30, 30)
    pixels[:, size[0] // 2 :] = (30, 30, 200)
    small = make_thumbnail(decoder, encode(Image.fromarray(pixels)), 40)
    assert small.startswith(b"\xff\xd8")
    shown = read_pixels(small, PixelSpec(expected[1], expected[0]))
    with Image.open(io.BytesIO(small)) as read:
        assert read.size == expected
    assert shown[:, 1, 0].min() > 150
    assert shown[:, -2, 2].min() > 150


def test_a_picture_of_the_colour_of_the_bars_stays_whole(decoder: InProcessDecoder) -> None:
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    shown = read_pixels(make_thumbnail(decoder, encode(grey), 32), PixelSpec(32, 32))
    assert np.abs(shown.astype(int) - 128).max() <= 2


def test_a_thumbnail_carries_nothing_of_its_file_but_pixels(decoder: InProcessDecoder) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    data = encode(reddish(1), "JPEG", exif=exif, comment=b"a secret comment")
    assert b"secret" in data
    assert b"secret" not in make_thumbnail(decoder, data)


def test_there_is_no_thumbnail_of_what_cannot_be_decoded(decoder: InProcessDecoder) -> None:
    with pytest.raises(ImageRefusedError, match="not_an_image"):
        make_thumbnail(decoder, b"no picture")
