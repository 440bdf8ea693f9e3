"""Options of the split: the same for every command that deals images anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from keshikaran.split import SplitScheme, scheme_from_option


@dataclass(frozen=True)
class SplitOptions:
    """The options, as they were typed."""

    scheme: Annotated[
        str | None,
        typer.Option(
            metavar="hash|seed|FILE.csv",
            help="How sides are chosen. Default: as before in this workspace, else hash.",
            show_default=False,
        ),
    ] = None
    salt: Annotated[str, typer.Option(help="Another salt, another split (scheme hash).")] = ""
    balance: Annotated[
        bool,
        typer.Option(
            "--balance",
            help="Cut the larger class of validation and test to the smaller one's size.",
        ),
    ] = False
    no_guard: Annotated[
        bool,
        typer.Option(
            "--no-guard",
            help="Deal images one by one, copies of test images into train too; for comparison.",
        ),
    ] = False

    @property
    def chosen(self) -> SplitScheme | None:
        """The scheme as typed; None when nothing was typed."""
        if self == SplitOptions():
            return None
        return scheme_from_option(
            self.scheme or "hash", salt=self.salt, balance=self.balance, guard=not self.no_guard
        )
