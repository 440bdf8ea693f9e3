import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, UnidentifiedImageError

from keshikaran.demo import backgrounds
from keshikaran.demo.lookalikes import distract
from keshikaran.demo.overlays import advertise
from keshikaran.demo.paint import fitted, ink_for, mixed, rough_field
from keshikaran.demo.pictures import (
    BROKEN_NAME,
    TEXT_NAME,
    DemoPictures,
    Label,
    Recipe,
    encoded,
    make_pictures,
    painted,
)
from keshikaran.errors import MissingExtraError, UsageError

_COUNT = 28
_KINDS = {
    "temple", "flower", "double", "sky", "hills", "street", "texture", "shapes", "blobs", "stripes"
}  # fmt: skip
_ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> DemoPictures:
    return make_pictures(tmp_path_factory.mktemp("demo"), count=_COUNT, fresh=6)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _good(made: DemoPictures) -> list[Path]:
    broken = {BROKEN_NAME, TEXT_NAME}
    return [path for path in made.folder.rglob("*.*") if path.name not in broken]


def test_same_seed_gives_the_same_files(made: DemoPictures, tmp_path: Path) -> None:
    again = make_pictures(tmp_path, count=_COUNT, fresh=6)
    assert _contents(again.folder) == _contents(made.folder)


def test_another_seed_gives_other_pictures_of_the_same_names(
    made: DemoPictures, tmp_path: Path
) -> None:
    before = _contents(made.folder)
    after = _contents(make_pictures(tmp_path, count=_COUNT, fresh=6, seed=21).folder)
    assert before.keys() == after.keys()
    same = {name for name in before if before[name] == after[name]}
    assert same == {f"labelled/plain/{TEXT_NAME}"}


def test_a_picture_does_not_depend_on_how_many_are_made(made: DemoPictures, tmp_path: Path) -> None:
    few = _contents(make_pictures(tmp_path, count=5, fresh=1).folder)
    many = _contents(made.folder)
    assert few == {name: many[name] for name in few}


def test_no_two_pictures_are_equal(made: DemoPictures) -> None:
    contents = [path.read_bytes() for path in _good(made)]
    assert len(set(contents)) == len(contents)


def test_global_random_state_is_left_alone(tmp_path: Path) -> None:
    before = str(np.random.get_state())  # noqa: NPY002
    make_pictures(tmp_path, count=2, fresh=0)
    assert str(np.random.get_state()) == before  # noqa: NPY002


@pytest.mark.parametrize(
    ("count", "plain", "advert"), [(_COUNT, 14, 14), (5, 3, 2), (1, 1, 0), (0, 0, 0)]
)
def test_counts(tmp_path: Path, count: int, plain: int, advert: int) -> None:
    result = make_pictures(tmp_path, count=count, fresh=2)
    assert (result.plain, result.advert, len(result.fresh)) == (plain, advert, 2)
    labelled = tmp_path / "labelled"
    assert len(list((labelled / "plain").iterdir())) == plain + 2
    assert len(list((labelled / "advert").iterdir())) == advert


@pytest.mark.parametrize(("count", "fresh"), [(-1, 0), (2, -1)])
def test_negative_counts_are_refused(tmp_path: Path, count: int, fresh: int) -> None:
    with pytest.raises(UsageError, match="negative"):
        make_pictures(tmp_path, count=count, fresh=fresh)
    assert not list(tmp_path.iterdir())


def test_fresh_names_tell_what_they_show(made: DemoPictures) -> None:
    assert [path.name for path in made.fresh] == [
        "plain-1.jpg",
        "advert-2.png",
        "plain-3.jpg",
        "advert-4.webp",
        "plain-5.jpg",
        "advert-6.jpg",
    ]
    assert all(path.parent == made.folder / "fresh" and path.is_file() for path in made.fresh)


def test_both_classes_have_the_same_backgrounds() -> None:
    labels: tuple[Label, ...] = ("plain", "advert")
    kinds = [Counter(Recipe(label, index).kind for index in range(240)) for label in labels]
    assert kinds[0] == kinds[1]
    assert set(kinds[0]) == _KINDS


def test_both_classes_have_the_same_file_formats(made: DemoPictures) -> None:
    endings = [
        Counter(path.suffix for path in _good(made) if path.parent.name == label)
        for label in ("plain", "advert")
    ]
    assert endings[0] == endings[1]
    assert set(endings[0]) == {".jpg", ".png", ".webp"}
    assert endings[0][".jpg"] > sum(endings[0].values()) / 2


def test_every_good_picture_opens_with_the_format_of_its_name(made: DemoPictures) -> None:
    formats = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
    paths = _good(made)
    assert len(paths) == _COUNT + 6
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == formats[path.suffix]
            assert picture.mode == "RGB"
            assert 240 <= min(picture.size) <= max(picture.size) <= 640


def test_pictures_are_landscape_and_portrait(made: DemoPictures) -> None:
    sizes = []
    for path in _good(made):
        with Image.open(path) as picture:
            sizes.append(picture.size)
    assert any(width > height for width, height in sizes)
    assert any(width < height for width, height in sizes)


def test_three_pictures_are_stored_turned(made: DemoPictures) -> None:
    tags = {}
    for path in _good(made):
        with Image.open(path) as picture:
            tags[path.name] = picture.getexif().get(_ORIENTATION, 1)
    turned = {name: tag for name, tag in tags.items() if tag != 1}
    assert turned == {"plain-0004.jpg": 6, "plain-0014.jpg": 3, "advert-0006.jpg": 8}


@pytest.mark.parametrize(
    "recipe",
    [Recipe("plain", 3), Recipe("plain", 13), Recipe("advert", 5), Recipe("advert", 1)],
    ids=str,
)
def test_pictures_open_upright(made: DemoPictures, recipe: Recipe) -> None:
    name = f"{recipe.label}-{recipe.index + 1:04d}.{recipe.suffix}"
    path = made.folder / "labelled" / recipe.label / name
    with Image.open(path) as stored:
        upright = ImageOps.exif_transpose(stored)
    meant = painted(recipe.generator(20), recipe)
    assert upright.size == meant.size
    error = np.abs(np.asarray(upright, dtype=float) - np.asarray(meant, dtype=float)).mean()
    assert error < 12
    if recipe.orientation == 3:
        wrong = np.asarray(meant.rotate(180), dtype=float)
        assert np.abs(np.asarray(upright, dtype=float) - wrong).mean() > 2 * error


def test_broken_files_are_broken(made: DemoPictures) -> None:
    home = made.folder / "labelled" / "plain"
    with Image.open(home / BROKEN_NAME) as half:
        assert half.format == "JPEG"
        with pytest.raises(OSError, match="truncated"):
            half.load()
    assert "line of text" in (home / TEXT_NAME).read_text(encoding="utf-8")
    with pytest.raises(UnidentifiedImageError):
        Image.open(home / TEXT_NAME)


def test_a_second_run_restores_its_own_files_and_leaves_others(tmp_path: Path) -> None:
    make_pictures(tmp_path, count=4, fresh=1)
    first = _contents(tmp_path)
    mine = tmp_path / "labelled" / "plain" / "plain-mine.jpg"
    mine.write_bytes(b"mine")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "labelled" / "plain" / "plain-0001.jpg").write_bytes(b"spoilt")
    make_pictures(tmp_path, count=4, fresh=1)
    others = {"labelled/plain/plain-mine.jpg": b"mine", "notes.txt": b"mine"}
    assert _contents(tmp_path) == first | others


def test_without_scikit_learn_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backgrounds._photographs.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match="train"):
        make_pictures(tmp_path, count=2)


@pytest.mark.parametrize("kind", sorted(_KINDS))
@pytest.mark.parametrize("size", [(640, 240), (240, 427)])
def test_every_background_fills_its_size(kind: str, size: tuple[int, int]) -> None:
    picture = backgrounds.background(np.random.default_rng(3), kind, size)
    assert (picture.mode, picture.size) == ("RGB", size)
    assert np.asarray(picture).std() > 2


def test_encoding_is_repeatable() -> None:
    recipe = Recipe("advert", 7)
    assert encoded(recipe, 4) == encoded(recipe, 4)
    assert encoded(recipe, 4) != encoded(recipe, 5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), wide=st.integers(240, 640), tall=st.integers(240, 640))
def test_overlays_change_a_picture_of_any_size(seed: int, wide: int, tall: int) -> None:
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (wide, tall), (90, 120, 60))
    advertise(rng, picture)
    assert len(picture.getcolors(wide * tall) or []) > 1
    distract(rng, picture, chance=1.0)
    assert picture.size == (wide, tall)


def test_no_lookalikes_at_chance_zero() -> None:
    picture = Image.new("RGB", (300, 300))
    distract(np.random.default_rng(1), picture, chance=0.0)
    assert picture.getcolors() == [(90000, (0, 0, 0))]


@given(st.text("ABCXYZ 0123456789-%$@.", min_size=1, max_size=30), st.integers(60, 400))
@settings(max_examples=40, deadline=None)
def test_lettering_fits_its_box(text: str, wide: int) -> None:
    line = fitted(text, (wide, 60), (0, 0, 0))
    # Below 8 pixels the letters get no smaller, so a long text may stick out of a narrow box.
    smallest = fitted(text, (1, 1), (0, 0, 0))
    # Letters are whole pixels wide: each may be up to one wider than it should.
    assert line.width <= max(wide + 8 + len(text), smallest.width)


@given(st.tuples(*[st.integers(0, 255)] * 3), st.tuples(*[st.integers(0, 255)] * 3))
def test_mixed_runs_between_its_colours(
    first: tuple[int, int, int], second: tuple[int, int, int]
) -> None:
    assert mixed(first, second, 0.0) == first
    assert mixed(first, second, 1.0) == second
    assert ink_for(first) in {(15, 15, 15), (250, 250, 250)}


@pytest.mark.parametrize("coarse", [1, 2, 3])
def test_rough_field_spans_zero_to_one(coarse: int) -> None:
    field = rough_field(np.random.default_rng(1), (301, 250), cells=(3, 9), coarse=coarse)
    assert field.shape == (250, 301)
    assert field.dtype == np.float32
    assert float(field.min()) >= 0.0
    assert 0.8 < float(field.max()) <= 1.0
