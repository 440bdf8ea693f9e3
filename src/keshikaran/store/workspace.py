"""Where things lie in a workspace folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from keshikaran.errors import BundleError
from keshikaran.store.in_use import read_in_use

WORKSPACE_VARIABLE = "KESHIKARAN_WORKSPACE"
DEFAULT_WORKSPACE = "keshikaran-workspace"


@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths inside one workspace folder. Naming a path creates nothing."""

    folder: Path

    @property
    def features(self) -> Path:
        """The feature cache."""
        return self.folder / "features.sqlite"

    @property
    def index(self) -> Path:
        """The folder of search indexes: a cache too."""
        return self.folder / "index"

    @property
    def rivals(self) -> Path:
        """What other models said of the images: a cache too."""
        return self.folder / "rivals.sqlite"

    @property
    def shards(self) -> Path:
        """What other machines computed, until it is in the cache."""
        return self.folder / "shards"

    @property
    def skipped(self) -> Path:
        """The list of files that could not be used."""
        return self.folder / "skipped.csv"

    @property
    def policy(self) -> Path:
        """The operator's policy, if it is kept here."""
        return self.folder / "policy.toml"

    def model(self, model_id: str) -> Path:
        """A model file."""
        return self.model_folder / f"{model_id}.onnx"

    def report(self, model_id: str) -> Path:
        """A model's report."""
        return self.folder / "reports" / f"{model_id}.html"

    def run(self, model_id: str) -> Path:
        """A model's TensorBoard folder."""
        return self.folder / "runs" / model_id

    def models(self) -> list[Path]:
        """The model files, newest first.

        Their ids start with the second they were made in; within one the file's time counts.
        """
        files = self.model_folder.glob("*.onnx")
        return sorted(files, key=_age, reverse=True)

    def latest_model(self) -> Path | None:
        """The newest model file, if there is one."""
        return next(iter(self.models()), None)

    @property
    def model_folder(self) -> Path:
        """Where model files lie, and the record of which one is in use."""
        return self.folder / "models"

    def model_to_use(self) -> Path | None:
        """The model that answers: the one in use, else the newest, if there is one.

        Raises:
            DamagedStoreError: the record of the model in use is not what was written.
            StoreError: it cannot be read.
            BundleError: the model in use is gone. No other takes its place in silence.
        """
        model_id = read_in_use(self.model_folder).model_id
        if model_id is None:
            return self.latest_model()
        model = self.model(model_id)
        if not model.is_file():
            msg = f"The model in use, {model_id}, is not in {self.model_folder}."
            raise BundleError(msg, "Put the file back, or choose another: keshikaran rollback")
        return model


def _age(model: Path) -> tuple[str, int]:
    return model.name[:16], model.stat().st_mtime_ns


def workspace_folder(chosen: Path | None) -> Path:
    """The folder to use: as chosen, else from the environment, else the default."""
    if chosen is not None:
        return chosen
    return Path(os.environ.get(WORKSPACE_VARIABLE) or DEFAULT_WORKSPACE)
