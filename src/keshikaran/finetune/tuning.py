"""Teaching a network's last blocks, or all of it, together with its head.

Plain log-loss, no weights for rare classes: they would distort probabilities. AdamW (Loshchilov
and Hutter 2019) with steps relative to the size of each weight tensor (as Adafactor has it, Shazeer
and Stern 2018: batch norms are folded into these weights, so that their sizes differ widely), a
learning rate that rises and then falls along a cosine, a moving average of the weights that
is judged on validation pictures after each epoch, and an end where that stops falling.

Order, augmentation and dropout depend on seed and step alone, so that a run that was broken off
goes on as if nothing had been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from keshikaran.finetune.checkpoint import (
    EpochFigures,
    State,
    read_checkpoint,
    write_checkpoint,
)
from keshikaran.finetune.device import Ranks
from keshikaran.finetune.feeds import Feed, autocast
from keshikaran.finetune.job import Job
from keshikaran.types import Progress

_LEAST_SIZE = 1e-3
_CHECKPOINT_EVERY_S = 60.0
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8

Heard = Callable[[EpochFigures, float], None]
"""Told after each epoch of its figures and the seconds that are left at most."""


class Taught(torch.nn.Module):  # type: ignore[misc]
    """The part of the network that is taught, and its head.

    Args:
        body: gives features [n, D].
        job: has the head to begin with.
    """

    def __init__(self, body: Any, job: Job) -> None:  # noqa: ANN401
        super().__init__()
        self.body = body
        self.dropout = job.settings.dropout
        self.weights = torch.nn.Parameter(torch.tensor(job.weights, dtype=torch.float32))
        self.bias = torch.nn.Parameter(torch.tensor(job.bias, dtype=torch.float32))

    def forward(self, given: Any) -> Any:  # noqa: ANN401
        """Logits, float32 [n]."""
        features = self.body(given).float()
        with torch.autocast(features.device.type, enabled=False):
            features = functional.dropout(features, self.dropout, self.training)
            return features @ self.weights + self.bias


@dataclass(frozen=True, slots=True)
class Work:
    """What teaching works with.

    Attributes:
        job: what is to be done.
        module: what is taught.
        feed: pictures.
        device: where it runs.
        ranks: with whom.
        mixed: whether in bfloat16 where that does no harm.
        heard: told of epochs.
        progress: told of pictures.
    """

    job: Job
    module: Taught
    feed: Feed
    device: Any
    ranks: Ranks
    mixed: bool
    heard: Heard
    progress: Progress

    @property
    def steps_per_epoch(self) -> int:
        """Batches of nearly equal size."""
        return -(-len(self.job.train_labels) // self.job.settings.batch_size)


def teach(work: Work) -> State:
    """Teach until it brings nothing more; goes on from the checkpoint if there is one.

    Raises:
        StoreError: a checkpoint cannot be written.
        BackboneError: the checkpoint is damaged.
    """
    parameters = list(work.module.parameters())
    optimizer = _optimizer(work.job, parameters)
    state = _begun(work, parameters, optimizer)
    settings = work.job.settings
    while not _is_over(state, settings.epochs, settings.patience):
        _one_epoch(work, state, optimizer)
        left = settings.epochs - state.history[-1].epoch
        work.heard(state.history[-1], left * state.history[-1].seconds)
        _keep(work, state, optimizer)
    return state


def _is_over(state: State, epochs: int, patience: int) -> bool:
    done = state.history[-1].epoch
    return done >= epochs or done - state.best_epoch.epoch >= patience


def _optimizer(job: Job, parameters: Sequence[Any]) -> Any:  # noqa: ANN401
    groups = [
        {"params": [one], "size": max(_LEAST_SIZE, float(one.detach().square().mean().sqrt()))}
        for one in parameters
    ]
    decay = job.settings.weight_decay
    return torch.optim.AdamW(groups, lr=0.0, betas=_BETAS, eps=_EPSILON, weight_decay=decay)


def _begun(work: Work, parameters: list[Any], optimizer: Any) -> State:  # noqa: ANN401
    """The state to go on from, put into module and optimizer."""
    if work.job.checkpoint.is_file():
        state = read_checkpoint(work.job.checkpoint, parameters)
        for number, one in enumerate(parameters):
            one.data.copy_(state.weights[number])
            if state.step:
                optimizer.state[one] = {
                    "step": torch.tensor(float(state.step)),
                    "exp_avg": state.first_moment[number],
                    "exp_avg_sq": state.second_moment[number],
                }
        state.weights = parameters
        return state
    state = State(
        weights=parameters,
        mean=[one.detach().clone() for one in parameters],
        best=[one.detach().clone() for one in parameters],
        first_moment=[torch.zeros_like(one) for one in parameters],
        second_moment=[torch.zeros_like(one) for one in parameters],
        step=0,
        loss=0.0,
        seconds=0.0,
        history=[],
    )
    first = EpochFigures(0, None, _validation_loss(work, state), 0.0, 0.0, None)
    state.history.append(first)
    work.heard(first, math.inf)
    return state


def _one_epoch(work: Work, state: State, optimizer: Any) -> None:  # noqa: ANN401
    """Teach to the end of the epoch that the state is in, and judge it."""
    count, per_epoch = len(work.job.train_labels), work.steps_per_epoch
    epoch = state.step // per_epoch + 1
    order = np.random.default_rng([work.job.settings.seed, 0, epoch]).permutation(count)
    batches = np.array_split(order, per_epoch)
    done = state.step % per_epoch
    started = saved = time.monotonic()
    before = state.seconds
    with work.progress.task(f"epoch {epoch}", count) as task:
        task.advance(sum(map(len, batches[:done])))
        for rows in batches[done:]:
            state.loss += _one_step(work, state, optimizer, epoch, np.sort(rows))
            task.advance(len(rows))
            now = time.monotonic()
            state.seconds = before + now - started
            if now - saved > _CHECKPOINT_EVERY_S and state.step % per_epoch:
                _keep(work, state, optimizer)
                saved = now
    loss = _validation_loss(work, state)
    if loss < state.best_epoch.validation_loss:
        state.best = [one.clone() for one in state.mean]
    rate = learning_rate(work, state.step)
    speed = count / state.seconds if state.seconds > 0 else None
    figures = EpochFigures(epoch, state.loss / count, loss, rate, state.seconds, speed)
    state.history.append(figures)
    state.loss = state.seconds = 0.0


def _one_step(
    work: Work,
    state: State,
    optimizer: Any,  # noqa: ANN401
    epoch: int,
    rows: Any,  # noqa: ANN401
) -> float:
    """One step of the optimizer on one batch; returns the sum of its pictures' losses."""
    settings, ranks = work.job.settings, work.ranks
    work.module.train()
    torch.manual_seed(settings.seed * 1_000_003 + state.step * ranks.world + ranks.rank)
    mine = rows[ranks.rank :: ranks.world]
    size = settings.micro_batch or len(mine) or 1
    total = torch.zeros((), device=work.device)
    for place in range(0, len(mine), size):
        some = mine[place : place + size]
        labels = torch.from_numpy(work.job.train_labels[some].astype(np.float32))
        with autocast(work.device, mixed=work.mixed):
            logits = work.module(work.feed.batch(epoch, some))
        loss = functional.binary_cross_entropy_with_logits(
            logits, labels.to(work.device), reduction="sum"
        )
        (loss / len(rows)).backward()
        total += loss.detach()
    if not len(mine):
        for one in state.weights:
            one.grad = torch.zeros_like(one)
    ranks.add_up([total, *(one.grad for one in state.weights)])
    rate = learning_rate(work, state.step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["size"]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    state.step += 1
    _average(work, state)
    return float(total)


def learning_rate(work: Work, step: int) -> float:
    """Relative size of step number `step`: up in a line, down along half a cosine."""
    settings = work.job.settings
    total = settings.epochs * work.steps_per_epoch
    rising = max(1, round(settings.warmup * total))
    if step < rising:
        return settings.learning_rate * (step + 1) / rising
    share = (step - rising) / max(1, total - rising)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def _average(work: Work, state: State) -> None:
    """Move the average towards the weights: it looks back over about an epoch."""
    longest = 1 - 1 / max(2, work.steps_per_epoch)
    kept = min(longest, state.step / (state.step + 9))
    with torch.no_grad():
        torch._foreach_lerp_(state.mean, [one.detach() for one in state.weights], 1 - kept)


def _validation_loss(work: Work, state: State) -> float:
    """Log-loss of the averaged weights on validation pictures, in single precision."""
    with exchanged(state.weights, state.mean), torch.inference_mode():
        work.module.eval()
        logits = torch.cat([work.module(part).cpu() for part in work.feed.validation()])
    labels = torch.from_numpy(work.job.validation_labels.astype(np.float64))
    return float(functional.binary_cross_entropy_with_logits(logits.double(), labels))


@contextmanager
def exchanged(parameters: Sequence[Any], others: Sequence[Any]) -> Any:  # noqa: ANN401
    """Other numbers in place of the parameters' own inside the block."""
    own = [one.data for one in parameters]
    try:
        for one, other in zip(parameters, others, strict=True):
            one.data = other
        yield
    finally:
        for one, number in zip(parameters, own, strict=True):
            one.data = number


def _keep(work: Work, state: State, optimizer: Any) -> None:  # noqa: ANN401
    """Write a checkpoint, by the first process for all."""
    for number, one in enumerate(state.weights):
        found = optimizer.state[one]
        state.first_moment[number] = found["exp_avg"]
        state.second_moment[number] = found["exp_avg_sq"]
    if work.ranks.rank == 0:
        write_checkpoint(work.job.checkpoint, state)
