"""Lists of images that a person goes through: what commands that write them share."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from keshikaran.cli.console import printable, say


def say_written(paths: Iterable[Path]) -> None:
    """Tell where lists and pages are."""
    for path in paths:
        say(f"Written: {printable(str(path))}")


def fill_in(csv: Path) -> str:
    """What to do with a list whose column is to be filled in."""
    words = printable(shlex.quote(str(csv)))
    return f"fill in the column correct, then keshikaran label --from {words}"
