"""A name on the command line → a rival."""

from __future__ import annotations

from pathlib import Path

from keshikaran.baselines.model_file import ModelFileRival
from keshikaran.baselines.nudenet import NUDENET
from keshikaran.baselines.opennsfw import OPENNSFW
from keshikaran.baselines.packages import PackageRival
from keshikaran.baselines.rival import Rival
from keshikaran.baselines.score_list import ScoreFileRival
from keshikaran.errors import UsageError
from keshikaran.pixels import DEFAULT_LIMITS, Decoder, Limits
from keshikaran.pixels.isolated import Isolation
from keshikaran.store import Store

PACKAGES = {package.distribution: package for package in (OPENNSFW, NUDENET)}
"""Ready-made models by the name of their package."""


def open_rival(name: str, store: Store, decoder: Decoder, isolation: Isolation) -> Rival:
    """The rival of that name, ready to score; close it when done.

    Args:
        name: one of `PACKAGES`, else the path of a model file (.onnx) or a list of scores (.csv).
        store: the images that it will be asked about.
        decoder: makes pixels for packages; closed by whoever opened it.
        isolation: where a model file's images are decoded.

    Raises:
        UsageError: it is none of these.
        MissingExtraError: the package is not installed.
        SourceError: the list of scores cannot be used.
        BundleError: the model file cannot be used.
    """
    limits = Limits(formats=DEFAULT_LIMITS.formats | store.formats())
    if name in PACKAGES:
        return PackageRival(PACKAGES[name], store, decoder, limits)
    path = Path(name)
    if path.suffix.lower() == ".csv":
        return ScoreFileRival(path, store)
    if path.suffix.lower() == ".onnx":
        return ModelFileRival(path, store, limits, isolation)
    msg = f"{name!r} is nothing to compare with."
    known = ", ".join(PACKAGES)
    raise UsageError(msg, f"Name one of {known}, a model file (.onnx) or a list of scores (.csv).")
