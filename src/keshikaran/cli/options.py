"""Options that several commands share."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from keshikaran.backbones import Device, EngineName
from keshikaran.cli.console import printable
from keshikaran.errors import MissingExtraError, StoreError, UsageError
from keshikaran.pixels import FORMATS, ImageFormat, Limits
from keshikaran.pixels.isolated import Isolation
from keshikaran.policy import Policy, read_policy
from keshikaran.signature import SignatureCheck
from keshikaran.store import Workspace, workspace_folder
from keshikaran.types import Precision

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        help="Where everything is kept. Default: $KESHIKARAN_WORKSPACE, else"
        " ./keshikaran-workspace.",
        show_default=False,
    ),
]
IsolationOption = Annotated[
    Isolation,
    typer.Option(help="Decode images in child processes with limits, or (off) in this one."),
]


class ExtraFormat(StrEnum):
    """Formats that are taken only where somebody asks for them."""

    AVIF = "avif"
    HEIC = "heic"
    JXL = "jxl"


AcceptOption = Annotated[
    list[ExtraFormat] | None,
    typer.Option(
        "--accept",
        help="Also take files of this format; repeat for several.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
PositiveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--positive",
        metavar="NAME",
        help="A class folder whose images are objectionable; repeat for several.",
        show_default=False,
    ),
]
MediaDirOption = Annotated[
    Path | None,
    typer.Option(help="Where the files that a label.csv names lie.", show_default=False),
]
RehashOption = Annotated[
    bool,
    typer.Option("--rehash", help="Read every file again, also those that look unchanged."),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="What is objectionable, how common it is, what is asked. Default: policy.toml in"
        " the workspace, if there is one.",
        show_default=False,
    ),
]
BackboneOption = Annotated[str, typer.Option(help="A name, or the path of an ONNX file.")]
SignatureOption = Annotated[
    Path | None,
    typer.Option(
        "--signature",
        metavar="FILE",
        help="Use the model only if this signature vouches for it.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        help="A model file. Default: the one in use, else the latest.", show_default=False
    ),
]
ModelPrecisionOption = Annotated[
    Precision | None,
    typer.Option(help="Default: the one the model was made in.", show_default=False),
]
ModelEngineOption = Annotated[EngineName, typer.Option(help="What runs the model.")]
DeviceOption = Annotated[
    Device,
    typer.Option(
        help="Where networks run: cuda and tensorrt are an NVIDIA card or an error; auto is a card"
        " where the extra cuda is installed and one answers."
    ),
]
MemoryOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Look first among the known images of this file (see export-memory).",
        show_default=False,
    ),
]
PublicKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--public-key",
        metavar="FILE",
        help="The signer's public key (PEM), for --signature.",
        show_default=False,
    ),
]

_TRAIN_MODULES = ("scipy", "sklearn", "jinja2", "tensorboardX")
_TRACES = ("catalogue.sqlite", "journal.jsonl", "objects")


def formats_of(accepted: list[ExtraFormat] | None) -> frozenset[ImageFormat]:
    """The chosen formats in the package's own words."""
    return frozenset(chosen.value for chosen in accepted or ())


def limits_with(accepted: list[ExtraFormat] | None) -> Limits:
    """The default limits, and the formats that were asked for."""
    return Limits(formats=FORMATS | formats_of(accepted))


def open_workspace(chosen: Path | None) -> Workspace:
    """The workspace to use; nothing is created yet."""
    return Workspace(workspace_folder(chosen))


def chosen_policy(
    chosen: Path | None, workspace: Path | None, positives: Sequence[str] = ()
) -> Policy:
    """The policy file that was named, else the workspace's, else the usual demands.

    Raises:
        PolicyError: the file cannot be used.
    """
    default = open_workspace(workspace).policy
    if chosen is None and default.is_file():
        chosen = default
    if chosen is not None:
        return read_policy(chosen)
    return Policy(objectionable=", ".join(positives)) if positives else Policy()


def workspace_words(chosen: Path | None) -> str:
    """What a suggested command needs at its end to find the same workspace."""
    return "" if chosen is None else f" --workspace {printable(shlex.quote(str(chosen)))}"


def existing_workspace(chosen: Path | None) -> Workspace:
    """The workspace to use, which must be there: a mistyped name makes no empty one.

    Raises:
        UsageError: there is none.
        StoreError: it has lost its catalogue.
    """
    place = open_workspace(chosen)
    if not (place.folder / "catalogue.sqlite").is_file():
        traced_workspace(chosen)
        msg = f"The workspace at {place.folder} has lost its catalogue."
        raise StoreError(msg, f"Make it again: keshikaran rebuild{workspace_words(chosen)}")
    return place


def traced_workspace(chosen: Path | None) -> Workspace:
    """The workspace to use, of which there must be something, if only stored files.

    Raises:
        UsageError: there is nothing.
    """
    place = open_workspace(chosen)
    if not any((place.folder / name).exists() for name in _TRACES):
        msg = f"There is no workspace at {place.folder}."
        raise UsageError(msg, "Start one: keshikaran import FOLDER --positive NAME")
    return place


def asked_signature(signature: Path | None, public_key: Path | None) -> SignatureCheck | None:
    """What --signature and --public-key ask for together.

    Raises:
        UsageError: one is given without the other.
    """
    if signature is None and public_key is None:
        return None
    if signature is None or public_key is None:
        msg = "--signature and --public-key need each other."
        raise UsageError(msg, "Give both, or neither.")
    return SignatureCheck(signature, public_key)


def need_training(what: str = "Training") -> None:
    """Refuse early when the packages that training needs are missing.

    Args:
        what: the activity that needs them.

    Raises:
        MissingExtraError: names the extra.
    """
    if any(importlib.util.find_spec(name) is None for name in _TRAIN_MODULES):
        raise MissingExtraError(what, "train")
