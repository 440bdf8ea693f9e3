"""Putting a model into use: judge both on the test set → compare → record who chose it, and why.

A model that is worse goes into use only where somebody insists and says why. Going back to a
model that was in use before asks for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from keshikaran.bundle import Bundle, read_bundle
from keshikaran.errors import (
    BundleError,
    NotEnoughImagesError,
    PromotionError,
    UsageError,
)
from keshikaran.hashing import write_durably
from keshikaran.judging import Judgement, judge
from keshikaran.model_list import find_model
from keshikaran.policy import Costs
from keshikaran.preparation import open_bundle_tools
from keshikaran.promotion import Asked, Comparison, JudgedImages, ModelScores, compare_models
from keshikaran.store import Change, InUse, Store, Workspace, put_into_use, read_in_use
from keshikaran.training_run import TrainingOptions
from keshikaran.types import ImageId, Progress

_USUAL_RATE = 0.01
_FEW = 30


@dataclass(frozen=True, slots=True)
class Weighed:
    """A model that may go into use, and what speaks against it.

    Attributes:
        new: the model file.
        model_id: its id.
        in_use: the model that was in use; None if nobody had chosen one.
        comparison: with the model that answers now; None where there is nothing to compare with.
        reasons: why it should not be put into use; empty if nothing speaks against it.
        notes: what else to know.
        places: image id → where it was imported from, for images whose verdict would change.
    """

    new: Path
    model_id: str
    in_use: str | None
    comparison: Comparison | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    places: dict[ImageId, list[str]]

    @property
    def already(self) -> bool:
        """Whether it is in use as it is."""
        return self.model_id == self.in_use

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        found = None if self.comparison is None else self.comparison.to_dict()
        for item in () if found is None else found["transitions"]:
            item["paths"] = self.places.get(item["image_id"], [])
        return {
            "model_id": self.model_id,
            "model_path": str(self.new),
            "was_in_use": self.in_use,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "comparison": found,
        }


def weigh(
    workspace: Workspace,
    new: Path,
    against: Path | None,
    options: TrainingOptions,
    progress: Progress,
) -> Weighed:
    """Compare a model with the one that answers now, on the workspace's test set.

    Args:
        workspace: whose test set, and whose model in use.
        new: the model file that may replace it.
        against: compare with this one instead; None: with the model in use, or the newest.
        options: engine and isolation, for images that lack features.
        progress: told of those.

    Raises:
        BundleError: the new model cannot be used.
        StoreError: the workspace cannot be used, or its record of the model in use.
        BackboneError: features are missing and a model cannot be run to compute them.
        IsolationError: no process can be started to decode images in.
    """
    bundle = read_bundle(new)
    model_id = bundle.manifest.model_id
    in_use = read_in_use(workspace.model_folder).model_id
    _refuse_twin(workspace, bundle)
    old = against or _answering(workspace, in_use)
    if old is None or old.stem == model_id:
        return Weighed(new, model_id, in_use, None, (), (), {})
    judged: list[Judgement] = []
    try:
        for one in (read_bundle(old), bundle):
            with open_bundle_tools(workspace, one, options) as tools:
                judged.append(judge(tools, one, one.manifest.model_id, progress))
    except (BundleError, NotEnoughImagesError) as error:
        reason = f"It cannot be compared with {old.stem}: {error.what}"
        return Weighed(new, model_id, in_use, None, (reason,), (), {})
    before, after = judged
    comparison = compare_judged(before, after)
    with Store(workspace.folder) as store:
        places = store.places_of([one.image_id for one in comparison.transitions])
    reasons, notes = _against(comparison, before, after), _notes(comparison, before, after)
    return Weighed(new, model_id, in_use, comparison, reasons, notes, places)


def compare_judged(before: Judgement, after: Judgement) -> Comparison:
    """Two models on the test images that both could score.

    What is asked is what the new model's policy asks.
    """
    old, new = before.evaluation.test_set, after.evaluation.test_set
    known = {image_id: row for row, image_id in enumerate(old.image_ids)}
    rows = [row for row, image_id in enumerate(new.image_ids) if image_id in known]
    ids = [new.image_ids[row] for row in rows]
    taken = np.array([known[image_id] for image_id in ids], dtype=np.int64)
    images = JudgedImages(ids, new.y_true[rows], [after.groups[row] for row in rows])
    return compare_models(
        images,
        _scores(before, taken),
        _scores(after, np.array(rows, dtype=np.int64)),
        _asked(after),
    )


def put_new_model_into_use(
    workspace: Workspace, weighed: Weighed, *, who: str, why: str = "", force: bool = False
) -> InUse:
    """Record a model as the one in use; a file from elsewhere is copied into the workspace first.

    Args:
        workspace: whose record.
        weighed: from `weigh`.
        who: the person.
        why: what they say.
        force: put it into use though something speaks against it.

    Raises:
        PromotionError: something does, and `force` was not given.
        StoreError: the disk is full or cannot be written, or somebody else chose meanwhile.
    """
    if weighed.reasons and not force:
        msg = f"{weighed.model_id} is not put into use. {' '.join(weighed.reasons)}"
        raise PromotionError(msg, "If it must be: --force --reason TEXT. The reason is kept.")
    place = workspace.model(weighed.model_id)
    if not place.is_file():
        write_durably(place, read_bundle(weighed.new).model)
    found = weighed.comparison
    change = Change(
        model_id=weighed.model_id,
        action="promote",
        at=_now(),
        who=who,
        why=why,
        forced=bool(weighed.reasons),
        verdict=None if found is None else found.verdict,
        losses=() if found is None else found.losses,
    )
    return put_into_use(workspace.model_folder, weighed.in_use, change)


def roll_back(workspace: Workspace, to: str | None, *, who: str, why: str = "") -> InUse:
    """Put the model back into use that the present one replaced, or any other.

    Args:
        workspace: whose record.
        to: a model's id, or the start of one; None: the one before.
        who: the person.
        why: what they say.

    Raises:
        UsageError: there is none to go back to, or no such model.
        BundleError: that model cannot be used.
        StoreError: the record cannot be read or written.
    """
    found = read_in_use(workspace.model_folder)
    target = to or found.before
    if target is None:
        msg = "There is no model to go back to: none was in use before this one."
        raise UsageError(msg, "Choose one: keshikaran models list, then keshikaran promote MODEL")
    model_id = read_bundle(find_model(workspace, target)).manifest.model_id
    if model_id == found.model_id:
        return found
    change = Change(model_id, "rollback", _now(), who, why)
    return put_into_use(workspace.model_folder, found.model_id, change)


def _answering(workspace: Workspace, in_use: str | None) -> Path | None:
    """The model that answers now, whether its file is there or not."""
    return workspace.latest_model() if in_use is None else workspace.model(in_use)


def _refuse_twin(workspace: Workspace, bundle: Bundle) -> None:
    """Another file of the same id would be put into use in this one's place."""
    place = workspace.model(bundle.manifest.model_id)
    if place.is_file() and place.read_bytes() != bundle.model:
        msg = f"{place} has the same model id and other content."
        raise PromotionError(msg, "Find out which of the two is right, and move the other away.")


def _scores(judged: Judgement, rows: np.ndarray) -> ModelScores:
    found = judged.evaluation
    return ModelScores(
        judged.manifest.model_id,
        found.test_set.y_score[rows],
        found.thresholds,
        found.prevalence,
    )


def _asked(judged: Judgement) -> Asked:
    """What a model file says was asked, as far as that makes sense."""
    policy = judged.manifest.policy
    rate = policy.get("max_false_positive_rate")
    return Asked(
        rate if isinstance(rate, float) and 0 < rate < 1 else _USUAL_RATE,
        judged.evaluation.prevalence,
        _costs(policy.get("costs")),
    )


def _costs(said: object) -> Costs | None:
    if not isinstance(said, dict):
        return None
    prices = [said.get(name) for name in ("miss", "false_alarm", "review")]
    known = [float(price) for price in prices if isinstance(price, int | float) and price >= 0]
    return Costs(*known) if len(known) == len(prices) else None


def _against(comparison: Comparison, before: Judgement, after: Judgement) -> tuple[str, ...]:
    reasons: list[str] = []
    if comparison.losses:
        names = ", ".join(name.replace("_", " ") for name in comparison.losses)
        reasons.append(f"It is significantly worse than {comparison.old} in: {names}.")
    if after.foreign:
        reasons.append(
            "It was trained under another split than this workspace has: it may have learned the"
            " test images, so its figures say nothing."
        )
    return tuple(reasons)


def _notes(comparison: Comparison, before: Judgement, after: Judgement) -> tuple[str, ...]:
    notes: list[str] = []
    if before.foreign:
        notes.append(
            f"{comparison.old} was trained under another split: it may have learned the test"
            " images, and look better than it is."
        )
    if before.manifest.policy != after.manifest.policy:
        notes.append(
            "The two were trained under different policies: their thresholds ask for"
            " different things."
        )
    least = min(comparison.positives, comparison.images - comparison.positives)
    if least < _FEW:
        notes.append(f"Only {least} test images of one label: small differences cannot be seen.")
    return tuple(notes)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
