"""The models of a workspace: what each says about itself, and how it came to be in use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keshikaran.bundle import read_bundle
from keshikaran.errors import BundleError, UsageError
from keshikaran.manifest import Manifest
from keshikaran.store import Change, InUse, Workspace, read_in_use
from keshikaran.types import Precision, Thresholds


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One model file.

    Attributes:
        model_id: its id, by its name where it cannot be read.
        path: the file.
        in_use: whether it is the one that was chosen.
        answers: whether it is the one that commands take: in use, or the newest if none is.
        created: when it was made, ISO 8601; None where the file cannot be read.
        precision: arithmetic of its features.
        thresholds: its two cuts.
        prevalence: share of objectionable images that its scores assume.
        test: its figures on the test images when it was made.
        change: when and why it last went into use; None if it never did.
        problem: why the file cannot be used, in words; None where it can.
    """

    model_id: str
    path: Path
    in_use: bool
    answers: bool
    created: str | None = None
    precision: Precision | None = None
    thresholds: Thresholds | None = None
    prevalence: float | None = None
    test: dict[str, Any] | None = None
    change: Change | None = None
    problem: str | None = None

    @property
    def roc_auc(self) -> float | None:
        """Area under the ROC curve on test, as the file says; None where it does not."""
        found = (self.test or {}).get("roc_auc")
        return float(found) if isinstance(found, int | float) else None

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self) | {"path": str(self.path), "roc_auc": self.roc_auc}


def list_models(workspace: Workspace) -> list[ListedModel]:
    """Every model file, the newest first; a model in use whose file is gone comes last.

    Raises:
        StoreError: the record of the model in use cannot be read.
    """
    chosen = read_in_use(workspace.model_folder)
    files = workspace.models()
    answering = chosen.model_id or (files[0].stem if files else None)
    found = [_listed(path, chosen, answering) for path in files]
    if chosen.model_id is not None and not workspace.model(chosen.model_id).is_file():
        found.append(_listed(workspace.model(chosen.model_id), chosen, answering))
    return found


def find_model(workspace: Workspace, reference: str | None) -> Path:
    """A model by its file, its id, or the start of its id; None: the newest.

    Raises:
        BundleError: there is no model at all.
        UsageError: there is none of that name, or several.
    """
    if reference is None:
        latest = workspace.latest_model()
        if latest is None:
            msg = f"There is no model in {workspace.folder}."
            raise BundleError(msg, "Train one with: keshikaran train")
        return latest
    path = Path(reference)
    if path.suffix == ".onnx" and path.is_file():
        return path
    found = [model for model in workspace.models() if model.stem.startswith(reference)]
    exact = [model for model in found if model.stem == reference]
    if len(exact or found) == 1:
        return (exact or found)[0]
    msg = (
        f"{len(found) or 'No'} models in {workspace.folder} have an id that starts so: {reference}"
    )
    raise UsageError(msg, "See: keshikaran models list")


def _listed(path: Path, chosen: InUse, answering: str | None) -> ListedModel:
    model_id = path.stem
    facts: dict[str, Any] = {
        "model_id": model_id,
        "path": path,
        "in_use": model_id == chosen.model_id,
        "answers": model_id == answering,
        "change": chosen.came_by(model_id),
    }
    try:
        manifest = read_bundle(path).manifest
    except BundleError as error:
        return ListedModel(**facts, problem=error.what)
    return ListedModel(**facts, **_said(manifest))


def _said(manifest: Manifest) -> dict[str, Any]:
    test = manifest.metrics.get("test")
    return {
        "created": manifest.created,
        "precision": manifest.precision,
        "thresholds": manifest.thresholds,
        "prevalence": manifest.prevalence,
        "test": test if isinstance(test, dict) else None,
    }
