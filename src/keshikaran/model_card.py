"""What a model file says about the run that made it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from keshikaran.backbones import Backbone
from keshikaran.backbones.taught import teaching_of
from keshikaran.bundle import Manifest, SelfTest
from keshikaran.calibrate import CalibratedHead
from keshikaran.dataset import Dataset
from keshikaran.drift_reference import DriftReference
from keshikaran.evaluation import EvaluationReport
from keshikaran.head import FitResult
from keshikaran.parts import Inputs, Part
from keshikaran.pixels import PIXEL_CONTRACT_VERSION, PixelSpec
from keshikaran.split import SplitScheme
from keshikaran.training_run import TrainingOptions
from keshikaran.version import __version__


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a run once its head is calibrated."""

    options: TrainingOptions
    parts: Sequence[Part]
    scheme: SplitScheme
    data: Dataset
    fit: FitResult
    calibrated: CalibratedHead


def model_id_of(created: datetime, facts: Facts) -> str:
    """Time first, so that names sort by age; then a digest of what was learned."""
    head = facts.calibrated.head
    digest = hashlib.sha256(head.weights.tobytes())
    backbones = "+".join(part.backbone.digest for part in facts.parts)
    digest.update(repr((head.bias, head.bend, backbones, facts.options.precision)).encode())
    return f"{created:%Y%m%dT%H%M%SZ}-{digest.hexdigest()[:8]}"


def manifest_of(
    facts: Facts,
    evaluation: EvaluationReport,
    reference: DriftReference | None,
    model_id: str,
    created: datetime,
    self_test: SelfTest,
) -> Manifest:
    """The manifest of the run's bundle."""
    options, calibrated = facts.options, facts.calibrated
    shapes = Inputs.of(facts.parts).spec.shapes
    backbones = list({part.backbone.digest: part.backbone for part in facts.parts}.values())
    return Manifest(
        model_id=model_id,
        created=created.isoformat(timespec="seconds"),
        keshikaran_version=__version__,
        classes={"0": options.policy.acceptable, "1": options.policy.objectionable},
        thresholds=calibrated.points.thresholds,
        thresholds_chosen_for=calibrated.points.chosen_for,
        policy=options.policy.to_dict(),
        promises=[asdict(outcome) for outcome in calibrated.points.outcomes],
        prevalence=calibrated.prevalence,
        calibration={
            **calibrated.choice.chosen.to_dict(),
            "label_prevalence": calibrated.label_prevalence,
            "log_loss": dict(calibrated.choice.log_loss),
        },
        reference={} if reference is None else reference.to_dict(),
        pixel_contract=PIXEL_CONTRACT_VERSION,
        inputs=[
            {"height": one.height, "width": one.width, "resize_mode": one.resize_mode}
            for one in shapes
        ],
        backbones=[
            {"name": one.name, "digest": one.digest, "licence": one.licence} for one in backbones
        ],
        parts=[
            {
                "backbone": backbones.index(part.backbone),
                "input": shapes.index(part.spec),
                "features": part.backbone.dim,
            }
            for part in facts.parts
        ],
        precision=options.precision,
        recipe=_recipe(facts),
        training_set={"digest": facts.data.digest(), "split_scheme": asdict(facts.scheme)},
        split={side: dict(counts) for side, counts in facts.data.counts().items()},
        metrics={
            "validation": evaluation.validation and evaluation.validation.to_dict(),
            "test": evaluation.test.to_dict(),
        },
        self_test=self_test,
        licence=f"backbone weights: {_licences(backbones)}; head: yours",
    )


def _licences(backbones: Sequence[Backbone]) -> str:
    return ", ".join(dict.fromkeys(one.licence for one in backbones))


def _recipe(facts: Facts) -> dict[str, Any]:
    """How the head was fitted, and what its network was taught before."""
    found = {"name": facts.options.recipe, "c": facts.fit.c}
    teachings = [teaching_of(part.backbone) for part in facts.parts]
    taught = next((teaching for teaching in teachings if teaching is not None), None)
    return found if taught is None else {**found, "finetuned": taught}


def settings_of(manifest: Manifest) -> dict[str, str]:
    """The run's settings in words, for report and TensorBoard; the file may say anything."""
    c = manifest.recipe.get("c")
    scheme = manifest.training_set.get("split_scheme")
    scheme = scheme if isinstance(scheme, dict) else {}
    known = isinstance(c, int | float) and not isinstance(c, bool)
    regularised = f", C = {c:g}" if known else ""
    return {
        "created": manifest.created,
        "keshikaran": manifest.keshikaran_version,
        "backbone": " + ".join(f"{b['name']} ({b['digest'][:12]})" for b in manifest.backbones),
        **_finetuned_words(manifest),
        "precision": manifest.precision,
        "pixels": " + ".join(_shape_words(shape) for shape in manifest.pixels.shapes)
        + f", contract {manifest.pixel_contract}",
        "head": _text(manifest.recipe.get("name")) + regularised,
        "calibration": _calibration_words(manifest),
        "split scheme": _text(scheme.get("name")) + _unguarded(scheme),
        "training set": _text(manifest.training_set.get("digest"))[:12],
        "prevalence": f"{manifest.prevalence:.4f}",
        "thresholds": manifest.thresholds_chosen_for,
    }


def _shape_words(shape: PixelSpec) -> str:
    return f"{shape.height}×{shape.width}, {shape.resize_mode}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else "unknown"


def _calibration_words(manifest: Manifest) -> str:
    found = manifest.calibration
    slopes = f"slope {found['below']:.3g}"
    if found["above"] != found["below"]:
        slopes = f"slopes {found['below']:.3g} and {found['above']:.3g}"
    return f"{found['kind']}, {slopes}, shift {found['shift']:+.3g}"


def _finetuned_words(manifest: Manifest) -> dict[str, str]:
    found = manifest.recipe.get("finetuned")
    if not isinstance(found, dict):
        return {}
    return {"fine-tuned": f"from {_text(found.get('name'))}; calibrated on validation images"}


def _unguarded(scheme: dict[str, Any]) -> str:
    guarded = scheme.get("guard", True)
    return "" if guarded else ", copies of test images not kept out of training"
