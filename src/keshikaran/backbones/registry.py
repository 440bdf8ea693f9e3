"""Where a backbone comes from: the package, the networks that were added, or a file."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from keshikaran.backbones.graph import MAX_MODEL_BYTES, read_graph
from keshikaran.backbones.registered import (
    name_of_digest,
    read_model,
    read_record,
    registered_names,
)
from keshikaran.errors import BackboneError

DEFAULT_BACKBONE = "efficientnet-lite0"
_EMBEDDED = {DEFAULT_BACKBONE: ("efficientnet_lite0.onnx", "Apache-2.0")}


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen network that turns pixels into features.

    Attributes:
        name: how people call it.
        digest: SHA-256 of the file; what caches and bundles know it by.
        model: the ONNX file's bytes.
        height: rows it wants.
        width: columns it wants.
        dim: number of features it gives.
        output: name of the graph output that holds them.
        licence: of the weights; "unknown" for a user's own file.
    """

    name: str
    digest: str
    model: bytes
    height: int
    width: int
    dim: int
    output: str
    licence: str


def load_backbone(name: str = DEFAULT_BACKBONE) -> Backbone:
    """Find a backbone by name, or read one from a path that ends in `.onnx`.

    Raises:
        BackboneError: no such name or file, or the file is unfit or not what was added.
    """
    if name in _EMBEDDED:
        file, licence = _EMBEDDED[name]
        folder = resources.files("keshikaran.backbones").joinpath("embedded")
        return make_backbone(name, folder.joinpath(file).read_bytes(), licence, origin=name)
    record = read_record(name)
    if record is not None:
        return make_backbone(name, read_model(record), record.licence, origin=name)
    path = Path(name)
    if path.suffix.lower() != ".onnx":
        msg = f"There is no backbone named {name}."
        hint = f"Use {', '.join(known_names())}, or the path of an .onnx file."
        raise BackboneError(msg, f"{hint} To have another one: keshikaran backbone add")
    return make_backbone(path.stem, read_backbone_file(path), "unknown", origin=str(path))


def backbone_of_digest(digest: str) -> Backbone | None:
    """The network with this digest, if it is in the package or was added."""
    usual = load_backbone()
    if usual.digest == digest:
        return usual
    name = name_of_digest(digest)
    return None if name is None else load_backbone(name)


def known_names() -> list[str]:
    """Names of the networks in the package, then of those that were added."""
    return [*sorted(_EMBEDDED), *registered_names()]


def read_backbone_file(path: Path) -> bytes:
    """A user's file, if it is a file and not too large to be one of ours.

    Raises:
        BackboneError: it is not, or cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_MODEL_BYTES:
            msg = f"The backbone {path} is not a file of at most {MAX_MODEL_BYTES:,} bytes."
            raise BackboneError(msg, "Check the path.")
        return path.read_bytes()
    except OSError as error:
        msg = f"The backbone {path} cannot be read: {error.strerror}."
        raise BackboneError(msg, "Check the path.") from error


def make_backbone(name: str, data: bytes, licence: str, origin: str) -> Backbone:
    """A network from a file's bytes, if it passes the checks.

    Args:
        name: how people call it.
        data: the ONNX file.
        licence: of the weights.
        origin: what messages call it.

    Raises:
        BackboneError: unfit or unsafe.
    """
    _, signature = read_graph(data, origin)
    flat = {output: shape for output, shape in signature.outputs.items() if len(shape) == 1}
    output = "features" if "features" in flat else next(iter(flat), None)
    if output is None or flat[output][0] < 1:
        msg = f"{origin} has no output of the shape float32 [N, D] with a fixed D."
        raise BackboneError(msg, "Cut the network after its pooling layer and export it again.")
    return Backbone(
        name=name,
        digest=hashlib.sha256(data).hexdigest(),
        model=data,
        height=signature.height,
        width=signature.width,
        dim=flat[output][0],
        output=output,
        licence=licence,
    )
