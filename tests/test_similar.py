"""Similar images as a library user meets them: with a network that sees quadrants."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keshikaran.errors import BackboneError, SourceError, StoreError, UsageError
from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_files
from keshikaran.pixels import DEFAULT_LIMITS
from keshikaran.similar import Similar, open_similar
from keshikaran.store import Store, Workspace
from keshikaran.training_run import TrainingOptions
from store_support import Steps
from support import encode, reddish

_RED, _GREEN, _BLUE, _GREY = (220, 20, 20), (20, 220, 20), (20, 20, 220), (128, 128, 128)


def _plain(colour: tuple[int, int, int], shift: int = 0) -> Image.Image:
    return Image.new("RGB", (64, 64), tuple(min(255, value + shift) for value in colour))


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """Two red, two green, two blue and a grey picture; the red ones are objectionable."""
    place = Workspace(tmp_path / "ws")
    for name, colour, label in (("red", _RED, 1), ("green", _GREEN, 0), ("blue", _BLUE, None)):
        for shift in (0, 10):
            _add(place, tmp_path / f"{name}{shift}.png", _plain(colour, shift), label)
    _add(place, tmp_path / "grey.png", _plain(_GREY), None)
    return place


def _add(place: Workspace, path: Path, picture: Image.Image | bytes, label: object = None) -> str:
    data = picture if isinstance(picture, bytes) else encode(picture)
    path.write_bytes(data)
    with Store(place.folder) as store:
        import_source(store, scan_files([path], label))  # type: ignore[arg-type]
    return image_id_of(data)


@pytest.fixture
def options(backbone_file: Path) -> TrainingOptions:
    return TrainingOptions(backbone=str(backbone_file), isolation="off")


def _of(place: Workspace, options: TrainingOptions, image: str | Path, top: int = 10) -> Similar:
    with open_similar(place, options) as images:
        return images.of(image, top)


def _names(found: Similar) -> list[str]:
    return [Path(neighbour.paths[0]).stem for neighbour in found.neighbours]


def test_a_stored_image_has_its_likes_for_neighbours_and_not_itself(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    found = _of(place, options, tmp_path / "red0.png")
    assert found.stored
    assert found.exact
    assert found.images == 7
    assert _names(found)[0] == "red10"
    assert sorted(_names(found)) == ["blue0", "blue10", "green0", "green10", "grey", "red10"]
    cosines = [neighbour.cosine for neighbour in found.neighbours]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[0] > 0.99
    assert cosines[-1] < 0


def test_a_neighbour_says_what_is_known_of_it(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    twin = tmp_path / "elsewhere.png"
    twin_id = _add(place, twin, _plain(_RED, 10), 1)
    (first,) = _of(place, options, tmp_path / "red0.png", top=1).neighbours
    assert (first.image_id, first.label) == (twin_id, 1)
    assert sorted(Path(path).name for path in first.paths) == ["elsewhere.png", "red10.png"]
    (other,) = _of(place, options, tmp_path / "blue0.png", top=1).neighbours
    assert other.label is None


def test_a_file_that_is_not_in_the_store_is_compared_all_the_same(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    new = tmp_path / "new.jpg"
    new.write_bytes(encode(_plain(_GREEN, 5), "JPEG"))
    found = _of(place, options, new, top=2)
    assert not found.stored
    assert sorted(_names(found)) == ["green0", "green10"]
    with Store(place.folder) as store:
        assert store.count_images() == 7


def test_an_image_is_named_by_its_id(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    image_id = image_id_of((tmp_path / "red0.png").read_bytes())
    by_id = _of(place, options, image_id[:12])
    assert by_id == _of(place, options, tmp_path / "red0.png")
    assert by_id.image_id == image_id


def test_the_most_alike_frame_counts(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    frames = [_plain(_GREY, 40), _plain(_BLUE, 3)]
    film = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    film_id = _add(place, tmp_path / "film.gif", film)
    found = _of(place, options, tmp_path / "film.gif", top=3)
    assert sorted(_names(found)) == ["blue0", "blue10", "grey"]
    assert min(neighbour.cosine for neighbour in found.neighbours) > 0.9
    assert film_id in {
        n.image_id for n in _of(place, options, tmp_path / "blue0.png", 2).neighbours
    }
    assert film_id in {n.image_id for n in _of(place, options, tmp_path / "grey.png", 1).neighbours}


def test_what_is_imported_later_is_found_at_once(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    _of(place, options, tmp_path / "red0.png")
    _add(place, tmp_path / "later.png", _plain(_RED, 1))
    steps = Steps()
    with open_similar(place, options, steps) as images:
        assert _names(images.of(tmp_path / "red0.png", 1)) == ["later"]
    assert steps.tasks == [("featurize", 1), ("index", 8)]


def test_one_opening_answers_many_questions(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    colours = {"red": _RED, "green": _GREEN, "blue": _BLUE}
    for name, colour in colours.items():
        (tmp_path / f"new {name}.bmp").write_bytes(encode(_plain(colour, 4), "BMP"))
    with open_similar(place, options) as images:
        for name in colours:
            found = images.of(tmp_path / f"new {name}.bmp", 2)
            assert sorted(_names(found)) == [f"{name}0", f"{name}10"]


def test_features_that_are_there_are_used_however_they_were_computed(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    with open_similar(place, replace(options, resize_mode="stretch")):
        pass
    steps = Steps()
    with open_similar(place, options, steps) as images:
        images.of(tmp_path / "red0.png")
    assert steps.tasks == []


def test_stored_images_that_cannot_be_decoded_are_counted_and_passed_over(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    whole = encode(reddish(1))
    broken = whole[: len(whole) // 2]
    broken_id = _add(place, tmp_path / "broken.png", broken)
    with open_similar(place, options) as images:
        assert images.not_compared == 1
        found = images.of(tmp_path / "red0.png")
        assert broken_id not in {neighbour.image_id for neighbour in found.neighbours}
        with pytest.raises(
            SourceError, match=r"broken\.png cannot be compared: (truncated|corrupt)"
        ):
            images.of(tmp_path / "broken.png")
        with pytest.raises(SourceError, match=f"{broken_id} cannot be compared"):
            images.of(broken_id)


def test_a_stored_file_that_is_gone_cannot_be_asked_about_by_id(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    lost_id = _add(place, tmp_path / "lost.png", _plain(_RED, 3))
    with Store(place.folder) as store:
        store.blobs.path_of(lost_id, "png").unlink()  # type: ignore[arg-type]
    with open_similar(place, options) as images:
        assert images.not_compared == 1
        with pytest.raises(SourceError, match=r"compared: .*No such file.* keshikaran fsck"):
            images.of(lost_id)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.png", b"", "empty_file"),
        ("notes.txt", b"no picture", "not_an_image"),
        ("cut.png", encode(reddish(3))[:200], "truncated|corrupt"),
    ],
)
def test_a_file_that_is_no_picture_is_refused_with_the_reason(
    place: Workspace, options: TrainingOptions, tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=rf"{name} cannot be compared: ({words})"):
        _of(place, options, tmp_path / name)


def test_a_file_beyond_the_limit_is_not_read_whole(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(DEFAULT_LIMITS.max_bytes + 1)
    with pytest.raises(SourceError, match=r"huge\.png cannot be compared: too_many_bytes"):
        _of(place, options, tmp_path / "huge.png")


def test_what_is_neither_a_file_nor_an_id_is_refused(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="neither a file nor an image id"):
        _of(place, options, tmp_path)
    with pytest.raises(UsageError, match="No image has an id"):
        _of(place, options, "abcdef")


def test_a_file_that_may_not_be_read_is_named(
    place: Workspace,
    options: TrainingOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_similar(place, options) as images:
        opened = Path.open

        def denied(path: Path, *words: object, **more: object) -> object:
            if path.name == "red0.png":
                raise PermissionError(13, "Permission denied")
            return opened(path, *words, **more)  # type: ignore[call-overload]

        monkeypatch.setattr(Path, "open", denied)
        with pytest.raises(SourceError, match=r"red0\.png cannot be read: Permission denied"):
            images.of(tmp_path / "red0.png")


def test_an_empty_store_says_what_to_do(tmp_path: Path, options: TrainingOptions) -> None:
    with (
        pytest.raises(StoreError, match=r"There are no images .* keshikaran import"),
        open_similar(Workspace(tmp_path / "empty"), options),
    ):
        pass


def test_a_store_without_one_good_image_says_so(tmp_path: Path, options: TrainingOptions) -> None:
    place = Workspace(tmp_path / "ws")
    _add(place, tmp_path / "broken.png", encode(reddish(1))[:300])
    with (
        pytest.raises(StoreError, match="None of the 1 images in the workspace can be decoded"),
        open_similar(place, options),
    ):
        pass


def test_the_only_image_has_no_neighbours(tmp_path: Path, options: TrainingOptions) -> None:
    place = Workspace(tmp_path / "ws")
    _add(place, tmp_path / "one.png", reddish(1))
    found = _of(place, options, tmp_path / "one.png")
    assert (found.neighbours, found.exact) == ((), True)


def test_features_that_change_while_open_are_noticed(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    with open_similar(place, options) as images:
        before = images.of(tmp_path / "red0.png")
        with closing(sqlite3.connect(place.features)) as other, other:
            rows = dict(other.execute("SELECT id, vector FROM features").fetchall())
            turned = dict(zip(rows, reversed(rows.values()), strict=True))
            other.executemany(
                "UPDATE features SET vector = ? WHERE id = ?", [(v, n) for n, v in turned.items()]
            )
        after = images.of(tmp_path / "red0.png")
    assert before != after
    assert after == _of(place, options, tmp_path / "red0.png")


def test_images_that_the_catalogue_has_lost_are_no_neighbours(
    place: Workspace, options: TrainingOptions, tmp_path: Path
) -> None:
    _of(place, options, tmp_path / "red0.png")
    lost = image_id_of((tmp_path / "red10.png").read_bytes())
    with closing(sqlite3.connect(place.folder / "catalogue.sqlite")) as other, other:
        other.execute("DELETE FROM images WHERE image_id = ?", (lost,))
    found = _of(place, options, tmp_path / "red0.png", top=3)
    assert lost not in {neighbour.image_id for neighbour in found.neighbours}
    assert len(found.neighbours) == 3


def test_features_that_are_not_numbers_are_refused(
    place: Workspace, options: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new.png").write_bytes(encode(reddish(9)))
    with open_similar(place, options) as images:
        images.of(tmp_path / "new.png")
        pipeline = images._pipeline
        assert pipeline is not None
        monkeypatch.setattr(
            type(pipeline.engine),
            "infer",
            lambda *_: {"features": np.full((1, 12), np.nan, dtype=np.float32)},
        )
        with pytest.raises(BackboneError, match=r"features of .*new\.png that are not numbers"):
            images.of(tmp_path / "new.png")
