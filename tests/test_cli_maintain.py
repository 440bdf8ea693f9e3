"""`keshikaran fsck`, `gc` and `rebuild`, as typed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cli_support import cli, process, talks_in_lines
from keshikaran.hashing import image_id_of
from store_support import stored_files
from support import write_classes

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "pictures", 4)


@pytest.fixture
def workspace(tmp_path: Path, pictures: Path, capsys: Captured) -> Path:
    folder = tmp_path / "ws"
    assert cli(capsys, "import", pictures, "--positive", "red", "-w", folder).code == 0
    return folder


@pytest.fixture
def damaged(workspace: Path) -> str:
    """The id of an image whose file is another by one bit."""
    path = stored_files(workspace)[2]
    data = bytearray(path.read_bytes())
    data[100] ^= 4
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)
    return path.stem


def test_a_whole_store(workspace: Path, capsys: Captured) -> None:
    done = cli(capsys, "fsck", "-w", workspace)
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        "8 images in the catalogue; 8 stored files, none of them read.",
        "Nothing is lost, nothing is left over.",
        f"Next: keshikaran status --workspace {workspace}",
    ]
    assert "8 of them read" in cli(capsys, "fsck", "--full", "-w", workspace).err
    assert "3 of them read" in cli(capsys, "fsck", "--sample", "3", "-w", workspace).err


def test_damage_is_named_with_what_to_do_and_exit_code_1(
    workspace: Path, damaged: str, pictures: Path, capsys: Captured
) -> None:
    done = cli(capsys, "fsck", "--full", "-w", workspace)
    assert done.code == 1
    (line,) = done.out.splitlines()
    assert line.startswith(f"damaged_object  {damaged}  ")
    assert "1 × damaged_object: Import the original again" in done.err
    assert "Damage: 1." in done.err
    again = cli(capsys, "import", pictures, "--positive", "red", "-w", workspace)
    assert again.code == 0
    assert "Repaired, because the originals were here: 1 damaged images." in again.err
    assert cli(capsys, "fsck", "--full", "-w", workspace).code == 0


def test_fsck_for_machines(workspace: Path, damaged: str, capsys: Captured) -> None:
    (workspace / ".tmp-x").touch()
    done = cli(capsys, "fsck", "--full", "--json", "-w", workspace)
    assert (done.code, done.err) == (1, "")
    told = json.loads(done.out)
    assert {name: told[name] for name in ("images", "objects", "hashed", "clean")} == {
        "images": 8,
        "objects": 8,
        "hashed": 8,
        "clean": False,
    }
    assert [(item["kind"], item["subject"]) for item in told["findings"]] == [
        ("damaged_object", damaged),
        ("temporary_file", ".tmp-x"),
    ]


def test_leftovers_alone_are_no_damage(workspace: Path, capsys: Captured) -> None:
    (workspace / ".tmp-x").touch()
    done = cli(capsys, "fsck", "-w", workspace)
    assert done.code == 0
    assert done.out == "temporary_file  .tmp-x  0 bytes\n"
    assert "keshikaran gc" in done.err
    assert "Nothing is lost." in done.err


def test_full_and_sample_together_make_no_sense(workspace: Path, capsys: Captured) -> None:
    done = cli(capsys, "fsck", "--full", "--sample", "3", "-w", workspace)
    assert done.code == 2
    assert "--sample changes nothing beside --full" in done.err


@pytest.mark.parametrize("words", [["fsck"], ["gc"], ["rebuild"], ["rebuild", "--journal"]])
def test_a_folder_without_a_workspace_is_wrong_usage(
    words: list[str], tmp_path: Path, capsys: Captured
) -> None:
    done = cli(capsys, *words, "-w", tmp_path / "nowhere")
    assert done.code == 2
    assert "There is no workspace at" in done.err
    assert not (tmp_path / "nowhere").exists()


def test_gc_says_what_it_removes(
    workspace: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / ".tmp-old").write_bytes(b"12345")
    done = cli(capsys, "gc", "-w", workspace)
    assert (done.code, done.out) == (0, "")
    assert "1 are less than an hour old and stay." in done.err
    later = time.time() + 7200
    monkeypatch.setattr("keshikaran.store.gc.time.time", lambda: later)
    dry = cli(capsys, "gc", "--dry-run", "-w", workspace)
    assert dry.out == ".tmp-old\n"
    assert "1 temporary files and 0 objects without a row would be removed: 5 bytes." in dry.err
    assert f"Next: keshikaran gc --workspace {workspace}" in dry.err
    told = json.loads(cli(capsys, "gc", "--json", "-w", workspace).out)
    assert (told["temporary_files"], told["removed"], told["dry_run"]) == (1, [".tmp-old"], False)
    assert not (workspace / ".tmp-old").exists()


def test_rebuild_says_what_it_found(workspace: Path, capsys: Captured) -> None:
    (workspace / "catalogue.sqlite").unlink()
    lines = (workspace / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (workspace / "journal.jsonl").write_bytes(b"".join([lines[0], b"?" + lines[1], *lines[2:]]))
    stored_files(workspace)[0].unlink()
    done = cli(capsys, "rebuild", "-w", workspace)
    assert done.code == 0
    assert done.out.splitlines()[0] == "lost  journal.jsonl: line 2 is damaged"
    assert "A new catalogue: 8 images, 1 transactions." in done.err or "7 images" in done.err
    assert "kept as journal.jsonl.before-" in done.err
    assert f"Next: keshikaran fsck --full --workspace {workspace}" in done.err


def test_rebuild_of_the_journal(workspace: Path, capsys: Captured) -> None:
    (workspace / "journal.jsonl").unlink()
    assert cli(capsys, "fsck", "-w", workspace).code == 1
    told = json.loads(cli(capsys, "rebuild", "--journal", "--json", "-w", workspace).out)
    assert (told["images"], told["kept"]) == (8, [])
    done = cli(capsys, "rebuild", "--journal", "-w", workspace)
    assert "A new journal: 8 images" in done.err
    assert cli(capsys, "fsck", "--full", "-w", workspace).code == 0


def test_rebuild_tells_of_images_without_labels_or_files(workspace: Path, capsys: Captured) -> None:
    for name in ("catalogue.sqlite", "journal.jsonl"):
        (workspace / name).unlink()
    done = cli(capsys, "rebuild", "-w", workspace)
    assert done.code == 0
    assert "8 images were found without a line in the journal" in done.err
    stored_files(workspace)[0].unlink()
    (workspace / "catalogue.sqlite").unlink()
    assert "1 images have no stored file" in cli(capsys, "rebuild", "-w", workspace).err


def test_the_three_commands_as_processes(workspace: Path, damaged: str) -> None:
    done = process("fsck", "--full", "-w", workspace)
    assert done.code == 1
    assert damaged in done.out
    assert talks_in_lines(done.err)
    for words in (["gc"], ["rebuild"]):
        done = process(*words, "-w", workspace)
        assert done.code == 0
        assert talks_in_lines(done.err)


def test_an_interrupted_imports_object_is_called_what_it_is(
    workspace: Path, capsys: Captured
) -> None:
    name = f"{image_id_of(b'x')}.png"
    place = workspace / "objects" / name[:2] / name[2:4]
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(b"x")
    done = cli(capsys, "fsck", "-w", workspace)
    assert done.code == 0
    assert done.out.startswith("unreferenced_object  objects/")


def test_a_lost_catalogue_is_damage_and_says_how_to_get_it_back(
    workspace: Path, capsys: Captured
) -> None:
    (workspace / "catalogue.sqlite").unlink()
    done = cli(capsys, "fsck", "-w", workspace)
    assert (done.code, done.out) == (
        1,
        "damaged_catalogue  catalogue.sqlite  catalogue.sqlite is missing.\n",
    )
    assert "keshikaran rebuild" in done.err
    assert not (workspace / "catalogue.sqlite").exists()
    other = cli(capsys, "status", "-w", workspace)
    assert other.code == 1
    assert f"Make it again: keshikaran rebuild --workspace {workspace}" in other.err
    assert cli(capsys, "rebuild", "-w", workspace).code == 0
    assert cli(capsys, "status", "-w", workspace).code == 0
