"""What a training run takes and what it gives."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from keshikaran.backbones import DEFAULT_BACKBONE, Device, EngineName
from keshikaran.bundle import Manifest
from keshikaran.calibrate import CalibratedHead
from keshikaran.dataset import SplitCounts
from keshikaran.evaluation import EvaluationReport
from keshikaran.featurize import FeatureTable
from keshikaran.finetune import FinetuneSettings
from keshikaran.head import FitResult
from keshikaran.ingest import ImportReport
from keshikaran.pixels import ImageFormat, ResizeMode
from keshikaran.pixels.isolated import Isolation
from keshikaran.policy import Policy
from keshikaran.presets import Preset
from keshikaran.split import SplitReport, SplitScheme
from keshikaran.store import Contradiction
from keshikaran.types import Precision, Refusal

DEFAULT_RESIZE_MODE: ResizeMode = "crop"

HeadRecipe = Literal["exact", "seed"]


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What can be chosen about a training run.

    Attributes:
        backbone: a name, or the path of an ONNX file.
        resize_mode: how images get the backbone's shape.
        precision: arithmetic of the backbone.
        engine: what runs it.
        device: where: on the processor or on a card.
        recipe: `exact` logistic regression, or the `seed`'s ten epochs of Adam.
        split: None repeats the workspace's last scheme, or the default.
        policy: what is objectionable, and what the thresholds are asked for.
        tensorboard: whether to write a TensorBoard run.
        preset: what the features are made of; all but `fast` say it themselves, so that `backbone`
            and `resize_mode` count with `fast` only.
        isolation: whether images are decoded in child processes or in this one.
        accept: formats that the import takes besides the usual ones.
        rehash: whether to read files of the sources again that look unchanged.
        finetune: how to teach the backbone before the head is fitted; None leaves it as it is.
        where: what commands need at their end to find the workspace, for the report.
    """

    backbone: str = DEFAULT_BACKBONE
    resize_mode: ResizeMode = DEFAULT_RESIZE_MODE
    precision: Precision = "f32"
    engine: EngineName = "auto"
    device: Device = "auto"
    recipe: HeadRecipe = "exact"
    split: SplitScheme | None = None
    policy: Policy = field(default_factory=Policy)
    tensorboard: bool = True
    isolation: Isolation = "process"
    accept: frozenset[ImageFormat] = frozenset()
    rehash: bool = False
    finetune: FinetuneSettings | None = None
    where: str = ""
    preset: Preset = "fast"


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training run did and made.

    Attributes:
        model_id: of the new model.
        model_path: the bundle.
        report_path: the report for people.
        images: what the import did; all zero without sources.
        split: images used on each side by label.
        split_report: what the split did with near-duplicates, and with a split file.
        timing_s: seconds in each stage, and in total.
        features: the table that was trained on.
        fit: the head as it was fitted, and how it came about.
        calibrated: the head as it decides, its calibration, its thresholds.
        evaluation: all figures.
        refusals: everything that could not be used, and why.
        contradictions: images that are labelled both ways, kept out.
        manifest: what the bundle says about itself.
    """

    model_id: str
    model_path: Path
    report_path: Path
    images: ImportReport
    split: SplitCounts
    split_report: SplitReport
    timing_s: dict[str, float]
    features: FeatureTable
    fit: FitResult
    calibrated: CalibratedHead
    evaluation: EvaluationReport
    refusals: tuple[Refusal, ...]
    contradictions: tuple[Contradiction, ...]
    manifest: Manifest

    def to_dict(self) -> dict[str, Any]:
        """The object that `keshikaran train --json` prints."""
        rate = self.features.images_per_s
        return {
            "model_id": self.model_id,
            "model_path": str(self.model_path),
            "report_path": str(self.report_path),
            "images": self.image_figures(),
            "split": self.split,
            "timing_s": {name: round(value, 4) for name, value in self.timing_s.items()},
            "featurize": {
                "images": self.features.images,
                "cached": self.features.cached,
                "images_per_s": None if rate is None else round(rate, 2),
                "bound": None if self.features.rates is None else self.features.rates.to_dict(),
            },
            "metrics": self.manifest.metrics,
            "thresholds": {
                "review": self.manifest.thresholds.review,
                "block": self.manifest.thresholds.block,
            },
            "prevalence": self.manifest.prevalence,
            "calibration": self.manifest.calibration,
            "promises": self.manifest.promises,
            "refusals": [asdict(refusal) for refusal in self.refusals],
        }

    def image_figures(self) -> dict[str, int]:
        """How many images were seen, imported, refused, contradictory, set aside."""
        return {
            "seen": self.images.seen,
            "imported": self.images.imported,
            "duplicates": self.images.duplicates,
            "skipped": self.images.skipped,
            "undecodable": len(self.features.refused),
            "contradictory": len(self.contradictions),
            "near_duplicates": self.split_report.near_duplicates,
            "set_aside": self.split_report.set_aside,
            "leaks": self.split_report.leaks,
            "suspected": self.split_report.suspected,
        }
