"""What was said about images: every word, and the labels that follow."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Generic, TypeVar

from keshikaran.store.catalogue import Catalogue
from keshikaran.store.recording import say as append
from keshikaran.store.records import Contradiction, LabelEvent, LabelledImage
from keshikaran.types import ImageId, Label, chunks_of

Item = TypeVar("Item")

_QUERY_SIZE = 500


class Labels:
    """Labels of a workspace's images, and their history.

    A person's word counts more than any import; imports that disagree leave an image without a
    label. Nothing that was said is ever changed or deleted.

    Args:
        catalogue: where they are kept.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._labelled: _Known[LabelledImage] = _Known()
        self._contradictions: _Known[Contradiction] = _Known()

    def say(self, image_id: ImageId, value: Label | None, *, who: str, why: str) -> None:
        """Append a person's word; None takes it back, so that what imports say holds again."""
        with self._catalogue.changing() as changes:
            append(changes, image_id, value, by="person", claim="", who=who, why=why, at=_now())

    def say_many(self, words: Sequence[tuple[ImageId, Label | None, str]], *, who: str) -> None:
        """Append what a person says about many images, all of it or nothing.

        Args:
            words: image, label (None takes an earlier word back), and the reason.
            who: the person.
        """
        now = _now()
        with self._catalogue.changing() as changes:
            for image_id, value, why in words:
                append(changes, image_id, value, by="person", claim="", who=who, why=why, at=now)

    def history(self, image_id: ImageId) -> list[LabelEvent]:
        """Everything that was ever said about an image, the oldest first."""
        with self._catalogue.database.reading() as connection:
            rows = connection.execute(
                "SELECT value, kind, claim, who, why, at FROM label_events"
                " WHERE image_id = ? ORDER BY id",
                (image_id,),
            )
            return [LabelEvent(*row) for row in rows]

    def by_people(self) -> dict[ImageId, Label]:
        """Labels that are a person's word, as long as it holds."""
        with self._catalogue.database.reading() as connection:
            rows = connection.execute(
                "SELECT image_id, value FROM claims WHERE kind = 'person' AND value IS NOT NULL"
            )
            return {ImageId(image_id): value for image_id, value in rows}

    def settled(self) -> dict[ImageId, Label]:
        """Labels that a person confirmed or corrected: their word on an image that had one."""
        with self._catalogue.database.reading() as connection:
            rows = connection.execute(
                "SELECT image_id, value FROM claims WHERE kind = 'person' AND value IS NOT NULL"
                " AND EXISTS (SELECT 1 FROM label_events AS before"
                " WHERE before.image_id = claims.image_id AND before.id < claims.event_id"
                " AND before.value IS NOT NULL)"
            )
            return {ImageId(image_id): value for image_id, value in rows}

    def retract_claim(self, image_id: ImageId, claim: str, *, who: str, why: str) -> None:
        """Append that an imported claim no longer holds."""
        with self._catalogue.changing() as changes:
            append(changes, image_id, None, by="import", claim=claim, who=who, why=why, at=_now())

    def images(self) -> list[LabelledImage]:
        """All images with a usable label, in the order their first label arrived."""
        with self._catalogue.database.reading() as connection:
            return self._labelled.at(_last_event(connection), lambda: _images(connection))

    def of(self, image_ids: Sequence[ImageId]) -> dict[ImageId, Label]:
        """Labels of those of `image_ids` that have a usable one.

        The view `labels` says the same of all images, in the time that takes.
        """
        words: dict[ImageId, dict[str, Label | None]] = {}
        with self._catalogue.database.reading() as connection:
            for part in chunks_of(len(image_ids), _QUERY_SIZE):
                ids = image_ids[part]
                marks = ",".join("?" * len(ids))
                rows = connection.execute(
                    "SELECT image_id, claim, value FROM label_events"
                    f" WHERE image_id IN ({marks}) ORDER BY id",
                    ids,
                )
                for image_id, claim, value in rows:
                    words.setdefault(ImageId(image_id), {})[claim] = value
        labels = {image_id: _label_of(claims) for image_id, claims in words.items()}
        return {image_id: label for image_id, label in labels.items() if label is not None}

    def unlabelled(self) -> list[ImageId]:
        """Images of which nobody says anything, ascending; contradictory ones are none of them."""
        with self._catalogue.database.reading() as connection:
            rows = connection.execute(
                "SELECT image_id FROM images WHERE image_id NOT IN"
                " (SELECT image_id FROM labels WHERE value IS NOT NULL OR contradictory)"
                " ORDER BY image_id"
            )
            return [ImageId(row[0]) for row in rows]

    def contradictions(self) -> list[Contradiction]:
        """Images that imports label both ways and no person has decided."""
        with self._catalogue.database.reading() as connection:
            last = _last_event(connection)
            return self._contradictions.at(last, lambda: _contradictions(connection))


class _Known(Generic[Item]):
    """What the label events amount to, read again only after another one was appended.

    What people and imports said is only ever added to: the number of the last event names it all.
    """

    def __init__(self) -> None:
        self._found: tuple[int | None, list[Item]] | None = None

    def at(self, last: int | None, read: Callable[[], list[Item]]) -> list[Item]:
        """All of it, after that event."""
        if self._found is None or self._found[0] != last:
            self._found = (last, read())
        return list(self._found[1])


def _last_event(connection: sqlite3.Connection) -> int | None:
    (last,) = connection.execute("SELECT MAX(id) FROM label_events").fetchone()
    return last  # type: ignore[no-any-return]


def _images(connection: sqlite3.Connection) -> list[LabelledImage]:
    rows = connection.execute(
        "SELECT image_id, object_id, value FROM labels JOIN images USING (image_id)"
        " WHERE value IS NOT NULL ORDER BY position"
    )
    return [LabelledImage(ImageId(i), o, v) for i, o, v in rows]


def _contradictions(connection: sqlite3.Connection) -> list[Contradiction]:
    sides: dict[ImageId, tuple[list[str], list[str]]] = {}
    rows = connection.execute(
        "SELECT image_id, claim, claims.value FROM claims JOIN labels USING (image_id)"
        " WHERE contradictory AND claims.value IS NOT NULL ORDER BY image_id, claim"
    )
    for image_id, claim, value in rows:
        sides.setdefault(ImageId(image_id), ([], []))[value].append(claim)
    return [Contradiction(i, tuple(zero), tuple(one)) for i, (zero, one) in sides.items()]


def _label_of(claims: dict[str, Label | None]) -> Label | None:
    """What the last word of each claim amounts to; a person's claim has no name."""
    if (word := claims.get("")) is not None:
        return word
    values = {value for value in claims.values() if value is not None}
    return values.pop() if len(values) == 1 else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
