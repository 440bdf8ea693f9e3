"""Which model answers, and how it is run: the same options for every command that asks one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keshikaran.cli.options import (
    AcceptOption,
    DeviceOption,
    IsolationOption,
    MemoryOption,
    ModelEngineOption,
    ModelOption,
    ModelPrecisionOption,
    PublicKeyOption,
    SignatureOption,
    asked_signature,
    limits_with,
    open_workspace,
)
from keshikaran.errors import BundleError
from keshikaran.memory import Memory
from keshikaran.predictor import Predictor
from keshikaran.signature import SignatureCheck


@dataclass(frozen=True)
class ModelOptions:
    """The options, as they were typed."""

    model: ModelOption = None
    precision: ModelPrecisionOption = None
    engine: ModelEngineOption = "auto"
    device: DeviceOption = "auto"
    isolation: IsolationOption = "process"
    accept: AcceptOption = None
    signature: SignatureOption = None
    public_key: PublicKeyOption = None
    memory: MemoryOption = None

    @property
    def check(self) -> SignatureCheck | None:
        """Who must have signed the model file.

        Raises:
            UsageError: half of the question is missing.
        """
        return asked_signature(self.signature, self.public_key)

    def file(self, workspace: Path | None) -> Path:
        """The model file: the one that was named, else the workspace's.

        Raises:
            BundleError: there is none.
        """
        return self.model or model_in_use(workspace)

    def load(self, path: Path, memory: Memory | None = None) -> Predictor:
        """Load a model file as was asked.

        Args:
            path: the file.
            memory: known images, in place of those of `--memory`.

        Raises:
            KeshikaranError: as `Predictor.load`.
        """
        return Predictor.load(
            path,
            engine=self.engine,
            device=self.device,
            precision=self.precision,
            isolation=self.isolation,
            limits=limits_with(self.accept),
            signature=self.check,
            memory=self.memory if memory is None else memory,
        )


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
