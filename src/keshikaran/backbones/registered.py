"""Networks that a user added: a folder with an `.onnx` file and a `.json` record for each.

The record is written last, so that what is listed is whole. Whoever loads a network holds its bytes
against the digest in the record.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import sys
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keshikaran.errors import BackboneError
from keshikaran.hashing import sync_directory, write_durably, write_error

FOLDER_VARIABLE = "KESHIKARAN_BACKBONES"
MAX_RECORD_BYTES = 65_536

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BackboneRecord:
    """What is known of a registered network.

    Attributes:
        name: what `--backbone` calls it.
        digest: SHA-256 of its file.
        bytes: size of its file.
        height: rows it wants.
        width: columns it wants.
        dim: number of features it gives.
        licence: of the weights; "unknown" where nobody said.
        source: what it was made from, as it was typed.
        source_sha256: of the file that the weights came from; empty where there was none.
        ms_per_image: what an image took in f32 on this machine when it was added.
        processor: what it was measured on.
        random_weights: whether it was never taught anything; for trials.
        created: when it was added, ISO 8601.
    """

    name: str
    digest: str
    bytes: int
    height: int
    width: int
    dim: int
    licence: str
    source: str
    source_sha256: str
    ms_per_image: float
    processor: str
    random_weights: bool = False
    created: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


def backbones_folder() -> Path:
    """`$KESHIKARAN_BACKBONES`, else a folder among the user's own data."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen) if chosen else _data_folder() / "keshikaran" / "backbones"


def _data_folder() -> Path:
    """Where programs keep what they made for a user; as platformdirs has it."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def is_name(text: str) -> bool:
    """Whether a network may be called so: small letters, digits, `.`, `_`, `-`."""
    return _NAME.fullmatch(text) is not None and not text.endswith(".onnx")


def registered_names() -> list[str]:
    """Names of all registered networks, ascending; none where there is no folder."""
    folder = backbones_folder()
    try:
        found = [path.stem for path in folder.glob("*.json")]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(name for name in found if is_name(name))


def read_record(name: str) -> BackboneRecord | None:
    """What is known of a network; None if there is none of that name.

    Raises:
        BackboneError: the record is damaged or cannot be read.
    """
    path = _record_path(name)
    if not is_name(name) or not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise _damaged(path)
        stored = json.loads(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise _damaged(path) from error
    return _record(stored, name, path)


def name_of_digest(digest: str) -> str | None:
    """Name of the registered network with this digest; records that are damaged are passed over."""
    for name in registered_names():
        with contextlib.suppress(BackboneError):
            record = read_record(name)
            if record is not None and record.digest == digest:
                return name
    return None


def read_model(record: BackboneRecord) -> bytes:
    """The network's file, held against its digest.

    Raises:
        BackboneError: it is gone, or not what was registered.
    """
    path = _model_path(record.name)
    try:
        if path.stat().st_size != record.bytes:
            raise _changed(path)
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    if hashlib.sha256(data).hexdigest() != record.digest:
        raise _changed(path)
    return data


def register(record: BackboneRecord, model: bytes) -> BackboneRecord:
    """Keep a network under the name in its record; the same network may be added again.

    Raises:
        BackboneError: the name is not fit, or another network has it.
        StoreError: the folder cannot be written.
    """
    if not is_name(record.name):
        msg = f"A backbone cannot be called {record.name}."
        raise BackboneError(msg, "Use small letters, digits, '.', '_' and '-': --name my-network")
    before = read_record(record.name)
    if before is not None and before.digest != record.digest:
        msg = f"Another network is called {record.name} already."
        hint = f"Choose another --name, or first: keshikaran backbone remove {record.name}"
        raise BackboneError(msg, hint)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    stored = {**record.to_dict(), "created": created}
    write_durably(_model_path(record.name), model)
    write_durably(_record_path(record.name), json.dumps(stored, indent=2).encode())
    return BackboneRecord(**stored)


def unregister(name: str) -> None:
    """Forget a network; model files that contain it go on working.

    Raises:
        BackboneError: there is none of that name.
        StoreError: the folder cannot be written.
    """
    record, model = _record_path(name), _model_path(name)
    if not is_name(name) or not record.is_file():
        msg = f"No backbone named {name} was added."
        known = ", ".join(registered_names()) or "none so far"
        raise BackboneError(msg, f"Added are: {known}.")
    try:
        record.unlink()
        sync_directory(record.parent)
        model.unlink(missing_ok=True)
        model.with_suffix(".taught").unlink(missing_ok=True)
    except OSError as error:
        raise write_error(record, error) from error


def _record_path(name: str) -> Path:
    return backbones_folder() / f"{name}.json"


def _model_path(name: str) -> Path:
    return backbones_folder() / f"{name}.onnx"


def _record(stored: Any, name: str, path: Path) -> BackboneRecord:  # noqa: ANN401
    """A record from JSON, if every field is there and of its kind."""
    kinds: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
    wanted = {field.name: kinds[str(field.type)] for field in fields(BackboneRecord)}
    if not isinstance(stored, dict) or set(stored) != set(wanted):
        raise _damaged(path)
    if any(type(stored[key]) is not kind for key, kind in wanted.items()):
        raise _damaged(path)
    record = BackboneRecord(**stored)
    honest = math.isfinite(record.ms_per_image) and _DIGEST.fullmatch(record.digest) is not None
    if record.name != name or not honest:
        raise _damaged(path)
    return record


def _damaged(path: Path) -> BackboneError:
    msg = f"{path} is no record of a backbone."
    return BackboneError(msg, f"Add it again: keshikaran backbone remove {path.stem}, then add.")


def _changed(path: Path) -> BackboneError:
    msg = f"{path} is not the network that was added."
    return BackboneError(msg, f"Add it again: keshikaran backbone remove {path.stem}, then add.")


def _unreadable(path: Path, error: OSError) -> BackboneError:
    msg = f"{path} cannot be read: {error.strerror}."
    return BackboneError(msg, "Check the folder, or name another one in $" + FOLDER_VARIABLE + ".")
