"""What runs a network, and where: the same options wherever finished models are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from keshikaran.backbones import EngineName
from keshikaran.cli.options import DeviceOption, IsolationOption

if TYPE_CHECKING:
    from keshikaran.training_run import TrainingOptions


@dataclass(frozen=True)
class EngineOptions:
    """The options, as they were typed."""

    engine: Annotated[EngineName, typer.Option(help="What runs the network.")] = "auto"
    device: DeviceOption = "auto"
    isolation: IsolationOption = "process"

    @property
    def settings(self) -> TrainingOptions:
        """What they come to; everything else as usual."""
        from keshikaran.training_run import TrainingOptions

        return TrainingOptions(engine=self.engine, device=self.device, isolation=self.isolation)
