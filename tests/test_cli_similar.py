"""The command `similar`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from cli_support import cli, process, talks_in_lines
from keshikaran.hashing import image_id_of
from keshikaran.store import Store
from support import encode, reddish, write_classes

Captured = pytest.CaptureFixture[str]
_LINE = re.compile(r"^ ?-?\d\.\d{3}  (0|1|-)  (\S+)  [0-9a-f]{12}$")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("in"), 10)


@pytest.fixture
def words(
    pictures: Path, tmp_path: Path, backbone_file: Path, capsys: Captured
) -> tuple[str | Path, ...]:
    """What every call ends with."""
    folder = tmp_path / "ws"
    assert cli(capsys, "import", pictures, "--positive", "red", "-w", folder).code == 0
    return ("-w", folder, "--backbone", backbone_file, "--isolation", "off")


def test_a_line_for_each_neighbour_and_what_to_do_next(
    words: tuple[str | Path, ...], pictures: Path, tmp_path: Path, capsys: Captured
) -> None:
    done = cli(capsys, "similar", pictures / "red" / "0003.png", "--top", "4", *words)
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 4
    for line in lines:
        match = _LINE.match(line)
        assert match is not None
        assert match[1] == ("1" if "/red/" in match[2] else "0")
        assert not line.startswith(" 1.0")
    first = lines[0].split()[-1]
    assert done.err.splitlines()[-1] == f"Next: keshikaran show {first} --workspace {tmp_path}/ws"
    assert talks_in_lines(done.err)


def test_json_is_one_object_with_whole_ids(
    words: tuple[str | Path, ...], pictures: Path, capsys: Captured
) -> None:
    file = pictures / "red" / "0003.png"
    done = cli(capsys, "similar", file, "--json", *words)
    assert (done.code, done.out.count("\n")) == (0, 1)
    found = json.loads(done.out)
    assert list(found) == ["image_id", "stored", "neighbours", "exact", "images"]
    assert found["image_id"] == image_id_of(file.read_bytes())
    assert (found["stored"], found["exact"], found["images"]) == (True, True, 20)
    assert len(found["neighbours"]) == 10
    assert list(found["neighbours"][0]) == ["image_id", "cosine", "label", "paths"]
    assert "Next" not in done.err


def test_an_image_without_a_label_has_a_dash(
    words: tuple[str | Path, ...], tmp_path: Path, capsys: Captured
) -> None:
    for name, seed in (("a", 900), ("b", 900)):
        data = encode(reddish(seed)) + (b"" if name == "a" else b"more")
        (tmp_path / f"{name}.png").write_bytes(data)
    assert cli(capsys, "import", tmp_path / "b.png", *words[:2]).code == 0
    done = cli(capsys, "similar", tmp_path / "a.png", "--top", "1", *words)
    assert re.match(r" 1\.000  -  \S+/b\.png  ", done.out)


def test_images_that_could_not_be_compared_are_told_of(
    words: tuple[str | Path, ...], pictures: Path, tmp_path: Path, capsys: Captured
) -> None:
    whole = encode(reddish(901))
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    assert cli(capsys, "import", tmp_path / "half.png", *words[:2]).code == 0
    done = cli(capsys, "similar", pictures / "red" / "0003.png", *words)
    assert done.code == 0
    assert "Not compared, since they cannot be decoded: 1 images." in done.err


def test_the_only_image_is_told_that_it_is_alone(
    words: tuple[str | Path, ...], tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "one.png").write_bytes(encode(reddish(902)))
    alone = ("-w", tmp_path / "alone", *words[2:])
    assert cli(capsys, "import", tmp_path / "one.png", *alone[:2]).code == 0
    done = cli(capsys, "similar", tmp_path / "one.png", *alone)
    assert (done.code, done.out) == (0, "")
    assert "There is no other image to compare with." in done.err
    assert "Next: keshikaran import" in done.err


def test_an_answer_that_is_not_proven_says_so(
    words: tuple[str | Path, ...],
    pictures: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keshikaran.pruned_search._Looking.prove", lambda _: False)
    done = cli(capsys, "similar", pictures / "red" / "0003.png", *words)
    assert done.code == 0
    assert "Most likely the nearest of 20 images" in done.err


@pytest.mark.parametrize(
    ("image", "code", "expected"),
    [
        ("gone.png", 2, "gone.png is neither a file nor an image id."),
        ("abcdef", 2, "No image has an id that starts with abcdef."),
        (__file__, 1, "cannot be compared: not_an_image"),
    ],
)
def test_what_cannot_be_compared_is_said(
    words: tuple[str | Path, ...], capsys: Captured, image: str, code: int, expected: str
) -> None:
    done = cli(capsys, "similar", image, *words)
    assert (done.code, done.out) == (code, "")
    assert expected in done.err
    assert talks_in_lines(done.err)


def test_a_workspace_that_is_not_there_is_not_made(tmp_path: Path, capsys: Captured) -> None:
    done = cli(capsys, "similar", "abcdef", "-w", tmp_path / "none")
    assert done.code == 2
    assert "There is no workspace" in done.err
    assert not (tmp_path / "none").exists()


def test_an_empty_workspace_says_what_to_import(tmp_path: Path, capsys: Captured) -> None:
    Store(tmp_path / "ws").close()
    done = cli(capsys, "similar", "abcdef", "-w", tmp_path / "ws")
    assert done.code == 1
    assert "There are no images in the workspace" in done.err
    assert "keshikaran import" in done.err


def test_none_wanted_is_wrong_usage(capsys: Captured, tmp_path: Path) -> None:
    assert cli(capsys, "similar", "abcdef", "--top", "0", "-w", tmp_path).code == 2


def test_it_needs_nothing_of_training(
    words: tuple[str | Path, ...], pictures: Path, tmp_path: Path
) -> None:
    for name in ("scipy", "sklearn", "jinja2", "tensorboardX"):
        (tmp_path / "without" / name).mkdir(parents=True)
        (tmp_path / "without" / name / "__init__.py").write_text("raise ImportError")
    path = os.pathsep.join([str(tmp_path / "without"), os.environ.get("PYTHONPATH", "")])
    done = process(
        "similar", pictures / "red" / "0003.png", *words, environment={"PYTHONPATH": path}
    )
    assert (done.code, done.out.count("\n")) == (0, 10)
