"""The command `predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from keshikaran.backbones import EngineName
from keshikaran.cli.console import TerminalProgress, printable, result, say, talk
from keshikaran.cli.options import (
    AcceptOption,
    IsolationOption,
    JsonOption,
    PublicKeyOption,
    SignatureOption,
    WorkspaceOption,
    asked_signature,
    existing_workspace,
    limits_with,
    open_workspace,
    workspace_words,
)
from keshikaran.errors import BundleError, UsageError
from keshikaran.ingest import files_below
from keshikaran.memory import Memory
from keshikaran.pixels.isolated import Isolation
from keshikaran.predictor import Predictor
from keshikaran.types import Precision, Prediction, SilentProgress

_PARTLY = 3


def predict_command(
    images: Annotated[
        list[str],
        typer.Argument(help="Image files, folders, or - for a list of paths on standard input."),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            help="A model file. Default: the one in use, else the latest.", show_default=False
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print scores only.")] = False,
    as_json: JsonOption = False,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Default: the one the model was made in.", show_default=False),
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="What runs the model.")] = "auto",
    isolation: IsolationOption = "process",
    accept: AcceptOption = None,
    signature: SignatureOption = None,
    public_key: PublicKeyOption = None,
    memory: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Look first among the known images of this file (see export-memory).",
            show_default=False,
        ),
    ] = None,
    known: Annotated[
        bool, typer.Option("--known", help="Look first among the workspace's labelled images.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Score images: one line each, in the order given."""
    _refuse_pair("--quiet", "--json", both=quiet and as_json)
    _refuse_pair("--memory", "--known", both=memory is not None and known)
    path = model or model_in_use(workspace)
    with (
        _workspace_memory(workspace, path, isolation)
        if known
        else nullcontext(memory) as remembered,
        Predictor.load(
            path,
            engine=engine,
            precision=precision,
            isolation=isolation,
            limits=limits_with(accept),
            signature=asked_signature(signature, public_key),
            memory=remembered,
        ) as predictor,
    ):
        count, undecided = _score(predictor, images, quiet=quiet, as_json=as_json)
    if not count:
        say("No image was given: the folder or list is empty.")
    elif not quiet and not as_json:
        where = workspace_words(workspace)
        say(f"Next: where you disagree, keshikaran import IMAGE --label 0|1{where}, then train")
    if undecided:
        raise typer.Exit(_PARTLY)


def _refuse_pair(first: str, second: str, *, both: bool) -> None:
    if both:
        msg = f"{first} and {second} exclude each other."
        raise UsageError(msg, "Choose one.")


def _workspace_memory(
    workspace: Path | None, model: Path, isolation: Isolation
) -> AbstractContextManager[Memory]:
    """Loaded only when asked for: scoring needs nothing of the store."""
    from keshikaran.known import open_known

    place = existing_workspace(workspace)
    return open_known(place, model, isolation=isolation, progress=TerminalProgress())


def _score(
    predictor: Predictor, images: list[str], *, quiet: bool, as_json: bool
) -> tuple[int, int]:
    """Print a line for each image; returns how many there were and how many stayed undecided."""
    count = undecided = 0
    bars = talk.is_terminal and not sys.stdout.isatty()
    progress = TerminalProgress() if bars else SilentProgress()
    many = list(_paths(images)) if bars else None
    with progress.task("predict", len(many)) if many is not None else nullcontext() as task:
        for prediction in predictor.predict_many(many if many is not None else _paths(images)):
            count += 1
            undecided += prediction.verdict == "undecided"
            result(prediction_line(prediction, quiet=quiet, as_json=as_json))
            if task is not None:
                task.advance()
    return count, undecided


def prediction_line(prediction: Prediction, *, quiet: bool = False, as_json: bool = False) -> str:
    """One prediction as a line for people, as a bare score, or as a JSON object."""
    if as_json:
        return json.dumps(prediction.to_dict())
    score = "-" if prediction.score is None else f"{prediction.score:.4f}"
    if quiet:
        return score
    reason = f"  ({printable(prediction.reason)})" if prediction.reason else ""
    known = f"  ({known_words(prediction)})" if prediction.evidence is not None else ""
    return f"{score:<6}  {prediction.verdict:<9}  {printable(prediction.path)}{reason}{known}"


def known_words(prediction: Prediction) -> str:
    """Which known image an answer rests on; empty where it rests on none."""
    evidence = prediction.evidence
    if evidence is None:
        return ""
    how = "same bytes as" if prediction.source == "exact" else "copy of"
    label = "objectionable" if evidence.label else "acceptable"
    return f"known: {how} {evidence.image_id[:12]}, {label}"


def model_in_use(workspace: Path | None) -> Path:
    """The model of a workspace that answers: the one in use, else the newest.

    Raises:
        BundleError: there is none, or the one in use is gone.
        StoreError: nothing can be told of the one in use.
    """
    place = open_workspace(workspace)
    model = place.model_to_use()
    if model is None:
        msg = f"There is no model in {place.folder}."
        raise BundleError(msg, "Train one with: keshikaran train, or name one with --model FILE.")
    return model


def _paths(images: list[str]) -> Iterator[str]:
    """Expand folders and standard input; a path that does not exist stays and is undecided."""
    for image in images:
        if image == "-":
            for line in sys.stdin:
                name = line.rstrip("\r\n")
                if name:
                    yield name
        elif _is_folder(image):
            yield from (str(Path(image) / file) for file in sorted(files_below(Path(image))))
        else:
            yield image


def _is_folder(name: str) -> bool:
    """An empty name is no folder, nor is one that is too long for the file system."""
    try:
        return bool(name) and Path(name).is_dir()
    except OSError:
        return False
