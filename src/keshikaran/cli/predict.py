"""The command `predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keshikaran.cli.console import TerminalProgress, printable, result, say, talk
from keshikaran.cli.grouped import grouped
from keshikaran.cli.model_options import ModelOptions
from keshikaran.cli.options import (
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    limits_with,
    workspace_words,
)
from keshikaran.cli.ray_options import RayOptions, refuse_isolation_off, say_machines
from keshikaran.errors import UsageError
from keshikaran.ingest import files_below
from keshikaran.memory import Memory
from keshikaran.pixels.isolated import Isolation
from keshikaran.predictor import Predictor
from keshikaran.scale.cluster import Cluster
from keshikaran.types import Prediction, SilentProgress

if TYPE_CHECKING:
    from keshikaran.scale.predicting import PredictRequest

_PARTLY = 3


@grouped
def predict_command(
    images: Annotated[
        list[str],
        typer.Argument(help="Image files, folders, or - for a list of paths on standard input."),
    ],
    options: ModelOptions,
    ray: RayOptions,
    known: Annotated[
        bool, typer.Option("--known", help="Look first among the workspace's labelled images.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print scores only.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Score images: one line each, in the order given."""
    _refuse_pair("--quiet", "--json", both=quiet and as_json)
    _refuse_pair("--memory", "--known", both=options.memory is not None and known)
    path = options.file(workspace)
    cluster = ray.cluster
    if cluster is not None:
        _refuse_pair("--ray", "--known", both=known)
        words = _Words(quiet, as_json)
        request = _request(cluster, ray, path, images, options)
        if _score_on(request, words):
            raise typer.Exit(_PARTLY)
        return
    with (
        _workspace_memory(workspace, path, options.isolation)
        if known
        else nullcontext() as remembered,
        options.load(path, remembered) as predictor,
    ):
        count, undecided = _score(predictor, images, quiet=quiet, as_json=as_json)
    if not count:
        say("No image was given: the folder or list is empty.")
    elif not quiet and not as_json:
        where = workspace_words(workspace)
        say(f"Next: where you disagree, keshikaran import IMAGE --label 0|1{where}, then train")
    if undecided:
        raise typer.Exit(_PARTLY)


@dataclass(frozen=True)
class _Words:
    """How predictions are printed."""

    quiet: bool
    as_json: bool


def _request(
    cluster: Cluster, ray: RayOptions, model: Path, images: list[str], options: ModelOptions
) -> PredictRequest:
    """What is asked of many machines.

    Raises:
        UsageError: it lacks a place for the predictions, or asks for what they cannot do.
    """
    from keshikaran.scale.predicting import PredictRequest

    _refuse_pair("--ray", "--memory", both=options.memory is not None)
    refuse_isolation_off(options.isolation)
    if ray.shards is None:
        msg = "--ray needs --shards: a place for the predictions that all machines see."
        raise UsageError(msg, "Add --shards FOLDER, or an address such as s3://bucket/folder.")
    return PredictRequest(
        cluster,
        model,
        tuple(_given(images)),
        ray.shards,
        options.engine,
        options.device,
        options.precision,
        limits_with(options.accept),
        options.check,
        ray.images_per_task,
    )


def _score_on(request: PredictRequest, words: _Words) -> int:
    """Score on many machines; returns how many images stayed undecided."""
    from keshikaran.scale.predicting import predict_on

    done = predict_on(request, TerminalProgress())
    undecided = 0
    for prediction in done.predictions():
        undecided += prediction.verdict == "undecided"
        result(prediction_line(prediction, quiet=words.quiet, as_json=words.as_json))
    say_machines(done.machines, done.arithmetics, done.reused, len(done.shards))
    say(f"The same as Parquet files: {printable(request.shards)}")
    return undecided


def _given(images: list[str]) -> Iterator[str]:
    """What was named, with the lines of standard input in place of a dash."""
    for image in images:
        yield from _listed() if image == "-" else [image]


def _listed() -> Iterator[str]:
    for line in sys.stdin:
        name = line.rstrip("\r\n")
        if name:
            yield name


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


def _paths(images: list[str]) -> Iterator[str]:
    """Expand folders and standard input; a path that does not exist stays and is undecided."""
    for image in images:
        if image == "-":
            yield from _listed()
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
