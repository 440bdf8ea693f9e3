"""The report as JSON: it is what its schema says, and what the page shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from keshikaran.errors import StoreError
from keshikaran.report import AuditCounts, report_document, write_json_report
from keshikaran.store import Contradiction
from keshikaran.training import TrainingResult
from keshikaran.types import ImageId, Refusal
from report_support import content
from test_report_figures import CURVE

_SCHEMA = Path(__file__).resolve().parent.parent / "docs" / "report-schema.json"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def _errors(schema: dict[str, Any], document: object) -> list[str]:
    found = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in found]


def test_report_of_a_training_is_what_the_schema_says(
    trained: TrainingResult, schema: dict[str, Any]
) -> None:
    document = json.loads(trained.report_path.with_suffix(".json").read_bytes())
    assert _errors(schema, document) == []
    assert document["model_id"] == trained.model_id
    assert document["split"] == trained.split
    assert len(document["test_images"]) == trained.evaluation.test.images
    assert document["evaluation"]["test"] == trained.evaluation.test.to_dict()
    assert all(item["place"] for item in document["test_images"])


def test_every_part_of_a_full_report_is_in_the_schema(schema: dict[str, Any]) -> None:
    shown = content(
        [Refusal("a.jpg", "import", "empty_file", "no bytes")],
        [Contradiction(ImageId("ab" * 32), ("a",), ("b",))],
        audit=AuditCounts(1, 2, 9, 3, 4, 5, 6, None),
        learning_curve=CURVE,
    )
    document = json.loads(json.dumps(report_document(shown)))
    assert _errors(schema, document) == []
    scores = [abs(item["score"] - item["label"]) for item in document["test_images"]]
    assert scores == sorted(scores, reverse=True)
    assert _errors(schema, document | {"audit": {"leaks": 1}}) != []
    assert _errors(schema, document | {"more": 1}) != []


def test_folder_that_cannot_be_written_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file in the way")
    with pytest.raises(StoreError, match=r"model\.json could not be written"):
        write_json_report(tmp_path / "reports" / "model.json", content())
