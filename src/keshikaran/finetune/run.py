"""A job's folder → a network that was taught, as ONNX."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper

from keshikaran.backbones import open_engine, read_graph
from keshikaran.backbones.taught import METADATA_KEY
from keshikaran.errors import BackboneError
from keshikaran.finetune.checkpoint import EpochFigures, State
from keshikaran.finetune.cut import Halves, last_blocks, whole
from keshikaran.finetune.device import Ranks, choose_device, device_words, mixed_precision
from keshikaran.finetune.feeds import Feed, Kept, Pictures
from keshikaran.finetune.job import Job, read_job
from keshikaran.finetune.network import GraphModule, check_teachable, teachable, with_weights
from keshikaran.finetune.settings import Listeners
from keshikaran.finetune.tuning import Heard, Taught, Work, exchanged, teach
from keshikaran.hashing import write_error
from keshikaran.types import Progress, UInt8Array

MAX_DIFFERENCE = 1e-3
"""Of the largest feature: what torch and the engine may differ by."""

_CHECKED_ON = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        model: the ONNX file; None where no epoch was better than the network as it was.
        history: figures of each epoch, the first before any.
        best: the one whose weights `model` has.
        device: what it ran on, in words.
    """

    model: bytes | None
    history: tuple[EpochFigures, ...]
    best: EpochFigures
    device: str


def run_job(folder: Path, ranks: Ranks, listeners: Listeners, device_name: str = "auto") -> Outcome:
    """Teach, or go on teaching, what a folder asks for.

    Args:
        folder: of a job that is ready.
        ranks: the processes that work together.
        listeners: who is told.
        device_name: as `choose_device` takes it.

    Raises:
        BackboneError: the folder is damaged, the network cannot be taught, the device is not
            there, or what was taught is not what the engine computes.
        StoreError: a checkpoint cannot be written.
    """
    job = read_job(folder)
    device = choose_device(device_name, ranks.local)
    model, signature = read_graph(job.parent(), job.name)
    graph, source = model.graph, signature.input_name
    check_teachable(graph, job.name)
    _check_same(job, model, source, device)
    if job.settings.blocks == "all":
        halves = whole(graph, source, job.output)
    else:
        halves = last_blocks(model, source, job.output, job.name)
    names = teachable(graph, halves.back)
    body = GraphModule(graph, halves.back, halves.middle, halves.target, names)
    module = Taught(body, job).to(device)
    words = f"{halves.share:.0%} of {job.name}" if halves.front else f"all of {job.name}"
    listeners.say(f"Fine-tuning {words} on {device_words(device)}{_with_others(ranks)}.")
    if job.checkpoint.is_file():
        listeners.say("It goes on where it was broken off.")
    size = (signature.height, signature.width)
    mixed = mixed_precision(device)
    taught_mixed = mixed and device.type != "cpu"  # backwards it is no faster on processors
    feed = _feed(job, graph, halves, size, device, ranks, listeners.progress, mixed=mixed)
    with _logged(listeners, ranks, job) as heard:
        work = Work(job, module, feed, device, ranks, taught_mixed, heard, listeners.progress)
        state = teach(work)
    made = _made(job, model, names, work, state) if state.best_epoch.epoch else None
    return Outcome(made, tuple(state.history), state.best_epoch, device_words(device))


def _with_others(ranks: Ranks) -> str:
    return f", {ranks.world} processes" if ranks.world > 1 else ""


def _feed(
    job: Job,
    graph: onnx.GraphProto,
    halves: Halves,
    size: tuple[int, int],
    device: Any,  # noqa: ANN401
    ranks: Ranks,
    progress: Progress,
    *,
    mixed: bool,
) -> Feed:
    if not halves.front:
        return Pictures(job, size, device)
    front = GraphModule(graph, halves.front, halves.source, halves.middle).to(device).eval()
    return Kept(job, front, size, device, ranks, progress, mixed=mixed)


def _made(job: Job, model: onnx.ModelProto, names: list[str], work: Work, state: State) -> bytes:
    """The network with the best weights; it answers as torch did."""
    body = work.module.body
    number = {id(one): i for i, one in enumerate(state.weights)}
    best = {
        name: state.best[number[id(part)]].cpu().numpy()
        for name, part in zip(names, body.parts, strict=True)
    }
    made = with_weights(model, best)
    facts = {
        "from": hashlib.sha256(job.parent()).hexdigest(),
        "name": job.name,
        "settings": job.settings.to_dict(),
        "epoch": state.best_epoch.epoch,
        "validation_loss": [state.history[0].validation_loss, state.best_epoch.validation_loss],
    }
    notes = {entry.key: entry.value for entry in made.metadata_props}
    helper.set_model_props(made, {**notes, METADATA_KEY: json.dumps(facts, sort_keys=True)})
    data: bytes = made.SerializeToString(deterministic=True)
    work.module.eval()
    with exchanged(state.weights, state.best), torch.inference_mode():
        expected = body(next(work.feed.validation())).float().cpu().numpy()
    images = np.array(job.pictures("validation")[: len(expected)])
    _compare(_by_engine(data, job.output, images), expected[: len(images)], job.name)
    return data


def _check_same(job: Job, model: onnx.ModelProto, source: str, device: Any) -> None:  # noqa: ANN401
    """Refuse a network that torch computes otherwise than the engine does."""
    images = np.array(job.pictures("validation")[:_CHECKED_ON])
    graph = model.graph
    module = GraphModule(graph, list(graph.node), source, job.output).to(device)
    with torch.inference_mode():
        found = module(torch.from_numpy(images).to(device)).float().cpu().numpy()
    _compare(_by_engine(job.parent(), job.output, images), found, job.name)


def _by_engine(model: bytes, output: str, images: UInt8Array) -> Any:  # noqa: ANN401
    engine = open_engine(model, streams=1)
    return np.concatenate([engine.infer(image[None])[output] for image in images])


def _compare(engine: Any, torch_: Any, name: str) -> None:  # noqa: ANN401
    scale = float(np.abs(engine).max())
    difference = float(np.abs(engine - torch_).max()) / scale if scale > 0 else float("inf")
    if not difference <= MAX_DIFFERENCE:
        msg = f"torch computes {name} otherwise than the engine does, by {difference:.2g}."
        raise BackboneError(msg, "Fine-tune another network.")


@contextmanager
def _logged(listeners: Listeners, ranks: Ranks, job: Job) -> Iterator[Heard]:
    """Tells of epochs, and writes them for TensorBoard."""

    def told(figures: EpochFigures, left_s: float) -> None:
        listeners.say(epoch_words(figures, job.settings.epochs, left_s))

    if listeners.log is None:
        yield told
        return
    from tensorboardX import SummaryWriter

    try:
        with SummaryWriter(str(listeners.log)) as writer:
            writer.add_text("settings", json.dumps(job.settings.to_dict(), indent=1))

            def heard(figures: EpochFigures, left_s: float) -> None:
                for name, value in figures.to_dict().items():
                    if name != "epoch" and value is not None:
                        writer.add_scalar(f"finetune/{name}", value, figures.epoch)
                told(figures, left_s)

            yield heard
    except OSError as error:
        raise write_error(listeners.log, error) from error


def epoch_words(figures: EpochFigures, epochs: int, left_s: float) -> str:
    """One epoch in a line."""
    if figures.train_loss is None:
        return f"epoch  0/{epochs}  validation {figures.validation_loss:.4f}, as it was"
    left = f"{left_s // 60:.0f} min {left_s % 60:.0f} s"
    return (
        f"epoch {figures.epoch:>2}/{epochs}  train {figures.train_loss:.4f}"
        f"  validation {figures.validation_loss:.4f}  {figures.images_per_s or 0:.0f} images/s"
        f"  at most {left} left"
    )
