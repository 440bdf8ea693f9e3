"""Every example of docs/clients.md is run, against a server, as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle_support import packed
from serve_support import BLUE, RED, Running

PAGE = Path(__file__).parent.parent / "docs" / "clients.md"
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
TOKEN = "a-token-of-the-test"
EXPECTED = [
    r"0\.\d+ pass",
    r"pass\ndog\.jpg pass None\n- undecided not_an_image: .*\nTrue Thresholds\(.*\)",
    r"pass",
    r'\{"path":"-".*"verdict":"pass".*\}',
    r"pass dog\.jpg\nblock broken\.jpg",
    r'\{.*"model_id".*\}',
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and the images that the page names."""
    folder = tmp_path_factory.mktemp("clients")
    for name, data in (("model.onnx", packed()), ("dog.jpg", RED), ("broken.jpg", BLUE)):
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def running(place: Path) -> Iterator[Running]:
    with Running(place / "model.onnx", place / "log", drain_s=0) as server:
        yield server


def test_the_page_has_these_examples() -> None:
    assert [kind for kind, _ in FENCES] == ["python"] * 3 + ["sh"] * 3


@pytest.mark.parametrize("number", range(len(EXPECTED)))
def test_example_does_what_the_page_says(number: int, place: Path, running: Running) -> None:
    kind, text = FENCES[number]
    assert "127.0.0.1:8000" in text
    code = text.replace("127.0.0.1:8000", f"127.0.0.1:{running.port}")
    command = [sys.executable, "-W", "error", "-c", code]
    if kind == "sh":
        assert shutil.which("curl"), "the examples need curl"
        command = ["sh", "-euc", code]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        env={**os.environ, "TOKEN": TOKEN},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(EXPECTED[number], done.stdout.strip(), re.DOTALL), done.stdout


def test_the_token_is_kept_from_other_users_and_reaches_the_server(place: Path) -> None:
    (place / "tokens").write_text(TOKEN)
    model, log = place / "model.onnx", place / "guarded.log"
    with Running(model, log, drain_s=0, token_file=str(place / "tokens")) as server:
        code = FENCES[-1][1].replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        for token, answer in ((TOKEN, '"model_id"'), ("wrong", '"unauthorized"')):
            said = subprocess.run(
                ["sh", "-euc", code],
                capture_output=True,
                text=True,
                check=True,
                cwd=place,
                env={**os.environ, "TOKEN": token},
            )
            assert answer in said.stdout
    assert (place / "curl.conf").stat().st_mode & 0o077 == 0
