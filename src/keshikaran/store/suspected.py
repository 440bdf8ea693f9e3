"""Which stored images may be copies of one photograph, though pixels could not tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from keshikaran.store.catalogue import Catalogue
from keshikaran.store.records import SuspectedPair
from keshikaran.types import ImageId


class Suspected:
    """Pairs of images that are suspected to be copies.

    Args:
        catalogue: where they are kept.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def record(self, pairs: Iterable[SuspectedPair]) -> int:
        """Remember pairs, in one transaction; returns how many were new."""
        with self._catalogue.changing() as changes:
            return sum(changes.make("suspect", **asdict(pair)) for pair in pairs)

    def pairs(self, of: ImageId | None = None) -> list[SuspectedPair]:
        """Pairs that are suspected still, or those of one image, in order of their ids.

        Two images that are in one group by now are known copies, and suspected no more.
        """
        only = " AND (first = ? OR second = ?)" if of is not None else ""
        with self._catalogue.database.reading() as connection:
            rows = connection.execute(
                "SELECT first, second, turn, scale, overlap, agreement, similarity, rules, spreads"
                " FROM suspected_pairs"
                " LEFT JOIN group_members AS one ON one.image_id = first"
                " LEFT JOIN group_members AS other ON other.image_id = second"
                " WHERE (one.group_id IS NULL OR one.group_id IS NOT other.group_id)"
                f"{only} ORDER BY first, second",
                (of, of) if of is not None else (),
            )
            return [SuspectedPair(*row) for row in rows]
