"""Which network looks at images, and how: the same options wherever features are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from keshikaran.backbones import DEFAULT_BACKBONE, EngineName
from keshikaran.cli.options import AcceptOption, DeviceOption, IsolationOption, formats_of
from keshikaran.pixels import ResizeMode
from keshikaran.types import Precision

if TYPE_CHECKING:
    from keshikaran.training_run import TrainingOptions


@dataclass(frozen=True)
class BackboneOptions:
    """The options, as they were typed."""

    backbone: Annotated[
        str | None,
        typer.Option(help="A name, or the path of an ONNX file.", show_default=DEFAULT_BACKBONE),
    ] = None
    precision: Annotated[
        Precision,
        typer.Option(
            help="f32 is exact everywhere; bf16 is about twice as fast; f16 is for cards."
        ),
    ] = "f32"
    resize: Annotated[
        ResizeMode | None,
        typer.Option(help="How images get the backbone's shape.", show_default="crop"),
    ] = None
    engine: Annotated[EngineName, typer.Option(help="What runs the backbone.")] = "auto"
    device: DeviceOption = "auto"
    isolation: IsolationOption = "process"
    accept: AcceptOption = None

    @property
    def settings(self) -> TrainingOptions:
        """What they come to; everything else as usual."""
        from keshikaran.training_run import DEFAULT_RESIZE_MODE, TrainingOptions

        return TrainingOptions(
            backbone=self.backbone or DEFAULT_BACKBONE,
            resize_mode=self.resize or DEFAULT_RESIZE_MODE,
            precision=self.precision,
            engine=self.engine,
            device=self.device,
            isolation=self.isolation,
            accept=formats_of(self.accept),
        )
