"""Which stored images are copies of one photograph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from keshikaran.store.catalogue import Catalogue, Changes
from keshikaran.store.records import DuplicatePair
from keshikaran.types import GroupId, ImageId


class Groups:
    """Pairs of near-duplicates and the groups that follow from them.

    A group is what its pairs connect. It is named after one of its members, and keeps that name
    as it grows; where two groups become one, the larger one's name stays.

    Args:
        catalogue: where they are kept.

    Raises:
        StoreError: from every method, when the disk or the database refuses.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def record(self, pairs: Iterable[DuplicatePair]) -> int:
        """Add pairs, in one transaction; returns how many were new."""
        new = 0
        with self._catalogue.changing() as changes:
            groups = _Merging(changes)
            for pair in pairs:
                new += changes.make("pair", **asdict(pair))
                groups.join(pair.first, pair.second)
        return new

    def pairs(self, of: ImageId | None = None) -> list[DuplicatePair]:
        """All pairs, or those of one image, in order of their ids."""
        query = (
            "SELECT first, second, turn, scale, overlap, agreement, similarity, rules"
            " FROM duplicate_pairs"
        )
        where = " WHERE first = ? OR second = ?" if of is not None else ""
        with self._catalogue.database.reading() as connection:
            rows = connection.execute(
                f"{query}{where} ORDER BY first, second", (of, of) if of is not None else ()
            )
            return [DuplicatePair(*row) for row in rows]

    def of_images(self) -> dict[ImageId, GroupId]:
        """Group of each image that has a near-duplicate; any other is a group of its own."""
        with self._catalogue.database.reading() as connection:
            rows = connection.execute("SELECT image_id, group_id FROM group_members")
            return {ImageId(image_id): GroupId(group_id) for image_id, group_id in rows}

    def compared(self, rules: str) -> set[ImageId]:
        """Images that were compared with each other under `rules`."""
        with self._catalogue.database.reading() as connection:
            query = "SELECT image_id FROM compared_images WHERE rules = ?"
            return {ImageId(row[0]) for row in connection.execute(query, (rules,))}

    def set_compared(self, rules: str, image_ids: Iterable[ImageId]) -> None:
        """Remember that each of these was compared with all others, under `rules` alone."""
        with self._catalogue.database.transaction() as connection:
            connection.execute("DELETE FROM compared_images WHERE rules <> ?", (rules,))
            connection.executemany(
                "INSERT OR IGNORE INTO compared_images VALUES (?, ?)",
                [(rules, image_id) for image_id in image_ids],
            )

    def members(self) -> dict[GroupId, list[ImageId]]:
        """Images of each group that has more than one, ascending."""
        found: dict[GroupId, list[ImageId]] = {}
        for image_id, group_id in sorted(self.of_images().items()):
            found.setdefault(group_id, []).append(image_id)
        return found


def group_of(image_id: ImageId, groups: Mapping[ImageId, GroupId]) -> GroupId:
    """The group of an image, which is named after itself if it has no near-duplicate."""
    return groups.get(image_id) or GroupId(image_id)


class _Merging:
    """Joins groups in an open transaction."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        rows = changes.connection.execute("SELECT image_id, group_id FROM group_members")
        self._group: dict[str, str] = dict(rows)
        self._members: dict[str, list[str]] = {}
        for image_id, group_id in self._group.items():
            self._members.setdefault(group_id, []).append(image_id)

    def join(self, first: ImageId, second: ImageId) -> None:
        names = sorted({self._name(first), self._name(second)}, key=self._rank)
        kept = names[0]
        moved: Sequence[str] = [first, second]
        if len(names) > 1:
            moved = [*moved, *self._members.pop(names[1], [])]
        members = self._members.setdefault(kept, [])
        for image_id in moved:
            if self._group.get(image_id) != kept:
                self._group[image_id] = kept
                members.append(image_id)
                self._changes.make("group", image_id=image_id, group_id=kept)

    def _name(self, image_id: str) -> str:
        return self._group.get(image_id, image_id)

    def _rank(self, name: str) -> tuple[int, str]:
        return -len(self._members.get(name, ())), name
