"""Requests made up from the OpenAPI description, valid and not: is every answer in it?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stress.finding import Finding, Size
from stress.http_server import Server, started

_CASES = {"quick": 40, "full": 5_000}
_EXAMPLES = {"quick": 25, "full": 2_500}
"""Of each operation; those without parameters have one or two."""
_TOKEN = "0123456789abcdef0123456789abcdef"
_CONFIG = """
[checks.positive_data_acceptance]
# What the description cannot say: bytes that are no image (422), too many files in all (413).
expected-statuses = ["2xx", "401", "403", "404", "409", "413", "422"]

[[operations]]
include-name = "POST /v1/predict"
# The description calls each part `file`; the server takes files of any name.
checks.negative_data_rejection.expected-statuses = ["200", "4xx"]
"""


def run(size: Size) -> Finding:
    """Let Schemathesis ask, with all its checks, by both tokens."""
    with TemporaryDirectory(prefix="keshikaran-stress-") as name:
        folder = Path(name)
        tokens = folder / "tokens"
        tokens.write_text(_TOKEN + "\n", "ascii")
        with started(
            folder, token_file=str(tokens), admin_token_file=str(tokens), max_waiting=256
        ) as server:
            report, words = _ask(server, folder, size)
            answers = Counter(
                int(event["status"]) for event in server.events() if event["event"] == "request"
            )
    generated = int(report["test_cases"]["generated"])
    failures = [
        f"{found['title']}: {found['count']} of {', '.join(found['operations'])}"
        for found in report["failures"]
    ]
    failures += [f"not asked: {error}" for error in report["errors"]]
    if failures:
        failures.append(words[-8000:])
    if not report["complete"] or generated < _CASES[size]:
        failures.append(f"only {generated} cases")
    failures += [
        f"{count} answers with {status}"
        for status, count in answers.items()
        if status >= 500 or status == 0
    ]
    shown = ", ".join(f"{status} ({count:,})" for status, count in sorted(answers.items()))
    figures = {
        "operations": report["operations"]["tested"],
        "cases": generated,
        "answers": shown,
        "answers with 5xx": sum(count for status, count in answers.items() if status >= 500),
        "kinds of undocumented answers": len(report["failures"]),
    }
    return Finding("Is every answer the one that the OpenAPI description tells?", figures, failures)


def _ask(server: Server, folder: Path, size: Size) -> tuple[dict[str, Any], str]:
    """Schemathesis's report, and what it printed."""
    report, config = folder / "report.json", folder / "schemathesis.toml"
    config.write_text(_CONFIG, "ascii")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", f"{server.url}/openapi.json", "--header", f"Authorization: Bearer {_TOKEN}"),
        *("--max-examples", str(_EXAMPLES[size]), "--seed", "1", "--no-shrink"),
        *("--continue-on-failure", "--report", "json", "--report-json-path", str(report)),
        *("--suppress-health-check", "all", "--request-timeout", "30"),
        *(("--phases", "fuzzing") if size == "quick" else ()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    words = done.stdout + done.stderr
    if not report.exists():
        raise RuntimeError(words[-2000:])
    found: dict[str, Any] = json.loads(report.read_text("utf-8"))
    return found, words
