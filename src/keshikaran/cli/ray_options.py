"""Which machines do the work: the same options for every command that can give it away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from keshikaran.cli.console import printable, say
from keshikaran.errors import UsageError
from keshikaran.pixels.isolated import Isolation
from keshikaran.scale.cluster import Cluster
from keshikaran.scale.tasks import PIECES_PER_TASK

_SHOWN = 5


@dataclass(frozen=True)
class RayOptions:
    """The options, as they were typed."""

    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Work on a Ray cluster: local, auto, HOST:PORT or ray://HOST:PORT.",
            show_default=False,
        ),
    ] = None
    ray_workers: Annotated[
        int | None,
        typer.Option(min=1, help="How many workers. Default: one a processor.", show_default=False),
    ] = None
    part_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images to a part of the work. Default: 1024.", show_default=False
        ),
    ] = None
    shards: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|ADDRESS",
            help="Where workers write Parquet files; all machines must see it.",
            show_default=False,
        ),
    ] = None

    @property
    def images_per_task(self) -> int:
        """How large parts of the work are, on average at most."""
        return self.part_size or PIECES_PER_TASK

    @property
    def cluster(self) -> Cluster | None:
        """The machines; None for this one, without Ray.

        Raises:
            UsageError: the address is none, or an option has no effect without --ray.
        """
        if self.ray is not None:
            return Cluster(self.ray, self.ray_workers)
        given = {
            "--ray-workers": self.ray_workers,
            "--part-size": self.part_size,
            "--shards": self.shards,
        }
        for name, value in given.items():
            if value is not None:
                msg = f"{name} changes nothing without --ray."
                raise UsageError(msg, "Add --ray local, or the address of a cluster.")
        return None


def refuse_isolation_off(isolation: Isolation) -> None:
    """Workers always decode in child processes.

    Raises:
        UsageError: something else was asked for.
    """
    if isolation == "off":
        msg = "--isolation off is not for many machines: what breaks a worker breaks all of them."
        raise UsageError(msg, "Leave it out.")


def say_machines(machines: Sequence[str], arithmetics: int, reused: int, tasks: int) -> None:
    """Who did it, what was there before, and whether all of them round alike."""
    if reused:
        say(f"{reused:,} of {tasks:,} parts had been done before.")
    if machines:
        say(f"Worked on {len(machines):,} machine(s): {printable(', '.join(machines[:_SHOWN]))}.")
    if arithmetics > 1:
        say(
            f"They round in {arithmetics} ways (other processors): the last bits of features depend"
            " on who computed them."
        )
