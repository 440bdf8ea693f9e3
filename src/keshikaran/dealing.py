"""Which side each image gets: by group, and without moving one that has a side.

The unit is a group of near-duplicates, and what is suspected to belong to it; an image without
either is a group of its own. Pure: nothing here knows where images, groups and former sides are
kept. docs/split.md tells the rules in words.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from keshikaran.store import LabelledImage, SetAside, SuspectedPair, group_of
from keshikaran.types import SPLITS, GroupId, ImageId, Label, Split

_VALIDATION_SHARE = 0.1
_TEST_SHARE = 0.1
_JUDGING: tuple[Split, ...] = ("test", "validation")
_LABELS: tuple[Label, ...] = (0, 1)

Families = dict[ImageId, list[LabelledImage]]
"""The labelled images of each group, by the smallest id of any image of the group."""


@dataclass(frozen=True, slots=True)
class Dealt:
    """Sides of images.

    Attributes:
        sides: side of each image that has one.
        set_aside: images that get none, since they would teach what is judged, or are copies of
            it under the other label; by image id.
    """

    sides: Mapping[ImageId, Split] = field(default_factory=dict)
    set_aside: Sequence[SetAside] = ()


def hash_side(image_id: ImageId, salt: str = "") -> Split:
    """Side of one image by its hash alone: 80% train, 10% validation, 10% test."""
    digest = hashlib.sha256(f"{salt}:{image_id}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < _TEST_SHARE:
        return "test"
    if share < _TEST_SHARE + _VALIDATION_SHARE:
        return "validation"
    return "train"


def deal(
    images: Iterable[LabelledImage],
    groups: Mapping[ImageId, GroupId],
    past: Dealt,
    *,
    salt: str = "",
    balance: bool = False,
) -> Dealt:
    """Give every image a side, or set it aside.

    A group of which no image was dealt before goes where the hash of its smallest id says. What
    was dealt before stays, and a new image joins its group: on test, else on validation, else on
    train. Training images of a group that also judges are set aside, and come back to train once
    it judges no more. So are new images that contradict the label of those that judge.

    Args:
        images: labelled, in any order; the result does not depend on it.
        groups: what stays together, labelled or not, as of `kept_together`; {} deals images one
            by one.
        past: what was dealt before by the same rule; images without a label are ignored.
        salt: another salt, another split.
        balance: cut the larger class of validation and test to the smaller one's size, by groups
            that are dealt now; the surplus goes to train.
    """
    sides: dict[ImageId, Split] = {}
    aside: list[SetAside] = []
    fresh: dict[ImageId, Split] = {}
    families = families_of(images, groups)
    waiting = {item.image_id: item.twin for item in past.set_aside}
    for name, family in families.items():
        alone = past.sides.get(name) if len(family) == 1 and name not in waiting else None
        if alone is not None and family[0].image_id == name:  # nearly all are: no need to look on
            sides[name] = alone
            continue
        known = any(image.image_id in past.sides or image.image_id in waiting for image in family)
        if known:
            kept = _kept(family, past.sides, waiting)
            sides.update(kept.sides)
            aside.extend(kept.set_aside)
        else:
            fresh[name] = hash_side(name, salt)
    if balance:
        fresh = _balanced(families, fresh, sides)
    for name, side in fresh.items():
        sides.update((image.image_id, side) for image in families[name])
    return Dealt(sides, sorted(aside, key=lambda item: item.image_id))


def kept_together(
    groups: Mapping[ImageId, GroupId], suspected: Iterable[SuspectedPair]
) -> dict[ImageId, GroupId]:
    """Groups as they would be if every suspicion held: what must not lie on two sides.

    Args:
        groups: group of each image that has a near-duplicate.
        suspected: pairs of images that may be copies.

    Returns:
        The same, larger, each named after the smallest name of the groups that became one.
    """
    parent: dict[GroupId, GroupId] = {}

    def root(name: GroupId) -> GroupId:
        while (above := parent.get(name, name)) != name:
            name = above
        return name

    images = dict(groups)
    for pair in suspected:
        ends = []
        for image_id in (pair.first, pair.second):
            images[image_id] = group_of(image_id, images)
            ends.append(root(images[image_id]))
        parent[max(ends)] = min(ends)
    return {image_id: root(name) for image_id, name in images.items()}


def families_of(images: Iterable[LabelledImage], groups: Mapping[ImageId, GroupId]) -> Families:
    """The labelled images of each group, in order of the smallest id of the whole group."""
    smallest: dict[GroupId, ImageId] = {}
    for image_id, group in groups.items():
        smallest[group] = min(image_id, smallest.get(group, image_id))
    families: Families = {}
    for image in images:
        group = group_of(image.image_id, groups)
        families.setdefault(smallest.get(group, image.image_id), []).append(image)
    return dict(sorted(families.items()))


def leaks_in(sides: Mapping[ImageId, Split], groups: Mapping[ImageId, GroupId]) -> list[ImageId]:
    """Images on train with a near-duplicate on validation or test, ascending."""
    judging = {groups[i] for i, side in sides.items() if side != "train" and i in groups}
    return sorted(i for i, side in sides.items() if side == "train" and groups.get(i) in judging)


def balance_sides(images: Sequence[LabelledImage], sides: Sequence[Split]) -> list[Split]:
    """Cut the larger class in validation and in test, keeping the first ones in order.

    Args:
        images: in file order.
        sides: one for each image.

    Returns:
        New sides; what was cut is `train`.
    """
    sizes: Counter[tuple[Split, Label]] = Counter(
        (side, image.label) for image, side in zip(images, sides, strict=True)
    )
    room = {side: min(sizes[side, 0], sizes[side, 1]) for side in SPLITS}
    taken: Counter[tuple[Split, Label]] = Counter()
    result: list[Split] = []
    for image, side in zip(images, sides, strict=True):
        if side != "train" and taken[side, image.label] >= room[side]:
            result.append("train")
        else:
            taken[side, image.label] += 1
            result.append(side)
    return result


def _kept(
    family: Sequence[LabelledImage],
    past: Mapping[ImageId, Split],
    waiting: Mapping[ImageId, ImageId],
) -> Dealt:
    """A group of which some images were dealt before; those that wait do so for a twin."""
    ids = [image.image_id for image in family]
    before: dict[ImageId, Split] = {i: past[i] for i in ids if i in past}
    judging = next((side for side in _JUDGING if side in before.values()), None)
    if judging is None:
        return Dealt(dict.fromkeys(ids, "train"))
    labels = {image.label for image in family if before.get(image.image_id) == judging}
    out = {i for i in ids if i in waiting or before.get(i) == "train"}
    out |= {i.image_id for i in family if i.image_id not in before and i.label not in labels}
    sides: dict[ImageId, Split] = {i: before.get(i, judging) for i in ids if i not in out}
    oldest = min(i for i, side in before.items() if side == judging)
    aside = []
    for image_id in out:
        twin = waiting.get(image_id, oldest)
        aside.append(SetAside(image_id, twin if sides.get(twin) == judging else oldest, judging))
    return Dealt(sides, aside)


def _balanced(
    families: Families, fresh: Mapping[ImageId, Split], sides: Mapping[ImageId, Split]
) -> dict[ImageId, Split]:
    """Send groups that are dealt now to train until both classes are of one size, if they can."""
    result = dict(fresh)
    labels = {image.image_id: image.label for family in families.values() for image in family}
    for side in _JUDGING:
        there = Counter(labels[i] for i, where in sides.items() if where == side)
        names = [name for name, where in fresh.items() if where == side]
        kept = set(_evenly({name: _labels(families[name]) for name in names}, there))
        result.update((name, "train") for name in names if name not in kept)
    return result


def _evenly(groups: Mapping[ImageId, Counter[Label]], there: Counter[Label]) -> list[ImageId]:
    """The first groups that leave both classes of one size, added to what is there."""
    taken = there + sum(groups.values(), Counter())
    kept = list(groups)
    while taken[0] != taken[1]:
        room = min(taken[label] for label in _LABELS)
        smaller = list(_fitting(groups, there, room))
        if smaller == kept:
            break  # what is there cannot be cut
        kept = smaller
        taken = there + sum((groups[name] for name in kept), Counter())
    return kept


def _fitting(
    groups: Mapping[ImageId, Counter[Label]], there: Counter[Label], room: int
) -> Iterator[ImageId]:
    """Groups, in order, of which no image is one too many of its class."""
    taken = Counter(there)
    for name, labels in groups.items():
        if all(taken[label] + labels[label] <= room for label in labels):
            taken += labels
            yield name


def _labels(family: Sequence[LabelledImage]) -> Counter[Label]:
    return Counter(image.label for image in family)
