"""One offline page that says what a model is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keshikaran.comparison import Comparison, SideFigures
from keshikaran.evaluation import EvaluationReport
from keshikaran.hashing import write_durably
from keshikaran.inert import printable
from keshikaran.intervals import Estimate
from keshikaran.report.content import ReportContent
from keshikaran.report.figures import report_figures
from keshikaran.report.gallery import (
    STANDING_OUT,
    Choice,
    Place,
    band_choices,
    first_to_show,
    places,
    threshold_choices,
)
from keshikaran.report.pages import COPY_SCRIPT, COPY_SCRIPT_DIGEST, embedded, page_environment
from keshikaran.report.verdict import (
    cautions,
    counted_sentence,
    missing_labels,
    number,
    outcome_words,
    promises_sentence,
    verdict_sentence,
)

MOST_SHOWN = 2_000
"""Test images that are listed one by one."""

ROOM_FOR_PICTURES = 3_200_000
"""Characters that pictures may take, so that the file stays below 5 MB."""

_FIGURES = (
    "roc_auc", "average_precision", "log_loss", "brier_score", "ece", "accuracy",
    "balanced_accuracy", "precision", "recall", "f1",
)  # fmt: skip
_MOST_ROWS = 200
_SHORT = 16
_NAME = 60


@dataclass(frozen=True, slots=True)
class Shown:
    """One test image as the page shows it.

    Attributes:
        place: where it stands.
        name: where it was met.
        source: its picture as an address of itself; None for text only.
        size: of the picture, width and height.
        command: what to type if its label is wrong.
    """

    place: Place
    name: str
    source: str | None
    size: tuple[int, int]
    command: str


def write_html_report(path: Path, content: ReportContent) -> None:
    """Draw the page and write it durably.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    write_durably(path, render_html(content).encode())


def render_html(content: ReportContent) -> str:
    """The page as text. Needs nothing beside itself; names of files are inert in it."""
    environment = page_environment()
    environment.filters["number"] = number
    environment.filters["estimate"] = _estimate_words
    environment.filters["count"] = _count_words
    environment.filters["bar"] = _bar
    evaluation = content.evaluation
    return environment.get_template("report.html.j2").render(
        content=content,
        manifest=content.manifest,
        evaluation=evaluation,
        operating=evaluation.operating,
        sentences=[counted_sentence(content), promises_sentence(content)],
        verdict=verdict_sentence(content),
        cautions=list(cautions(content)),
        promises=[
            (outcome, outcome_words(outcome), missing_labels(outcome))
            if outcome.status == "unsupported"
            else (outcome, outcome_words(outcome), "")
            for outcome in evaluation.promises
        ],
        rows=_figure_rows(evaluation),
        rivals=_rivals(content.comparisons),
        figures=report_figures(evaluation, content.learning_curve),
        policy=_flat(content.manifest.policy),
        refusals=content.refusals[:_MOST_ROWS],
        contradictions=content.contradictions[:_MOST_ROWS],
        script=COPY_SCRIPT,
        script_digest=COPY_SCRIPT_DIGEST,
        **_gallery(content),
    )


def _rivals(comparisons: Sequence[Comparison]) -> list[tuple[str, SideFigures]]:
    """Name and figures of this model, then of each rival."""
    if not comparisons:
        return []
    return [
        ("this model", comparisons[0].yours),
        *((f"{one.name} {one.version}"[:_NAME], one.rival) for one in comparisons),
    ]


def _gallery(content: ReportContent) -> dict[str, Any]:
    found = places(content.evaluation)
    shown = _shown(content, first_to_show(found, MOST_SHOWN))
    bands = band_choices(found)
    tables = {name: threshold_choices(found, name) for name in ("block", "review")}
    every = tuple(choice.name for row in bands for choice in row)
    general = [
        Choice("worst", "worst mistakes", (), sum(place.worst for place in found)),
        Choice("unsure", "most uncertain images", (), sum(place.unsure for place in found)),
        Choice("every", "all test images", every, len(found)),
    ]
    choices = [*general, *(c for table in (bands, *tables.values()) for row in table for c in row)]
    return {
        "images": shown,
        "general": general,
        "bands": bands,
        "tables": tables,
        "choices": [(choice, _listed(choice, shown)) for choice in choices],
        "hidden": len(found) - len(shown),
        "without_picture": sum(item.source is None for item in shown),
        "standing_out": STANDING_OUT,
    }


def _listed(choice: Choice, shown: list[Shown]) -> int:
    """How many of a choice's images the page lists."""
    if choice.name == "worst":
        return sum(item.place.worst for item in shown)
    if choice.name == "unsure":
        return sum(item.place.unsure for item in shown)
    return sum(item.place.cell in choice.cells for item in shown)


def _shown(content: ReportContent, listed: list[Place]) -> list[Shown]:
    """Pictures go first to the images that stand out, as long as there is room."""
    room = ROOM_FOR_PICTURES
    sources: dict[str, str] = {}
    for most in (len(listed) // 4, len(listed)):
        for place in first_to_show(listed, most):
            picture = content.pictures.get(place.image_id)
            if picture is None or picture.thumbnail is None or place.image_id in sources:
                continue
            source = embedded(picture.thumbnail)
            if len(source) <= room:
                room -= len(source)
                sources[place.image_id] = source
    return [_one(content, place, sources.get(place.image_id)) for place in listed]


def _one(content: ReportContent, place: Place, source: str | None) -> Shown:
    picture = content.pictures.get(place.image_id)
    other = 0 if place.label else 1
    return Shown(
        place,
        printable(place.image_id if picture is None else picture.place),
        source,
        (0, 0) if picture is None else picture.size,
        f"keshikaran label {place.image_id[:_SHORT]} --value {other}{content.where}",
    )


def _figure_rows(evaluation: EvaluationReport) -> list[tuple[str, str, str, str]]:
    """Name, validation, test, interval on test."""

    def words(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    rows = []
    debiased = evaluation.intervals.get("ece_debiased")
    for name in _FIGURES:
        found = evaluation.intervals.get(name)
        if name == "ece" and debiased is not None:
            interval = f"{debiased.low:.4f} to {debiased.high:.4f}"
            rows.append(("calibration error (ece debiased)", "–", words(debiased.value), interval))
        rows.append(
            (
                name.replace("_", " "),
                words(getattr(evaluation.validation, name, None)),
                words(getattr(evaluation.test, name)),
                "–" if found is None else f"{found.low:.4f} to {found.high:.4f}",
            )
        )
    for item in evaluation.recall_at:
        interval = f"{item.recall.low:.4f} to {item.recall.high:.4f}"
        if not item.supported:
            interval += f"; needs {item.needed:,} acceptable images, has {item.have:,}"
        name = f"recall at {100 * item.rate:g}% false positives"
        rows.append((name, "–", words(item.recall.value), interval))
    return rows


def _flat(value: object, name: str = "") -> list[tuple[str, str]]:
    """A policy as names and words; what it holds may be anything."""
    if isinstance(value, dict):
        return [
            row for key, inner in value.items() for row in _flat(inner, f"{name} {key}".strip())
        ]
    return [] if value is None else [(printable(name), printable(str(value)))]


def _estimate_words(found: Estimate, digits: int = 3) -> str:
    if found.value is None:
        return "–"
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def _count_words(found: Estimate) -> str:
    if found.value is None:
        return "–"
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def _bar(found: Estimate) -> dict[str, float | None]:
    """Where an interval lies on a line 100 wide."""
    value = None if found.value is None else round(100 * found.value, 1)
    low, high = (round(100 * min(1.0, max(0.0, end)), 1) for end in (found.low, found.high))
    return {"value": value, "low": low, "width": round(max(0.0, high - low), 1)}
