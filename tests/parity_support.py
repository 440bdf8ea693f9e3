"""The same files, asked about in every way there is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cli_support import cli
from command_support import post, serve_command
from keshikaran import Client, Predictor
from serve_support import MULTIPART, form

TOLERANCE = 1e-3
MOST_FILES = 16


def every_way(
    files: Mapping[str, Path], model: Path, capsys: pytest.CaptureFixture[str], *options: str | Path
) -> dict[str, list[dict[str, Any]]]:
    """What each way answers about each file, in order, as `predict --json` has it.

    Args:
        files: by the names that are sent in multipart.
        model: the model file.
        capsys: of the test.
        options: for `predict` and `serve`; `--memory FILE` is passed on to Python too.
    """
    paths = list(files.values())
    data = {name: path.read_bytes() for name, path in files.items()}
    memory = options[1] if options[:1] == ("--memory",) else None
    words = ("--model", model, *options)
    lines = cli(capsys, "predict", *paths, *words, "--json").out.splitlines()
    with Predictor.load(model, memory=memory) as predictor:
        by_python = [predictor.predict(path).to_dict() for path in paths]
        by_bytes = [each.to_dict() for each in predictor.predict_many(data.values())]
    with serve_command(*words) as url, Client(url) as client:
        by_client = [client.predict(path).to_dict() for path in paths]
        by_clients_many = [each.to_dict() for each in client.predict_many(data.values())]
        address = url + "/v1/predict"
        raw = [post(address, each, {"content-type": "image/png"}) for each in data.values()]
        together = [
            said
            for some in batched(data.items())
            for said in post(address, form(*some), MULTIPART)["predictions"]
        ]
    return {
        "python, path": by_python,
        "python, bytes": by_bytes,
        "command line": [json.loads(line) for line in lines],
        "client, path": by_client,
        "client, many": by_clients_many,
        "HTTP, raw": [each.get("prediction", each) for each in raw],
        "HTTP, multipart": together,
    }


def batched(files: Iterable[tuple[str, bytes]]) -> list[list[tuple[str, bytes]]]:
    """As many files a request as a server takes."""
    left = list(files)
    return [left[start : start + MOST_FILES] for start in range(0, len(left), MOST_FILES)]


def check_parity(answers: Mapping[str, list[dict[str, Any]]], count: int) -> None:
    """Every way says the same, but for the name that it was given."""
    assert {len(said) for said in answers.values()} == {count}
    expected = answers["python, path"]
    for way, said in answers.items():
        for found, wanted in zip(said, expected, strict=True):
            assert list(found) == list(wanted), way
            found, wanted = dict(found), dict(wanted)
            score = wanted.pop("score")
            about = score if score is None else pytest.approx(score, abs=TOLERANCE)
            assert found.pop("score") == about, way
            for each in (found, wanted):
                del each["path"]
                if each["evidence"] is not None and each["evidence"]["similarity"] is not None:
                    each["evidence"] = {
                        name: pytest.approx(value, abs=TOLERANCE)
                        if isinstance(value, float)
                        else value
                        for name, value in each["evidence"].items()
                    }
            assert found == wanted, way
