"""The processes of a `torchrun`, and who does what among them.

The first one imports, decodes and writes the job's folder; the others wait for its name, teach
with it, and are done. Outside of `torchrun` there is but one, and nobody to wait for.
"""

from __future__ import annotations

from pathlib import Path

from keshikaran.finetune.device import Ranks, choose_device
from keshikaran.finetune.run import Outcome, run_job
from keshikaran.finetune.settings import Listeners
from keshikaran.types import SilentProgress


class Crew:
    """The processes that teach together; joined within the block.

    Args:
        device: as it was asked for.
    """

    def __init__(self, device: str) -> None:
        self.ranks = Ranks()
        self._name = device
        self._device = choose_device(device, self.ranks.local)

    def __enter__(self) -> Crew:
        self.ranks.join(self._device)
        return self

    def __exit__(self, *_: object) -> None:
        self.ranks.leave()

    def lead(self, folder: Path, listeners: Listeners) -> Outcome:
        """Teach as the first process; see `run_job`."""
        self.ranks.tell(str(folder.resolve()), self._device)
        return run_job(folder, self.ranks, listeners, self._name)

    def dismiss(self) -> None:
        """Let the others go: there is nothing to do."""
        self.ranks.tell("", self._device)

    def follow(self) -> None:
        """Teach as one of the others, if there is anything to teach."""
        folder = self.ranks.tell("", self._device)
        if folder:
            nobody = Listeners(lambda _: None, SilentProgress())
            run_job(Path(folder), self.ranks, nobody, self._name)
