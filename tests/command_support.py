"""`keshikaran serve` as people start it, and plain HTTP requests to it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def serve_command(*words: str | Path) -> Iterator[str]:
    """Run `keshikaran serve WORDS…` on a free port; gives its address, and ends it gently.

    What it says for people is checked: its address, and a line with curl.
    """
    command = [sys.executable, "-m", "keshikaran", "serve", *map(str, words)]
    command += ["--port", "0", "--drain-s", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        try:
            lines: list[str] = []
            while not (lines and lines[-1].startswith("  curl ")):
                lines.append(running.stderr.readline())
                assert lines[-1], "".join(lines)
            found = re.search(r"http://127\.0\.0\.1:\d+", "".join(lines))
            assert found is not None
            assert found.group() + "/v1/predict" in lines[-1]
            yield found.group()
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=60) == 0
        finally:
            running.kill()


def post(url: str, body: bytes, headers: dict[str, str]) -> Any:
    """The JSON that comes back, with whatever status."""
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return json.loads(error.read())
