"""Commands whose options are fields of dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from keshikaran.cli.grouped import grouped


@dataclass(frozen=True)
class Box:
    """Some options."""

    width: Annotated[int, typer.Option(min=1)]
    height: Annotated[int, typer.Option("--tall", "-t", help="Upwards.")] = 2


@dataclass(frozen=True)
class Paint:
    """Others."""

    colour: Annotated[list[str] | None, typer.Option()] = None


@pytest.fixture
def app() -> typer.Typer:
    """A command with an argument, two groups and an option of its own."""
    made = typer.Typer()

    @made.command()
    @grouped
    def draw(
        names: list[str], box: Box, paint: Paint, quiet: Annotated[bool, typer.Option()] = False
    ) -> None:
        """Draw boxes."""
        typer.echo(f"{names} {box} {paint} {quiet}")

    return made


def test_each_field_is_an_option_and_comes_back_in_its_group(app: typer.Typer) -> None:
    words = ["a", "b", "--width", "3", "-t", "4", "--colour", "red", "--colour", "blue", "--quiet"]
    done = CliRunner().invoke(app, words)
    expected = "['a', 'b'] Box(width=3, height=4) Paint(colour=['red', 'blue']) True\n"
    assert (done.exit_code, done.output) == (0, expected)
    done = CliRunner().invoke(app, ["a", "--width", "1"])
    assert done.output == "['a'] Box(width=1, height=2) Paint(colour=None) False\n"


def test_a_field_without_a_default_must_be_given_and_limits_hold(app: typer.Typer) -> None:
    assert "--width" in CliRunner().invoke(app, ["a"]).output
    assert CliRunner().invoke(app, ["a"]).exit_code == 2
    assert CliRunner().invoke(app, ["a", "--width", "0"]).exit_code == 2


def test_help_has_the_commands_own_words_and_those_of_the_fields(app: typer.Typer) -> None:
    said = CliRunner().invoke(app, ["--help"]).output
    assert "Draw boxes." in said
    assert "Upwards." in said
