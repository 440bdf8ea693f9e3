"""Another model file of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import asdict
from pathlib import Path

from keshikaran.baselines.rival import RivalCard
from keshikaran.errors import PASSING_REASONS
from keshikaran.inert import printable
from keshikaran.pixels import Limits
from keshikaran.pixels.isolated import Isolation
from keshikaran.predictor import Predictor
from keshikaran.split import stored_scheme
from keshikaran.store import RivalScore, Store
from keshikaran.types import ImageId, Prediction


class ModelFileRival:
    """A model file, asked as `keshikaran predict` asks it.

    Args:
        path: the file.
        store: where the images are.
        limits: what a file may ask for.
        isolation: where images are decoded.

    Raises:
        KeshikaranError: as `Predictor.load`.
    """

    def __init__(self, path: Path, store: Store, limits: Limits, isolation: Isolation) -> None:
        self._predictor = Predictor.load(path, limits=limits, isolation=isolation)
        self._store = store
        manifest = self._predictor.manifest
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.card = RivalCard(
            printable(manifest.model_id),
            f"sha256:{digest} {self._predictor.engine.precision}",
            printable(manifest.licence),
            "probability",
            f"a model for: {printable(str(manifest.policy.get('objectionable', 'objectionable')))}",
        )

    def score(self, image_ids: Sequence[ImageId]) -> Generator[RivalScore, None, None]:
        """See `Rival.score`."""
        extensions = self._store.extension_of(image_ids)
        paths = (self._store.blobs.path_of(one, extensions[one]) for one in image_ids)
        predictions = self._predictor.predict_many(paths)
        for image_id, prediction in zip(image_ids, predictions, strict=True):
            yield _told(image_id, prediction)

    def notes(self) -> tuple[str, ...]:
        """See `Rival.notes`."""
        trained = self._predictor.manifest.training_set.get("split_scheme")
        if trained == asdict(stored_scheme(self._store)):
            return ()
        return (
            f"{self.card.name} was trained under another split: it may have learned from these test"
            " images, and its figures flatter.",
        )

    def close(self) -> None:
        """End what decodes."""
        self._predictor.close()


def _told(image_id: ImageId, prediction: Prediction) -> RivalScore:
    if prediction.score is not None and prediction.image_id == image_id:
        return RivalScore(image_id, prediction.score)
    reason = prediction.reason or "damaged_object: its file is not what was stored"
    lasting = reason.partition(":")[0] not in PASSING_REASONS
    return RivalScore(image_id, None, reason, lasting)
