"""Tasks → shards, on a cluster: what is there is not done again, what is lost is done again."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from keshikaran.errors import PASSING_REASONS, ClusterError, DamagedStoreError, UsageError
from keshikaran.scale.cluster import Cluster, connected
from keshikaran.scale.parquet import read_batches
from keshikaran.scale.settings import Settings
from keshikaran.scale.shards import ShardFolder
from keshikaran.scale.tasks import Task
from keshikaran.scale.worker import Worker
from keshikaran.types import Progress

_TRIES = 5
"""How often a task is given out again after the death of whoever had it."""


@dataclass(slots=True)
class Ran:
    """What became of tasks.

    Attributes:
        shards: names of the files, in the order of the tasks; one for each.
        reused: how many of them were there before.
        machines: names of those that worked.
        arithmetics: how they round; more than one name means that the last bits can differ.
    """

    shards: list[str] = field(default_factory=list)
    reused: int = 0
    machines: set[str] = field(default_factory=set)
    arithmetics: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done, and where.

    Attributes:
        cluster: the machines.
        settings: how.
        model: the network's or model's file.
    """

    cluster: Cluster
    settings: Settings
    model: bytes


def run(tasks: Sequence[Task], order: Order, progress: Progress) -> Ran:
    """Have each task's shard made, unless it is there; Ray is not even started for nothing.

    Args:
        tasks: each work once counts, however often it is named.
        order: who does it, and how.
        progress: told of images.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: no other process sees where the shards are to go.
        ClusterError: the cluster cannot be used, or work failed there.
        StoreError: the shards cannot be read or written.
    """
    if order.settings.shards.startswith("memory:"):
        msg = f"No other process sees {order.settings.shards}."
        raise UsageError(msg, "Name a folder, or an address such as s3://bucket/folder.")
    folder = ShardFolder(order.settings.shards)
    wanted = {task.work: task for task in tasks}
    done = _usable(folder, wanted)
    ran = Ran(reused=len(done))
    left = [task for task in wanted.values() if task.work not in done]
    with progress.task("featurize" if order.settings.output else "predict", _count(wanted)) as bar:
        bar.advance(_count({work: wanted[work] for work in done}))
        if left:
            with connected(order.cluster) as ray:
                for answer in _answers(ray, left, order):
                    _check(answer)
                    done[answer["work"]] = answer["shard"]
                    ran.machines.add(answer["machine"])
                    ran.arithmetics.add(answer["arithmetic"])
                    bar.advance(len(wanted[answer["work"]].pieces))
    missing = wanted.keys() - done.keys()
    if missing:
        msg = f"{len(missing):,} of {len(wanted):,} tasks were not done, and nobody said why."
        raise ClusterError(msg, "Run the same command again: what is done is kept.")
    folder.clear_up(wanted)
    ran.shards = [done[work] for work in wanted]
    return ran


def _usable(folder: ShardFolder, wanted: dict[str, Task]) -> dict[str, str]:
    """Shards that are whole and hold no refusal that may be gone now; others are removed."""
    found = {work: name for work, name in folder.names().items() if work in wanted}
    for work, name in list(found.items()):
        if not _is_final(folder, name):
            folder.remove(name)
            del found[work]
    return found


def _is_final(folder: ShardFolder, name: str) -> bool:
    try:
        with folder.fetched(name) as path:
            return not any(
                str(reason).partition(":")[0] in PASSING_REASONS
                for batch in read_batches(path)
                for reason in batch.column("reason").drop_null().to_pylist()
            )
    except DamagedStoreError:
        return False


def _answers(ray: Any, tasks: Sequence[Task], order: Order) -> Any:  # noqa: ANN401
    """What workers say, as it comes."""
    data = importlib.import_module("ray.data")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    try:
        yield from _dataset(ray, data, tasks, order).iter_rows()
    except Exception as error:  # Ray raises many kinds
        words = " ".join(str(error).split())[-300:]
        msg = f"Work on the Ray cluster failed: {type(error).__name__}: {words}"
        raise ClusterError(msg, "Run the same command again: what is done is kept.") from error


def _dataset(ray: Any, data: Any, tasks: Sequence[Task], order: Order) -> Any:  # noqa: ANN401
    size, resources = _pool(ray, order, len(tasks))
    rows = [{"task": task.to_json()} for task in tasks]
    with warnings.catch_warnings():
        # Nothing else bounds retries yet; Ray 2.64 takes it away, and pyproject.toml stops there.
        warnings.filterwarnings("ignore", "`ray_remote_args_fn` is deprecated")
        return data.from_items(rows, override_num_blocks=len(rows)).map(
            Worker,
            fn_constructor_args=(json.dumps(asdict(order.settings)), order.model),
            compute=data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
            ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": _TRIES},
            **resources,
        )


def _pool(ray: Any, order: Order, tasks: int) -> tuple[int, dict[str, float]]:  # noqa: ANN401
    """How many workers, and what each of them needs."""
    there = ray.cluster_resources()
    cores, cards = int(there.get("CPU", 0)), int(there.get("GPU", 0))
    if order.settings.device != "cpu" and cards:
        most, each = cards, {"num_cpus": max(1.0, cores // cards), "num_gpus": 1.0}
    else:
        most, each = cores, {"num_cpus": float(order.settings.streams)}
    wanted = order.cluster.workers or max(1, most // max(1, order.settings.streams))
    return max(1, min(wanted, tasks)), each


def _check(answer: dict[str, str]) -> None:
    if answer["what"]:
        msg = f"On {answer['machine']}: {answer['what']}"
        raise ClusterError(msg, answer["hint"])


def _count(tasks: dict[str, Task]) -> int:
    return sum(len(task.pieces) for task in tasks.values())
