"""What a report shows. The composer fills it in; pages and TensorBoard only draw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keshikaran.head import FitStep
from keshikaran.metrics import EvaluationReport
from keshikaran.store import Contradiction
from keshikaran.types import Refusal, Split


@dataclass(frozen=True, slots=True)
class ReportContent:
    """Everything a report shows about one model.

    Attributes:
        model_id: of the model.
        settings: name → value, in words, in order.
        images: what was imported, refused, contradictory.
        split: images used on each side by label.
        evaluation: all figures.
        steps: how the head came about.
        refusals: files that could not be used.
        contradictions: images labelled both ways.
    """

    model_id: str
    settings: Mapping[str, str]
    images: Mapping[str, int]
    split: Mapping[Split, Mapping[str, int]]
    evaluation: EvaluationReport
    steps: Sequence[FitStep]
    refusals: Sequence[Refusal]
    contradictions: Sequence[Contradiction]
