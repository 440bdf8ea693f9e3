"""Baselines run in environments of their own: make one, run a script in it, read its JSON.

Nothing a baseline needs is ever installed beside the package. The environments lie under
`.venvs/` at the repository root, which git ignores, and are built from
`requirements-<name>.txt` in this folder.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parents[1] / ".venvs"
MARKER = "installed-requirements.txt"
TAIL_CHARACTERS = 2000


class BaselineError(RuntimeError):
    """A baseline's environment could not be made, or its script gave no result."""


def ensure_environment(name: str) -> Path:
    """Return the Python of the environment `name`, building the environment if needed.

    It is built when it is missing, when an earlier build stopped half-way, and when its
    requirements file has changed since. Building needs pip and a package index, and talks on
    standard error only.

    Args:
        name: `<name>` of a `requirements-<name>.txt` in this folder.

    Returns:
        The environment's Python executable.

    Raises:
        BaselineError: There is no such requirements file, or venv or pip failed.
    """
    requirements = HERE / f"requirements-{name}.txt"
    if not requirements.is_file():
        known = sorted(
            p.stem.removeprefix("requirements-") for p in HERE.glob("requirements-*.txt")
        )
        raise BaselineError(f"no environment {name!r}: there are {', '.join(known)}")
    folder = ENVIRONMENTS / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = folder / MARKER
    wanted = requirements.read_bytes()
    if python.exists() and marker.is_file() and marker.read_bytes() == wanted:
        return python
    print(f"building the environment {folder} …", file=sys.stderr, flush=True)
    _step([sys.executable, "-m", "venv", "--clear", str(folder)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _step([*pip, "--requirement", str(requirements)])
    shutil.copyfile(requirements, marker)  # last: without it the build counts as unfinished
    return python


def run_json(python: Path, script: Path, args: list[str]) -> dict[str, Any]:
    """Run a script and return the JSON object on the last line of its standard output.

    The script's standard error goes straight through to ours.

    Args:
        python: The executable to run it with, from `ensure_environment`.
        script: The script.
        args: Its arguments.

    Returns:
        The object.

    Raises:
        BaselineError: The script could not be started or failed, or its last line is no object.
    """
    command = [str(python), str(script), *args]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, encoding="utf-8", check=False, env=_environ()
        )
    except OSError as error:
        raise BaselineError(f"cannot start {shlex.join(command)}: {error}") from error
    if done.returncode != 0:
        raise BaselineError(_failure(command, _how_it_ended(done.returncode), done.stdout))
    lines = done.stdout.strip().splitlines()
    try:
        result = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        result = None
    if not isinstance(result, dict):
        how = "ended well, but its last line of output is not a JSON object"
        raise BaselineError(_failure(command, how, done.stdout))
    return result


def _step(command: list[str]) -> None:
    """Run one step of building, its output on standard error."""
    done = subprocess.run(command, stdout=sys.stderr, check=False, env=_environ())
    if done.returncode != 0:
        raise BaselineError(_failure(command, _how_it_ended(done.returncode), ""))


def _environ() -> dict[str, str]:
    """Return our environment less what would leak our own packages into the child."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "PYTHONIOENCODING": "utf-8"}


def _how_it_ended(returncode: int) -> str:
    """Say in words what an exit status other than 0 means."""
    if returncode >= 0:
        return f"failed with exit status {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def _failure(command: list[str], how: str, output: str) -> str:
    """Compose the message: which command, how it ended, the end of what it printed."""
    tail = output.strip()[-TAIL_CHARACTERS:]
    said = f"\nthe end of its output:\n{tail}" if tail else " (it printed nothing)"
    return f"{shlex.join(command)}\n{how}; its messages are above{said}"
