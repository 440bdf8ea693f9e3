"""A list of scores from elsewhere: what its lines are about, and what is wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from keshikaran.baselines.score_file import read_score_file
from keshikaran.baselines.score_list import ScoreFileRival, match_scores
from keshikaran.errors import SourceError
from keshikaran.store import Store
from keshikaran.types import ImageId
from rivals_support import fill
from support import bluish, encode, reddish

_NAMES = ["1/a.png", "1/b.png", "0/c.png"]


@pytest.fixture
def pictures() -> dict[str, bytes]:
    return {
        "1/a.png": encode(reddish(1)),
        "1/b.png": encode(reddish(2)),
        "0/c.png": encode(bluish(3)),
    }


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "workspace") as opened:
        yield opened


@pytest.fixture
def ids(store: Store, pictures: dict[str, bytes], tmp_path: Path) -> dict[str, ImageId]:
    return fill(store, pictures, tmp_path / "upload")


def _csv(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "scores.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _scores(path: Path, store: Store, ids: dict[str, ImageId]) -> dict[str, float | None]:
    rival = ScoreFileRival(path, store)
    told = {one.image_id: one.score for one in rival.score(list(ids.values()))}
    return {name: told[image_id] for name, image_id in ids.items()}


@pytest.mark.parametrize("key", ["path", "image_id", "object_id"])
def test_images_are_named_in_three_ways(
    key: str, tmp_path: Path, store: Store, ids: dict[str, ImageId], pictures: dict[str, bytes]
) -> None:
    called = {
        "path": {name: str(tmp_path / "upload" / name) for name in ids},
        "image_id": {name: image_id.upper() for name, image_id in ids.items()},
        "object_id": {
            name: f"{hashlib.sha1(data).hexdigest()}.png" for name, data in pictures.items()
        },
    }[key]
    lines = [f"{called[name]},{score}" for name, score in zip(_NAMES, (0.5, 1, 0), strict=True)]
    path = _csv(tmp_path, "\n".join([f"{key},score", *lines]))
    assert _scores(path, store, ids) == {"1/a.png": 0.5, "1/b.png": 1.0, "0/c.png": 0.0}


@pytest.mark.parametrize(
    "text",
    [
        "path,score\na.png,0.25\n",
        "\ufeffPath;Model;Score\r\n./1/a.png;x;0.25\r\n\r\n",
        "score\tpath\n2.5e-1\t1\\a.png\n",
        "path,score\n'a.png, 0.25 \n",
        'path,score\n"1/a.png",0.25\n"1/a.png",0.250\n',
    ],
)
def test_end_of_a_path_is_enough_however_the_file_was_saved(
    text: str, tmp_path: Path, store: Store, ids: dict[str, ImageId]
) -> None:
    assert _scores(_csv(tmp_path, text), store, ids)["1/a.png"] == 0.25


def test_empty_cell_is_an_image_that_could_not_be_scored(
    tmp_path: Path, store: Store, ids: dict[str, ImageId]
) -> None:
    rival = ScoreFileRival(_csv(tmp_path, "path,score\na.png,\nb.png,3\n"), store)
    told = {one.image_id: one for one in rival.score(list(ids.values()))}
    assert told[ids["1/a.png"]].score is None
    assert told[ids["1/a.png"]].reason == "no score in its line"
    assert told[ids["0/c.png"]].reason == "no line names it"
    assert told[ids["1/b.png"]].reason is None


def test_it_is_said_how_many_lines_were_of_use(
    tmp_path: Path, store: Store, pictures: dict[str, bytes]
) -> None:
    ids = fill(store, {**pictures, "0/a.png": encode(bluish(9))}, tmp_path / "upload")
    text = "path,score\na.png,1\n1/a.png,1\nb.png,2\nz.png,3\nwhere/c.png,4\n"
    path = _csv(tmp_path, text)
    matched = match_scores(path, read_score_file(path), store)
    assert (matched.ambiguous, matched.unknown) == (1, 2)
    assert matched.scores == {ids["1/a.png"]: 1.0, ids["1/b.png"]: 2.0}
    rival = ScoreFileRival(path, store)
    list(rival.score(list(ids.values())))
    (note,) = rival.notes()
    assert "5 lines in scores.csv; they name 2 of 4" in note
    assert "2 name no image" in note
    assert "1 fit several" in note


def test_file_without_a_line_that_helps_says_only_that(
    tmp_path: Path, store: Store, ids: dict[str, ImageId]
) -> None:
    rival = ScoreFileRival(_csv(tmp_path, "path,score\na.png,1\n"), store)
    list(rival.score([ids["1/a.png"]]))
    expected = "1 lines in scores.csv; they name 1 of 1 validation and test images."
    assert rival.notes() == (expected,)


@pytest.mark.parametrize(
    ("scores", "scale"), [("0,1", "probability"), ("0.5,1.5", "number"), ("-1,0", "number")]
)
def test_numbers_outside_0_and_1_are_no_probabilities(
    scores: str, scale: str, tmp_path: Path
) -> None:
    first, second = scores.split(",")
    path = _csv(tmp_path, f"path,score\na,{first}\nb,{second}\n")
    assert read_score_file(path).scale == scale


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "one column `score`"),
        ("path,value\na,1\n", "one column `score`"),
        ("path,image_id,score\na,b,1\n", "one of path, image_id, object_id"),
        ("path,score,score\na,1,2\n", "one column `score`"),
        ("path,score\n", "has no score in it"),
        ("path,score\na,\n", "has no score in it"),
        ("path,score\na,1\nb\n", "line 3: 'b' has too few cells"),
        ("path,score\n ,1\n", "line 2: it names no image"),
        ("path,score\na,1\nb,high\n", "line 3: 'high' is no score"),
        ('path,score\na,"0,5"\n', "'0,5' is no score"),
        ("path,score\na,nan\n", "'nan' is no score"),
        ("path,score\na,inf\n", "'inf' is no score"),
        (b"path,score\n\xff\xfe,1\n", "it is not UTF-8"),
        ("path,score\n" + "a" * 200_000 + ",1\n", "cannot be read as CSV"),
    ],
)
def test_file_that_makes_no_sense_names_the_place(
    text: str | bytes, words: str, tmp_path: Path
) -> None:
    path = _csv(tmp_path, text)
    with pytest.raises(SourceError) as caught:
        read_score_file(path)
    assert words in caught.value.what
    assert str(path) in caught.value.what
    assert caught.value.hint


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere.csv cannot be read: No such file"):
        read_score_file(tmp_path / "nowhere.csv")


def test_two_scores_for_one_image_are_refused(
    tmp_path: Path, store: Store, ids: dict[str, ImageId]
) -> None:
    path = _csv(tmp_path, "path,score\na.png,1\nupload/1/a.png,2\n")
    with pytest.raises(SourceError, match=r"line 3: 'upload/1/a.png' is an image"):
        ScoreFileRival(path, store)
    assert ids
