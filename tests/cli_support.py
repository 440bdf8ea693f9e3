"""Running the command line in tests: inside the process, or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from keshikaran.cli.main import main


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command line run left: exit code, results, talk."""

    code: int
    out: str
    err: str


def cli(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Outcome:
    """Run `keshikaran WORDS…` in this process."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return Outcome(code, captured.out, captured.err)


def process(
    *words: str | Path,
    stdin: bytes = b"",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run `python -m keshikaran WORDS…` as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "keshikaran", *map(str, words)],
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def talks_in_lines(err: str) -> bool:
    """Whether stderr holds plain lines: no traceback, no control characters, no bars."""
    return "Traceback" not in err and all(line.isprintable() for line in err.splitlines())
