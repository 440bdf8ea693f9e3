"""`keshikaran import`, `label`, `split`, `link` and `status`, as typed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from cli_support import cli, talks_in_lines
from keshikaran.hashing import image_id_of
from support import bluish, encode, reddish, write_classes

_COUNT = 30

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("in"), _COUNT)


@pytest.fixture
def workspace(tmp_path: Path, pictures: Path, capsys: Captured) -> Path:
    """60 labelled images, imported."""
    folder = tmp_path / "ws"
    assert cli(capsys, "import", pictures, "--positive", "red", "-w", folder).code == 0
    return folder


def _status(capsys: Captured, workspace: Path) -> dict[str, object]:
    done = cli(capsys, "status", "--json", "-w", workspace)
    assert done.code == 0
    assert done.out.count("\n") == 1
    found: dict[str, object] = json.loads(done.out)
    return found


# import


def test_import_counts_what_it_did_and_names_the_next_command(
    pictures: Path, tmp_path: Path, capsys: Captured
) -> None:
    done = cli(capsys, "import", pictures, "--positive", "red", "-w", tmp_path / "ws")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        "60 files: 60 new images, 0 already here, 0 skipped; 60 labels noted.",
        f"Next: keshikaran train --workspace {tmp_path / 'ws'}",
    ]


def test_importing_again_says_that_nothing_is_new(
    pictures: Path, workspace: Path, capsys: Captured
) -> None:
    done = cli(capsys, "import", pictures, "--positive", "red", "-w", workspace)
    assert done.code == 0
    assert "Nothing new: all 60 images and their labels were here already." in done.err


def test_import_as_json_is_one_object(pictures: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "in" / "red").mkdir(parents=True)
    shutil.copy(pictures / "red" / "0000.png", tmp_path / "in" / "red")
    (tmp_path / "in" / "red" / "empty.jpg").touch()
    done = cli(
        capsys, "import", tmp_path / "in", "--positive", "red", "-w", tmp_path / "ws", "--json"
    )
    assert done.code == 3
    assert done.out.count("\n") == 1
    found = json.loads(done.out)
    assert {name: found[name] for name in ("seen", "imported", "duplicates", "skipped")} == {
        "seen": 2,
        "imported": 1,
        "duplicates": 0,
        "skipped": 1,
    }
    (refusal,) = found["refusals"]
    assert (refusal["path"], refusal["reason"]) == ("red/empty.jpg", "empty_file")
    assert found["contradictory"] == 0


def test_skipped_files_are_listed_up_to_ten_and_end_in_code_3(
    tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(12):
        (tmp_path / "in" / f"{number:02d}.txt").write_text("text")
    (tmp_path / "in" / "00.txt").rename(tmp_path / "in" / "00:cat:[bold]\x1b[31m.txt")
    done = cli(capsys, "import", tmp_path / "in", "-w", tmp_path / "ws")
    assert (done.code, done.out) == (3, "")
    assert talks_in_lines(done.err)
    assert done.err.count("  skipped ") == 10
    assert "  … and 2 more, all in skipped.csv." in done.err
    # A name is shown as it is: neither markup nor a name of an emoji nor a terminal's command.
    assert "skipped 00:cat:[bold]\\x1b[31m.txt: not_an_image" in done.err


def test_single_files_get_the_label_given(pictures: Path, tmp_path: Path, capsys: Captured) -> None:
    one, two = pictures / "red" / "0000.png", pictures / "blue" / "0000.png"
    assert cli(capsys, "import", one, "--label", "1", "-w", tmp_path).code == 0
    assert cli(capsys, "import", two, "--label", "0", "-w", tmp_path).code == 0
    found = _status(capsys, tmp_path)
    assert (found["acceptable"], found["objectionable"]) == (1, 1)


def test_label_csv_finds_files_by_their_sha1(tmp_path: Path, capsys: Captured) -> None:
    media = tmp_path / "media"
    lines = ["objectId,value"]
    for number, (paint, value) in enumerate([(reddish, 1), (bluish, 0), (reddish, 1)]):
        data = encode(paint(number))
        object_id = f"{hashlib.sha1(data).hexdigest()}.png"
        folder = media / "object" / object_id[:2] / object_id[2:4]
        folder.mkdir(parents=True)
        (folder / object_id).write_bytes(data)
        lines.append(f"{object_id},{value}")
    lines.append(f"{'0' * 40}.jpg,1")
    (tmp_path / "label.csv").write_text("\n".join(lines))
    words = ("import", tmp_path / "label.csv", "--media-dir", media, "-w", tmp_path / "ws")
    done = cli(capsys, *words)
    assert done.code == 3
    assert "4 files: 3 new images, 0 already here, 1 skipped; 3 labels noted." in done.err
    assert "missing_file" in done.err
    found = _status(capsys, tmp_path / "ws")
    assert (found["acceptable"], found["objectionable"], found["skipped"]) == (1, 2, 1)


def test_missing_source_is_named(tmp_path: Path, capsys: Captured) -> None:
    done = cli(capsys, "import", tmp_path / "gone", "-w", tmp_path / "ws")
    assert (done.code, done.out) == (1, "")
    assert str(tmp_path / "gone") in done.err
    assert "Check the path" in done.err


def test_file_names_that_are_no_text_are_imported(
    pictures: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "in" / "red").mkdir(parents=True)
    name = b"\xff\xfe.png".decode("utf-8", "surrogateescape")
    shutil.copy(pictures / "red" / "0000.png", tmp_path / "in" / "red" / name)
    (tmp_path / "in" / "red" / name.replace("png", "txt")).write_text("text")
    done = cli(capsys, "import", tmp_path / "in", "--positive", "red", "-w", tmp_path / "ws")
    assert done.code == 3
    assert talks_in_lines(done.err)
    assert "2 files: 1 new images" in done.err


# label


def test_label_by_file_or_by_id_prints_what_holds_now(
    pictures: Path, workspace: Path, capsys: Captured
) -> None:
    path = pictures / "red" / "0000.png"
    image_id = image_id_of(path.read_bytes())
    done = cli(capsys, "label", path, "--value", "0", "--why", "a sunset", "-w", workspace)
    assert (done.code, done.out) == (0, f"{image_id}  0\n")
    assert done.err == f"Next: keshikaran train --workspace {workspace}\n"
    assert _status(capsys, workspace)["objectionable"] == _COUNT - 1

    done = cli(capsys, "label", image_id[:10], "--value", "none", "--who", "eve", "-w", workspace)
    assert (done.code, done.out) == (0, f"{image_id}  none\n")
    # The word is taken back: what the import said holds again.
    found = _status(capsys, workspace)
    assert (found["acceptable"], found["objectionable"]) == (_COUNT, _COUNT)


def test_several_images_are_labelled_at_once(
    pictures: Path, workspace: Path, capsys: Captured
) -> None:
    paths = [pictures / "blue" / f"{number:04d}.png" for number in range(3)]
    done = cli(capsys, "label", *paths, "--value", "1", "-w", workspace)
    assert done.out.count("\n") == 3
    assert _status(capsys, workspace)["objectionable"] == _COUNT + 3


@pytest.mark.parametrize(
    ("image", "value", "words"),
    [
        ("0000.png", "2", "--value 2 is unknown."),
        ("nowhere.png", "1", "nowhere.png is neither a file nor an image id."),
        ("ffffffffffff", "1", "No image has an id that starts with ffffffffffff."),
    ],
)
def test_label_that_makes_no_sense_is_wrong_usage(
    image: str, value: str, words: str, workspace: Path, capsys: Captured
) -> None:
    done = cli(capsys, "label", image, "--value", value, "-w", workspace)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert talks_in_lines(done.err)
    found = _status(capsys, workspace)
    assert (found["acceptable"], found["objectionable"]) == (_COUNT, _COUNT)


def test_picture_that_was_never_imported_cannot_be_labelled(
    tmp_path: Path, workspace: Path, capsys: Captured
) -> None:
    (tmp_path / "new.png").write_bytes(encode(reddish(999)))
    done = cli(capsys, "label", tmp_path / "new.png", "--value", "1", "-w", workspace)
    assert done.code == 2
    assert "Import it first: keshikaran import" in done.err


# split


def test_split_prints_each_side_and_the_next_commands(workspace: Path, capsys: Captured) -> None:
    done = cli(capsys, "split", "-w", workspace)
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert [line[0] for line in lines] == ["train", "validation", "test"]
    assert sum(int(line[1]) + int(line[3]) for line in lines) == 2 * _COUNT
    assert done.err.startswith(f"Next: keshikaran train --workspace {workspace}, or ")
    assert _status(capsys, workspace)["split"] == "hash"


def test_split_as_json_is_one_object(workspace: Path, capsys: Captured) -> None:
    done = cli(capsys, "split", "--json", "--salt", "other", "--balance", "-w", workspace)
    assert done.code == 0
    assert (done.out.count("\n"), done.err) == (1, "")
    counts = json.loads(done.out)["counts"]
    assert counts["test"]["0"] == counts["test"]["1"]
    assert counts["validation"]["0"] == counts["validation"]["1"]


def test_seed_scheme_is_remembered(workspace: Path, capsys: Captured) -> None:
    first = cli(capsys, "split", "--scheme", "seed", "-w", workspace)
    assert first.code == 0
    assert _status(capsys, workspace)["split"] == "seed"
    assert cli(capsys, "split", "-w", workspace).out == first.out


def test_split_file_that_disagrees_is_followed_and_said(
    pictures: Path, workspace: Path, tmp_path: Path, capsys: Captured
) -> None:
    def object_id(path: Path) -> str:
        return hashlib.sha1(path.read_bytes()).hexdigest()

    red, blue = (sorted((pictures / name).iterdir()) for name in ("red", "blue"))
    lines = ["objectId,value,type", f"{object_id(red[0])}.png,1,train"]
    lines += [f"{object_id(blue[0])}.png,1,test", f"{'0' * 40}.png,1,test"]
    (tmp_path / "split.csv").write_text("\n".join(lines))
    done = cli(capsys, "split", "--scheme", tmp_path / "split.csv", "-w", workspace)
    assert done.code == 0
    assert f"{2 * _COUNT - 2} labelled images are not in the file" in done.err
    assert "1 lines of the file name no labelled image here." in done.err
    assert "1 lines of the file state another value" in done.err


# link


def test_link_tree_leads_to_the_stored_files(
    workspace: Path, tmp_path: Path, capsys: Captured
) -> None:
    done = cli(capsys, "link", tmp_path / "tree", "-w", workspace)
    assert (done.code, done.out) == (0, f"{tmp_path / 'tree'}\n")
    assert "60 links made, 0 were there already." in done.err
    assert "Next: " in done.err
    links = sorted((tmp_path / "tree").glob("*/*/*"))
    assert len(links) == 2 * _COUNT
    for link in links:
        data = link.read_bytes()
        assert link.stem == hashlib.sha1(data).hexdigest()
        assert link.resolve().stem == image_id_of(data)
    again = cli(capsys, "link", tmp_path / "tree", "-w", workspace)
    assert "0 links made, 60 were there already." in again.err


def test_link_tree_is_never_mixed_with_other_files(
    workspace: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "diary.txt").write_text("mine")
    done = cli(capsys, "link", tmp_path / "tree", "-w", workspace)
    assert (done.code, done.out) == (2, "")
    assert "holds other things (diary.txt)" in done.err


# status


def test_status_says_where_things_stand(workspace: Path, capsys: Captured) -> None:
    done = cli(capsys, "status", "-w", workspace)
    assert done.code == 0
    facts = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert facts["images"] == "60"
    assert (facts["acceptable"], facts["objectionable"]) == ("30", "30")
    assert (facts["split"], facts["latest_model"]) == ("–", "–")
    assert done.err == f"Next: keshikaran train --workspace {workspace}\n"


def test_contradictions_are_listed_until_somebody_decides(
    pictures: Path, workspace: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "in" / "red").mkdir(parents=True)
    shutil.copy(pictures / "blue" / "0000.png", tmp_path / "in" / "red" / "a\tb.png")
    done = cli(capsys, "import", tmp_path / "in", "--positive", "red", "-w", workspace)
    assert "Labelled both ways, and therefore kept out of training: 1." in done.err

    image_id = image_id_of((pictures / "blue" / "0000.png").read_bytes())
    done = cli(capsys, "status", "-w", workspace)
    assert f"Labelled both ways: {image_id[:12]}" in done.err
    assert "a\\tb.png" in done.err
    assert talks_in_lines(done.err)
    assert done.err.splitlines()[-1].startswith(
        f"Next: keshikaran label {image_id[:12]} --value 0|1"
    )
    found = _status(capsys, workspace)
    assert found["contradictory"] == 1
    assert isinstance(found["contradictions"], list)
    assert found["contradictions"][0]["image_id"] == image_id

    assert cli(capsys, "label", image_id[:12], "--value", "0", "-w", workspace).code == 0
    found = _status(capsys, workspace)
    assert (found["contradictory"], found["acceptable"]) == (0, _COUNT)


def test_status_of_nothing_says_how_to_start(tmp_path: Path, capsys: Captured) -> None:
    done = cli(capsys, "status", "-w", tmp_path / "none")
    assert (done.code, done.out) == (2, "")
    assert "There is no workspace at" in done.err
    assert "keshikaran import FOLDER --positive NAME" in done.err
    assert not (tmp_path / "none").exists()


# Which workspace


def test_workspace_comes_from_the_option_then_the_environment_then_the_current_folder(
    pictures: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pictures / "red" / "0000.png"
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KESHIKARAN_WORKSPACE", raising=False)
    done = cli(capsys, "import", image)
    assert (tmp_path / "keshikaran-workspace" / "catalogue.sqlite").is_file()
    assert done.err.splitlines()[-1] == "Next: keshikaran train"
    monkeypatch.setenv("KESHIKARAN_WORKSPACE", "from-environment")
    cli(capsys, "import", image)
    assert (tmp_path / "from-environment" / "catalogue.sqlite").is_file()
    cli(capsys, "import", image, "--workspace", "from-option")
    assert (tmp_path / "from-option" / "catalogue.sqlite").is_file()


def test_import_lists_what_it_skipped_and_keeps_what_training_found(
    tmp_path: Path, capsys: Captured
) -> None:
    folder, listed = tmp_path / "pictures", tmp_path / "w" / "skipped.csv"
    folder.mkdir()
    (folder / "good.png").write_bytes(encode(reddish(1)))
    words = ("import", folder, "--workspace", tmp_path / "w")
    assert cli(capsys, *words).code == 0
    assert not listed.exists()
    (folder / "bad.png").write_text("words")
    assert cli(capsys, *words).code == 3
    header, row = listed.read_text().splitlines()
    assert header == "path,stage,reason,detail"
    assert row.startswith(f"{folder}/bad.png,import,not_an_image,")
    listed.write_text(f"{header}\n/x/y.png,decode,corrupt,broken\n{row}\n")
    (folder / "bad.png").write_bytes(encode(reddish(2)))
    assert cli(capsys, *words).code == 0
    assert listed.read_text() == f"{header}\n/x/y.png,decode,corrupt,broken\n"
    listed.write_bytes(b"\xff")
    assert cli(capsys, *words).code == 0
    assert listed.read_text() == f"{header}\n"
