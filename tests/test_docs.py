"""The documents name everything that can be typed, and nothing that cannot."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from typer.main import get_command

from keshikaran.cli.main import app
from keshikaran.training import TrainingResult
from keshikaran.types import Prediction

_ROOT = Path(__file__).resolve().parent.parent
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_THE_WAY = "import → store → label → split → featurize → fit → evaluate → bundle → predict"
_HELP = {"--help", "-h"}


@cache
def _text() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in _PAGES)


@cache
def _reference() -> str:
    return (_ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")


def _commands() -> dict[str, Any]:
    group: Any = get_command(app)
    return dict(group.commands)


def _options() -> list[tuple[str, str]]:
    """Pairs of a command and one spelling of one of its options; "" for the program's own."""
    everything: list[tuple[str, Any]] = [("", get_command(app)), *_commands().items()]
    return [
        (name, spelling)
        for name, command in everything
        for parameter in command.params
        for spelling in (*parameter.opts, *parameter.secondary_opts)
        if spelling.startswith("-")
    ]


def _choices() -> list[tuple[str, str]]:
    """Pairs of a command and a value that one of its options takes from a closed list."""
    found: list[tuple[str, str]] = []
    for command in app.registered_commands:
        assert command.name is not None
        assert command.callback is not None
        for hint in get_type_hints(command.callback).values():
            for part in (hint, *get_args(hint)):
                if get_origin(part) is Literal:
                    found.extend((command.name, choice) for choice in get_args(part))
    return found


def _says(word: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def test_program_has_commands_and_options_to_document() -> None:
    assert {"demo", "import", "train", "predict"} <= set(_commands())
    assert {("train", "--positive"), ("predict", "-q"), ("", "--debug")} <= set(_options())
    assert {("train", "seed"), ("predict", "bf16"), ("predict", "openvino")} <= set(_choices())


@pytest.mark.parametrize("command", _commands())
def test_command_has_a_section_of_its_own(command: str) -> None:
    assert re.search(rf"^## `{command}\b", _reference(), re.MULTILINE)


@pytest.mark.parametrize(("command", "option"), _options())
def test_option_is_documented(command: str, option: str) -> None:
    assert _says(option, _text()), f"{command} {option} is in no document"


@pytest.mark.parametrize(("command", "choice"), _choices())
def test_choice_of_an_option_is_documented(command: str, choice: str) -> None:
    assert _says(choice, _reference()), f"{command}: {choice} is not explained"


def test_reference_names_no_option_that_does_not_exist() -> None:
    known = {option for _, option in _options()} | _HELP
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", _reference()))
    assert named <= known


def test_documents_name_no_command_that_does_not_exist() -> None:
    code = re.findall(r"```.*?```|`[^`\n]+`", _text(), re.DOTALL)
    named = {
        match for text in code for match in re.findall(r"(?:^|[`\n])keshikaran ([a-z-]+)\b", text)
    }
    assert {"train", "predict"} <= named <= set(_commands())


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130])
def test_exit_code_is_documented(code: int) -> None:
    assert re.search(rf"^\| {code} \| \w", _reference(), re.MULTILINE)


@pytest.mark.parametrize("verdict", ["pass", "review", "block", "undecided"])
def test_verdict_is_explained(verdict: str) -> None:
    assert re.search(rf"^\| `{verdict}` \| \w", _reference(), re.MULTILINE)


def test_keys_of_json_are_documented(trained: TrainingResult) -> None:
    keys = [*trained.to_dict(), *(field.name for field in fields(Prediction))]
    assert [key for key in keys if not _says(key, _reference())] == []


def test_the_way_is_told_in_the_same_words_everywhere() -> None:
    group: Any = get_command(app)
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    architecture = (_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for text in (readme, architecture, group.help):
        assert _THE_WAY in " ".join(text.split())


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_examples_of_predict_look_like_what_it_prints() -> None:
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^[01]\.\d{4}  (pass|review|block) +\S+$", readme, re.MULTILINE)
