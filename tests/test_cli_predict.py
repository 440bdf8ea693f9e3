"""`keshikaran predict`, as typed."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_support import cli, process, talks_in_lines
from keshikaran.cli.predict import prediction_line
from keshikaran.hashing import image_id_of
from keshikaran.predictor import Predictor
from keshikaran.training import TrainingResult
from keshikaran.types import Prediction
from support import bluish, encode, reddish

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(trained: TrainingResult) -> Path:
    return trained.model_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that training never saw, and a file that is none. Do not change it."""
    root = tmp_path_factory.mktemp("uploads")
    (root / "more").mkdir()
    (root / ".hidden").mkdir()
    for name, data in {
        "a.png": encode(reddish(5000)),
        "b.jpg": encode(bluish(5000), "JPEG", quality=95),
        "more/c.webp": encode(reddish(5001), "WEBP", quality=95),
        "more/text.png": b"This is no picture.",
        ".hidden/d.png": b"never looked at",
        ".e.png": b"never looked at",
    }.items():
        (root / name).write_bytes(data)
    return root


def test_each_image_is_a_line_of_score_verdict_and_path(
    model: Path, folder: Path, capsys: Captured
) -> None:
    done = cli(capsys, "predict", folder / "a.png", folder / "b.jpg", "--model", model)
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert [line[1:] for line in lines] == [
        ["block", str(folder / "a.png")],
        ["pass", str(folder / "b.jpg")],
    ]
    expected = [Predictor.load(model).predict(folder / name).score for name in ("a.png", "b.jpg")]
    assert [float(line[0]) for line in lines] == pytest.approx(expected, abs=6e-5)


def test_last_line_of_talk_names_a_next_command(
    model: Path, folder: Path, capsys: Captured
) -> None:
    done = cli(capsys, "predict", folder / "a.png", "--model", model)
    assert done.err.count("\n") == 1
    assert done.err.startswith("Next: ")


def test_folder_is_read_in_order_of_names_and_what_is_no_image_ends_in_code_3(
    model: Path, folder: Path, capsys: Captured
) -> None:
    done = cli(capsys, "predict", folder, "--model", model)
    assert done.code == 3
    lines = [line.split(maxsplit=2) for line in done.out.splitlines()]
    assert [line[1] for line in lines] == ["block", "pass", "block", "undecided"]
    names = ["a.png", "b.jpg", "more/c.webp"]
    assert [line[2] for line in lines[:3]] == [str(folder / name) for name in names]
    assert lines[3][0] == "-"
    assert lines[3][2].startswith(f"{folder / 'more/text.png'}  (not_an_image: ")


def test_missing_file_is_undecided_never_passed(
    model: Path, folder: Path, capsys: Captured
) -> None:
    done = cli(capsys, "predict", folder / "gone.png", folder / "a.png", "--model", model)
    assert done.code == 3
    first, second = done.out.splitlines()
    assert first.startswith("-       undecided ")
    assert "(unreadable_file: No such file or directory)" in first
    assert " block " in second


def test_json_is_one_object_a_line(model: Path, folder: Path, capsys: Captured) -> None:
    done = cli(capsys, "predict", folder, "--model", model, "--json")
    assert (done.code, done.err) == (3, "")
    found = [json.loads(line) for line in done.out.splitlines()]
    assert all(
        list(item)
        == [
            *("path", "image_id", "score", "verdict", "reason", "model_id"),
            *("frames_total", "frames_scored", "source", "evidence"),
        ]
        for item in found
    )
    assert [item["frames_total"] for item in found] == [1, 1, 1, None]
    assert [item["verdict"] for item in found] == ["block", "pass", "block", "undecided"]
    assert found[0]["image_id"] == image_id_of((folder / "a.png").read_bytes())
    assert found[0]["reason"] is None
    assert found[3]["score"] is None
    assert found[3]["reason"].startswith("not_an_image: ")
    assert {item["model_id"] for item in found} == {model.stem}


def test_quiet_prints_scores_only(model: Path, folder: Path, capsys: Captured) -> None:
    done = cli(capsys, "predict", folder, "-q", "--model", model)
    assert (done.code, done.err) == (3, "")
    *scores, last = done.out.split("\n")[:-1]
    assert [float(score) >= 0.5 for score in scores] == [True, False, True]
    assert all(len(score) == 6 for score in scores)
    assert last == "-"


def test_list_of_paths_on_standard_input(
    model: Path, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{folder / 'b.jpg'}\r\n\n{folder / 'gone.png'}\n{folder / 'a.png'}"
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    done = cli(capsys, "predict", "-", "--model", model)
    assert done.code == 3
    assert [line.split()[1] for line in done.out.splitlines()] == ["pass", "undecided", "block"]


def test_several_kinds_of_arguments_keep_their_order(
    model: Path, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{folder / 'a.png'}\n"))
    words = (folder / "b.jpg", "-", folder / "more")
    done = cli(capsys, "predict", *words, "--json", "--model", model)
    paths = [json.loads(line)["path"] for line in done.out.splitlines()]
    names = ["b.jpg", "a.png", "more/c.webp", "more/text.png"]
    assert paths == [str(folder / name) for name in names]


def test_empty_folder_says_so(model: Path, tmp_path: Path, capsys: Captured) -> None:
    done = cli(capsys, "predict", tmp_path, "--model", model)
    assert (done.code, done.out) == (0, "")
    assert "No image was given" in done.err


@pytest.mark.parametrize("name", ["", "a" * 300, "nul\0byte.png"])
def test_impossible_file_name_is_undecided(name: str, model: Path, capsys: Captured) -> None:
    done = cli(capsys, "predict", name, "--json", "--model", model)
    assert done.code == 3
    (line,) = done.out.splitlines()
    assert json.loads(line)["reason"].startswith("unreadable_file: ")


def test_control_characters_in_names_never_reach_the_terminal(
    model: Path, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    good, bad = "no\x1b[31mtes\n.png", "right-to-left\u202egnp.exe"
    shutil.copy(folder / "a.png", tmp_path / good)
    (tmp_path / bad).write_text("no picture")
    done = cli(capsys, "predict", tmp_path, "--model", model)
    assert done.code == 3
    assert talks_in_lines(done.out)
    assert "no\\x1b[31mtes\\n.png" in done.out
    assert "right-to-left\\u202egnp.exe" in done.out
    done = cli(capsys, "predict", tmp_path, "--json", "--model", model)
    assert "\x1b" not in done.out
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [Path(item["path"]).name for item in found] == [good, bad]


def test_reason_with_control_characters_is_escaped_too() -> None:
    prediction = Prediction("a.png", None, None, "undecided", "corrupt: \x07bell", "m")
    assert prediction_line(prediction) == "-       undecided  a.png  (corrupt: \\x07bell)"


def test_latest_model_of_the_workspace_is_used(
    trained: TrainingResult, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(trained.model_path, tmp_path / "models" / f"{trained.model_id}.onnx")
    (tmp_path / "models" / "20000101T000000Z-00000000.onnx").write_bytes(b"older, and broken")
    done = cli(capsys, "predict", folder / "a.png", "--json", "-w", tmp_path)
    assert done.code == 0
    assert json.loads(done.out)["model_id"] == trained.model_id


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_give_the_same_lines(
    engine: str, model: Path, folder: Path, capsys: Captured
) -> None:
    usual = cli(capsys, "predict", folder, "--json", "--model", model)
    other = cli(capsys, "predict", folder, "--json", "--model", model, "--engine", engine)
    for one, two in zip(usual.out.splitlines(), other.out.splitlines(), strict=True):
        first, second = json.loads(one), json.loads(two)
        assert first.pop("score") == pytest.approx(second.pop("score"), abs=1e-3)
        assert first == second


# Models that are none


def test_without_a_model_it_says_how_to_get_one(
    folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    done = cli(capsys, "predict", folder / "a.png", "-w", tmp_path / "empty")
    assert (done.code, done.out) == (1, "")
    assert f"There is no model in {tmp_path / 'empty'}." in done.err
    assert "keshikaran train" in done.err
    assert not (tmp_path / "empty").exists()


def test_file_that_is_no_bundle_is_named(
    folder: Path, backbone_file: Path, tmp_path: Path, model: Path, capsys: Captured
) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(model.read_bytes()[:-50])
    for path, words in (
        (backbone_file, "is not a keshikaran model"),
        (folder / "a.png", "is not a keshikaran model"),
        (tmp_path / "gone.onnx", "cannot be read: No such file or directory."),
        (folder, "cannot be read: it is not a plain file."),
        (cut, "cut.onnx"),
    ):
        done = cli(capsys, "predict", folder / "a.png", "--model", path)
        assert (done.code, done.out) == (1, "")
        assert str(path) in done.err
        assert words in done.err
        assert talks_in_lines(done.err)


def test_folder_that_cannot_be_read_is_named(
    model: Path, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def locked(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "more":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)
    done = cli(capsys, "predict", folder, "--model", model)
    assert done.code == 1
    assert f"The folder {folder / 'more'} cannot be read: Permission denied." in done.err


# As a process of its own


def test_process_keeps_results_and_talk_apart(model: Path, folder: Path) -> None:
    done = process("predict", folder / "a.png", "--model", model)
    assert done.code == 0
    assert done.out.count("\n") == 1
    assert " block " in done.out
    assert done.err.startswith("Next: ")


def test_names_that_are_no_text_pass_through_a_strict_process(
    model: Path, folder: Path, tmp_path: Path
) -> None:
    name = b"\xff\xfe\xe4.png"
    path = tmp_path / os.fsdecode(name)
    shutil.copy(folder / "a.png", path)
    done = process(
        "predict", "-", "--model", model,
        stdin=os.fsencode(path) + b"\n",
        environment={"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.code == 0
    assert " block " in done.out
    assert "\\udcff\\udcfe\\udce4.png" in done.out
    assert "Traceback" not in done.err


def test_reader_that_stops_early_causes_no_traceback(model: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "keshikaran", "predict", "-", "--model", str(model)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        running.stdout.close()
        _, err = running.communicate(f"{folder / 'a.png'}\n".encode() * 500, timeout=60)
    assert running.returncode != 0
    assert b"Traceback" not in err


def test_interrupt_ends_the_process_with_130_and_a_word(model: Path, folder: Path) -> None:
    """The list on standard input stays open, so that the process waits for more.

    A shell's background jobs ignore the signal, and pass that on: the tests may be such a job.
    """
    command = [sys.executable, "-u", "-m", "keshikaran", "predict", "-", "--model", str(model)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(f"{folder / 'a.png'}\n".encode() * 200)
        running.stdin.flush()
        assert b" block " in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert b"Interrupted." in err
    assert b"Traceback" not in err


def test_bars_are_drawn_on_a_terminal_only(model: Path, folder: Path) -> None:
    """Talk goes to a terminal, results to a file: then there is room for a bar."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "keshikaran", "predict", str(folder), "--model", str(model)]
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=follower,
            check=False,
            timeout=60,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )
        shown = os.read(leader, 65_536).decode()
    finally:
        os.close(leader)
        os.close(follower)
    assert done.returncode == 3
    assert done.stdout.count(b"\n") == 4
    assert b"\x1b" not in done.stdout
    assert "predict" in shown
    assert "4/4" in shown
    assert "Next: " in shown


def test_isolation_changes_no_line_and_off_is_said(
    model: Path, folder: Path, capsys: Captured
) -> None:
    apart = cli(capsys, "predict", folder, "--model", model)
    here = process("predict", folder, "--model", model, "--isolation", "off")
    assert (apart.code, apart.out) == (here.code, here.out)
    assert "isolation off" in here.err
    assert "isolation" not in apart.err
    assert talks_in_lines(here.err)
