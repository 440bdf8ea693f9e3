"""What goes wrong on the command line: exit codes, plain words, a traceback only when asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cli_support import cli, process, talks_in_lines
from keshikaran.cli import main as entry
from keshikaran.cli.console import TerminalProgress, printable, say
from keshikaran.cli.options import workspace_words
from keshikaran.errors import StoreError
from keshikaran.store import Store
from keshikaran.version import __version__
from support import encode, reddish, write_classes

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("in"), 2)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is empty, and no workspace comes from the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KESHIKARAN_WORKSPACE", raising=False)


@pytest.fixture
def empty_workspace() -> None:
    """A workspace without images in the current folder."""
    Store(Path("keshikaran-workspace")).close()


# Help and version


def test_version(capsys: Captured) -> None:
    done = cli(capsys, "--version")
    assert (done.code, done.out, done.err) == (0, f"keshikaran {__version__}\n", "")


def test_help_lists_the_commands_in_the_order_of_the_way(capsys: Captured) -> None:
    done = cli(capsys, "--help")
    assert done.code == 0
    words = " ".join(done.out.split())
    assert "import → store → label → split → featurize → fit → evaluate → bundle → predict" in words
    order = ["demo", "import", "label", "split", "link", "status", "train", "predict"]
    rows = [line.strip(" │").split() for line in done.out.splitlines()]
    assert [row[0] for row in rows if row and row[0] in order] == order


@pytest.mark.parametrize("command", ["demo", "import", "label", "split", "link", "train"])
def test_each_command_has_help(command: str, capsys: Captured) -> None:
    for option in ("--help", "-h"):
        done = cli(capsys, command, option)
        assert done.code == 0
        assert "--workspace" in done.out


def test_nothing_typed_shows_the_help(capsys: Captured) -> None:
    done = cli(capsys)
    assert done.code == 2
    assert "keshikaran demo" in " ".join((done.out + done.err).split())


# Wrong usage ends in code 2 before anything is done


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("bogus", "No such command"),
        ("train --bogus", "No such option"),
        ("predict", "Missing argument"),
        ("label x", "Missing option"),
        ("train --precision int8", "int8"),
        ("train --recipe magic", "magic"),
        ("train --resize bend", "bend"),
        ("predict x --engine steam", "steam"),
        ("import x --label 2", "--label"),
        ("demo --count 20", "--count"),
        ("predict x --quiet --json", "--quiet and --json exclude each other."),
        ("train --scheme alphabet", "--scheme alphabet is unknown."),
        ("split --scheme seed --salt x", "--salt changes nothing under --scheme seed."),
        ("split --scheme seed --balance", "--balance changes nothing under --scheme seed."),
        ("split --scheme a.csv --balance", "--balance changes nothing under --scheme file."),
        ("train --positive red", "--positive changes nothing without a folder"),
        ("train --media-dir .", "--media-dir changes nothing without a label.csv."),
        ("import PICTURES --label 1", "--label changes nothing without single files."),
        ("import PICTURES --media-dir .", "--media-dir changes nothing without a label.csv."),
        ("import PICTURES/red/0000.png --positive red", "--positive changes nothing"),
        ("import label.csv", "Add --media-dir FOLDER."),
        ("import PICTURES --positive green", "Folders there: blue, red."),
        ("status", "There is no workspace at keshikaran-workspace."),
    ],
)
def test_wrong_usage(
    words: str, expected: str, pictures: Path, tmp_path: Path, capsys: Captured
) -> None:
    done = cli(capsys, *words.replace("PICTURES", str(pictures)).split())
    assert (done.code, done.out) == (2, "")
    assert expected in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.glob("*/models")) == []


# Failure ends in code 1, in words


@pytest.mark.usefixtures("empty_workspace")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("import gone", ("gone is no file.", "Check the path.")),
        ("import gone.csv --media-dir .", ("gone.csv cannot be read", "Check the path")),
        ("split --scheme gone.csv", ("gone.csv cannot be read", "Check the path")),
        ("predict x", ("There is no model in keshikaran-workspace.", "keshikaran train")),
        ("train", ("There are no labelled images.", "--positive NAME")),
        ("train --backbone gone.onnx", ("The backbone gone.onnx cannot be read", "Check")),
    ],
)
def test_failure_says_what_and_what_to_do(
    words: str, expected: tuple[str, str], capsys: Captured
) -> None:
    done = cli(capsys, *words.split())
    assert (done.code, done.out) == (1, "")
    what, hint = done.err.splitlines()[-2:]
    assert what.startswith("keshikaran: ")
    assert expected[0] in what
    assert hint.startswith("  ")
    assert expected[1] in hint


def test_workspace_that_is_a_file_is_named(
    pictures: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "taken").write_text("a file")
    done = cli(capsys, "import", pictures, "-w", "taken")
    assert (done.code, done.out) == (1, "")
    assert "taken" in done.err
    assert talks_in_lines(done.err)


def test_catalogue_that_is_no_database_is_named(
    pictures: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "catalogue.sqlite").write_bytes(b"This is no database. " * 100)
    done = cli(capsys, "import", pictures, "-w", "ws")
    assert done.code == 1
    assert "ws/catalogue.sqlite is damaged or is no keshikaran database" in done.err


@pytest.mark.usefixtures("empty_workspace")
@pytest.mark.parametrize("words", ["import LONG", "label LONG --value 1", "train LONG"])
def test_name_too_long_for_the_file_system_is_no_traceback(words: str, capsys: Captured) -> None:
    done = cli(capsys, *words.replace("LONG", "a" * 300).split())
    assert done.code in {1, 2}
    assert "aaa" in done.err
    assert talks_in_lines(done.err)
    assert "unexpected" not in done.err


# Tracebacks


def test_debug_shows_the_traceback_wherever_it_stands(capsys: Captured) -> None:
    for words in (["--debug", "predict", "x"], ["predict", "x", "--debug"]):
        done = cli(capsys, *words)
        assert (done.code, done.out) == (1, "")
        assert "Traceback (most recent call last)" in done.err
        assert "BundleError" in done.err
        assert "keshikaran: There is no model" in done.err
    assert "Traceback" not in cli(capsys, "predict", "x").err


@pytest.mark.usefixtures("empty_workspace")
def test_defect_is_told_in_words_and_its_traceback_only_when_asked(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        msg = "what nobody thought of: \x1b[31m"
        raise ZeroDivisionError(msg)

    monkeypatch.setattr("keshikaran.cli.data.Store", broken)
    done = cli(capsys, "status")
    assert (done.code, done.out) == (1, "")
    assert talks_in_lines(done.err)
    assert "ZeroDivisionError: what nobody thought of: \\x1b[31m" in done.err
    assert "--debug" in done.err
    done = cli(capsys, "status", "--debug")
    assert done.code == 1
    assert "Traceback" in done.err
    assert "in broken" in done.err


@pytest.mark.usefixtures("empty_workspace")
def test_error_text_with_control_characters_is_escaped(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("The disk is full: \x1b]0;title\x07.png", "Free some :fire: [b]space[/b]")

    monkeypatch.setattr("keshikaran.cli.data.Store", full)
    done = cli(capsys, "status")
    assert done.err.splitlines() == [
        "keshikaran: The disk is full: \\x1b]0;title\\x07.png",
        "  Free some :fire: [b]space[/b]",
    ]


# Interruption


def test_interrupt_during_training_ends_in_130(
    tmp_path: Path, backbone_file: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    write_classes(tmp_path / "in", 45)
    monkeypatch.setattr("keshikaran.preparation.featurize", interrupted)
    done = cli(capsys, "train", "in", "--positive", "red", "--backbone", backbone_file)
    assert (done.code, done.out) == (130, "")
    assert "Interrupted. What was done is kept; run the same command again to go on." in done.err
    assert talks_in_lines(done.err)
    assert not (tmp_path / "keshikaran-workspace" / "models").exists()
    monkeypatch.undo()
    words = ("train", "-w", tmp_path / "keshikaran-workspace", "--backbone", backbone_file)
    assert cli(capsys, *words, "--no-tensorboard").code == 0


# As a process of its own


def test_process_ends_with_the_same_codes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.png").write_bytes(encode(reddish(0)))
    (tmp_path / "in" / "empty.png").touch()
    for words, code in (
        ("--version", 0),
        ("predict in -w ws", 1),
        ("train --bogus", 2),
        ("import in -w ws", 3),
    ):
        done = process(*words.split(), cwd=tmp_path)
        assert done.code == code, words
        assert "Traceback" not in done.err


def test_terminal_that_has_few_letters_still_gets_its_answer(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "größe.png").write_bytes(encode(reddish(0)))
    (tmp_path / "in" / "leer-ü.png").touch()
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = process("import", "in", "-w", "ws", cwd=tmp_path, environment=ascii_only)
    assert done.code == 3
    assert "leer-\\xfc.png: empty_file" in done.err
    done = process("status", "-w", "ws", cwd=tmp_path, environment=ascii_only)
    assert done.code == 0
    assert "latest_model" in done.out


def test_script_that_pip_installs_is_the_same_command(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["keshikaran", "status", "--json"])
    with pytest.raises(SystemExit) as caught:
        entry.run()
    assert caught.value.code == 2
    assert "There is no workspace" in capsys.readouterr().err


# The small parts


def test_printable_keeps_text_and_escapes_everything_else() -> None:
    assert printable("plain, größe, 写真.png") == "plain, größe, 写真.png"
    assert printable("a\x00\x1b\n\u202e\ud800") == "a\\x00\\x1b\\n\\u202e\\ud800"


def test_say_is_one_line_whatever_its_length(capsys: Captured) -> None:
    say("word " * 100)
    assert capsys.readouterr().err.count("\n") == 1


def test_progress_off_a_terminal_is_silent(capsys: Captured) -> None:
    progress = TerminalProgress()
    with progress.task("import", 3) as task:
        task.advance()
        task.advance(2)
    assert capsys.readouterr() == ("", "")


def test_suggested_command_can_be_pasted_into_a_shell() -> None:
    assert workspace_words(None) == ""
    assert workspace_words(Path("plain")) == " --workspace plain"
    assert workspace_words(Path("my work")) == " --workspace 'my work'"


@pytest.mark.parametrize("words", ["label x --value 1", "split", "link out", "status"])
def test_mistyped_workspace_is_named_and_not_made(
    words: str, tmp_path: Path, capsys: Captured
) -> None:
    done = cli(capsys, *words.split(), "-w", "mistyped")
    assert (done.code, done.out) == (2, "")
    assert "There is no workspace at mistyped." in done.err
    assert not (tmp_path / "mistyped").exists()
