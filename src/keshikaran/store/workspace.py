"""Where things lie in a workspace folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

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
    def skipped(self) -> Path:
        """The list of files that could not be used."""
        return self.folder / "skipped.csv"

    @property
    def policy(self) -> Path:
        """The operator's policy, if it is kept here."""
        return self.folder / "policy.toml"

    def model(self, model_id: str) -> Path:
        """A model file."""
        return self.folder / "models" / f"{model_id}.onnx"

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
        files = (self.folder / "models").glob("*.onnx")
        return sorted(files, key=_age, reverse=True)

    def latest_model(self) -> Path | None:
        """The newest model file, if there is one."""
        return next(iter(self.models()), None)


def _age(model: Path) -> tuple[str, int]:
    return model.name[:16], model.stat().st_mtime_ns


def workspace_folder(chosen: Path | None) -> Path:
    """The folder to use: as chosen, else from the environment, else the default."""
    if chosen is not None:
        return chosen
    return Path(os.environ.get(WORKSPACE_VARIABLE) or DEFAULT_WORKSPACE)
