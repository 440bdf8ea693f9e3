"""Which model answers: a small file that keeps every change of it, with who, when and why.

It lies beside the models. In use is what its last line says; where there is no file, nobody has
chosen yet. A change replaces the file as a whole, so that a crash leaves the old one or the new.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from keshikaran.errors import DamagedStoreError, StoreError
from keshikaran.hashing import make_folder, write_durably, write_error
from keshikaran.store.lock import alone_in

IN_USE_NAME = "in-use.json"

Action = Literal["promote", "rollback"]

_SCHEMA = 1
_MODEL_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")
_HINT = "Name a model with --model FILE; to choose anew, move this file away and promote one."


@dataclass(frozen=True, slots=True)
class Change:
    """One model taking over from another.

    Attributes:
        model_id: the one in use from then on.
        action: `promote` after a comparison, `rollback` to one that was in use before.
        at: when, ISO 8601, UTC.
        who: the person.
        why: what they said; empty if nothing.
        forced: whether the comparison spoke against it.
        verdict: what the comparison said, in a few words; None where nothing was compared.
        losses: names of figures that it was significantly worse in.
    """

    model_id: str
    action: Action
    at: str
    who: str
    why: str = ""
    forced: bool = False
    verdict: str | None = None
    losses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InUse:
    """All changes, the oldest first."""

    changes: tuple[Change, ...] = ()

    @property
    def model_id(self) -> str | None:
        """The model in use; None if nobody has chosen one."""
        return self.changes[-1].model_id if self.changes else None

    @property
    def before(self) -> str | None:
        """The model to go back to: the one that the model in use replaced, if there is one."""
        below: list[str] = []
        for change in self.changes:
            if change.action == "rollback" and change.model_id in below:
                del below[below.index(change.model_id) + 1 :]
            else:
                below.append(change.model_id)
        return below[-2] if len(below) > 1 else None

    def came_by(self, model_id: str) -> Change | None:
        """The last change to a model, if there was one."""
        return next((one for one in reversed(self.changes) if one.model_id == model_id), None)


def read_in_use(models: Path) -> InUse:
    """What was chosen so far.

    Args:
        models: the folder of models.

    Raises:
        DamagedStoreError: the file is not what was written.
        StoreError: it cannot be read.
    """
    path = models / IN_USE_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return InUse()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}."
        raise StoreError(msg, "Check its permissions.") from error
    try:
        raw = json.loads(data)
        if not isinstance(raw, dict) or raw.get("schema") != _SCHEMA:
            msg = f"no record of version {_SCHEMA}"
            raise ValueError(msg)
        return InUse(tuple(_change(item) for item in raw["changes"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        msg = f"{path} does not say which model is in use: {str(error)[:200]}."
        raise DamagedStoreError(msg, _HINT) from error


def put_into_use(models: Path, expected: str | None, change: Change) -> InUse:
    """Add a change, durably.

    Args:
        models: the folder of models.
        expected: what was in use when the change was decided.
        change: the new last one.

    Raises:
        StoreError: somebody else changed it meanwhile; or the disk is full or cannot be written.
        DamagedStoreError: the file is not what was written.
    """
    try:
        make_folder(models)
    except OSError as error:
        raise write_error(models, error) from error
    with alone_in(models, f"Another command is choosing the model in {models}."):
        found = read_in_use(models)
        if found.model_id != expected:
            msg = f"Meanwhile {found.model_id} was put into use by somebody else."
            raise StoreError(msg, "Compare with that one: run the same command again.")
        changed = InUse((*found.changes, change))
        raw = {"schema": _SCHEMA, "changes": [asdict(one) for one in changed.changes]}
        text = json.dumps(raw, ensure_ascii=False, indent=1, allow_nan=False)
        write_durably(models / IN_USE_NAME, text.encode())
    return changed


def _change(raw: Any) -> Change:  # noqa: ANN401
    values = {item.name: raw[item.name] for item in fields(Change)}
    losses = values["losses"]
    values["losses"] = tuple(losses) if isinstance(losses, list) else losses
    change = Change(**values)
    texts = (change.model_id, change.action, change.at, change.who, change.why, *change.losses)
    if not all(isinstance(text, str) for text in texts) or not isinstance(change.forced, bool):
        msg = "a field is of the wrong kind"
        raise TypeError(msg)
    if not isinstance(change.verdict, str | None) or change.action not in {"promote", "rollback"}:
        msg = "a field has a value that none has"
        raise ValueError(msg)
    if not _MODEL_ID.fullmatch(change.model_id):
        msg = "it names no model"
        raise ValueError(msg)
    return change
