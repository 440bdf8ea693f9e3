"""The report as one JSON object, for programs; docs/report-schema.json describes it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keshikaran.hashing import write_durably
from keshikaran.report.content import ReportContent
from keshikaran.report.gallery import places
from keshikaran.report.verdict import (
    cautions,
    counted_sentence,
    promises_sentence,
    verdict_sentence,
)

DOCUMENT_VERSION = 1


def write_json_report(path: Path, content: ReportContent) -> None:
    """Write the object durably.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    text = json.dumps(report_document(content), indent=1, allow_nan=False)
    write_durably(path, (text + "\n").encode())


def report_document(content: ReportContent) -> dict[str, Any]:
    """Everything the page shows but the pictures, ready for JSON."""
    manifest = content.manifest
    curve = content.learning_curve
    return {
        "schema": DOCUMENT_VERSION,
        "model_id": manifest.model_id,
        "created": manifest.created,
        "keshikaran_version": manifest.keshikaran_version,
        "verdict": {
            "sentence": verdict_sentence(content),
            "counted": counted_sentence(content),
            "promises": promises_sentence(content),
            "cautions": list(cautions(content)),
        },
        "model_card": {
            "classes": manifest.classes,
            "policy": manifest.policy,
            "backbone": manifest.backbone,
            "licence": manifest.licence,
            "training_set": manifest.training_set,
            "recipe": manifest.recipe,
            "precision": manifest.precision,
        },
        "settings": dict(content.settings),
        "images": dict(content.images),
        "split": {side: dict(counts) for side, counts in content.split.items()},
        "foreign": content.foreign,
        "evaluation": content.evaluation.to_dict(),
        "audit": None if content.audit is None else asdict(content.audit),
        "learning_curve": None if curve is None else curve.to_dict(),
        "comparisons": [item.to_dict() for item in content.comparisons],
        "test_images": _test_images(content),
        "refusals": [asdict(item) for item in content.refusals],
        "contradictions": [asdict(item) for item in content.contradictions],
        "steps": [asdict(step) for step in content.steps],
    }


def _test_images(content: ReportContent) -> list[dict[str, Any]]:
    """Those first whose score is farthest from what people say."""
    pictures = content.pictures
    return [
        {
            "image_id": place.image_id,
            "label": place.label,
            "score": place.score,
            "verdict": place.band,
            "worst": place.worst,
            "uncertain": place.unsure,
            "place": pictures[place.image_id].place if place.image_id in pictures else None,
        }
        for place in places(content.evaluation)
    ]
