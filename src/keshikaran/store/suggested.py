"""What people were asked to label, and why."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from keshikaran.store.catalogue import Catalogue
from keshikaran.types import ImageId, Suggestion, Why


class Suggested:
    """Images that were suggested for labelling.

    Args:
        catalogue: where they are kept.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def record(self, suggestions: Iterable[Suggestion]) -> int:
        """Remember suggestions, in one transaction; returns how many were new."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._catalogue.changing() as changes:
            return sum(
                changes.make("suggested", image_id=item.image_id, why=item.why, at=now)
                for item in suggestions
            )

    def of_images(self) -> dict[ImageId, set[Why]]:
        """For each image that was ever suggested, every reason there was."""
        found: dict[ImageId, set[Why]] = {}
        with self._catalogue.database.reading() as connection:
            for image_id, why in connection.execute("SELECT image_id, why FROM suggested"):
                found.setdefault(ImageId(image_id), set()).add(why)
        return found
