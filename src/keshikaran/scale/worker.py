"""What runs on each machine: an actor with a decoder and an engine, which turns tasks into shards.

It is given plain text and bytes and answers with plain text: what went wrong is part of the answer.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from keshikaran.errors import ClusterError, KeshikaranError
from keshikaran.scale.contents import contents_of
from keshikaran.scale.jobs import Job, open_job
from keshikaran.scale.parquet import ShardWriter
from keshikaran.scale.settings import Settings
from keshikaran.scale.shards import ShardFolder
from keshikaran.scale.tasks import Task
from keshikaran.version import __version__


class Worker:
    """Called by Ray Data with one task at a time; loads its network with the first one.

    Args:
        settings: `Settings` as JSON.
        model: the network's or the model's file.
    """

    def __init__(self, settings: str, model: bytes) -> None:
        self._settings = Settings(**json.loads(settings))
        self._model = model
        self._job: Job | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """One task → the name of its shard, or what went wrong.

        Returns:
            `work`, `shard`, `machine`, `arithmetic`, `what` and `hint`, all text.
        """
        task = Task.from_json(str(row["task"]))
        answer = dict.fromkeys(("shard", "arithmetic", "what", "hint"), "")
        answer |= {"work": task.work, "machine": socket.gethostname()}
        try:
            if self._job is None:
                self._job = self._opened()
            shard = self._shard_of(task, self._job)
        except KeshikaranError as error:
            return answer | {"what": error.what, "hint": error.hint}
        return answer | {"shard": shard, "arithmetic": self._job.arithmetic}

    def _opened(self) -> Job:
        if self._settings.version != __version__:
            msg = f"It has keshikaran {__version__}, the work is for {self._settings.version}."
            raise ClusterError(msg, "Install the same version on all machines.")
        return open_job(self._settings, self._model)

    def _shard_of(self, task: Task, job: Job) -> str:
        folder = ShardFolder(self._settings.shards)
        with ShardWriter(folder, job.schema, task.work) as writer:
            for row in job.rows(contents_of(task, self._settings.limits)):
                writer.add(row)
            return writer.finish()
