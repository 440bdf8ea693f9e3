"""What is wrong with a workspace's labelled images: leaks, copies, contradictions, tiny slices.

Looks at what the store says and changes nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from keshikaran.dealing import Dealt
from keshikaran.store import Contradiction, DuplicatePair, SetAside, Store, SuspectedPair
from keshikaran.types import SPLITS, GroupId, ImageId, Label, Split

TINY = 30
"""Figures over fewer images than this mean little: one image more or less is 3% of them."""

SliceKind = Literal["class", "format", "folder"]

_NAMES = ("acceptable", "objectionable")


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What an audit looks at.

    Attributes:
        labels: of each image with a usable one.
        dealt: the sides, and what is set aside.
        groups: of each image that has a near-duplicate.
        pairs: the evidence for the groups.
        suspected: pairs that may be copies, and why.
        contradictions: the same bytes under two labels.
        places: where each image of a group, each suspected and each test image was met.
        formats: file extension of each test image.
    """

    labels: Mapping[ImageId, Label]
    dealt: Dealt
    groups: Mapping[ImageId, GroupId]
    pairs: Sequence[DuplicatePair]
    suspected: Sequence[SuspectedPair]
    contradictions: Sequence[Contradiction]
    places: Mapping[ImageId, Sequence[str]]
    formats: Mapping[ImageId, str]


@dataclass(frozen=True, slots=True)
class Leak:
    """An image that tells one side what another looks like.

    Attributes:
        image_id: the image that tells: on train, or on validation.
        side: where it is.
        twin: the nearest member of its group that judges it: on test if there is one.
        twin_side: where that is.
        evidence: the pairs that lead from the one to the other; one if they are a pair.
    """

    image_id: ImageId
    side: Split
    twin: ImageId
    twin_side: Split
    evidence: tuple[DuplicatePair, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One image of a group; label and side are None where it has none."""

    image_id: ImageId
    label: Label | None
    side: Split | None
    set_aside: bool
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Copies of one photograph.

    Attributes:
        group_id: names it.
        members: ascending by id.
        contradictory: whether some are labelled acceptable and others objectionable.
    """

    group_id: GroupId
    members: tuple[Member, ...]
    contradictory: bool


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Two images that may be copies of one photograph, though pixels could not tell.

    Attributes:
        members: both, ascending by id.
        leaking: whether they are on different sides, so that one would tell of the other.
        evidence: how alike they are.
    """

    members: tuple[Member, Member]
    leaking: bool
    evidence: SuspectedPair


@dataclass(frozen=True, slots=True)
class TinySlice:
    """Test images of one class, format or class folder, fewer than `TINY`."""

    kind: SliceKind
    name: str
    images: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What an audit found.

    Attributes:
        images: how many are labelled.
        unsplit: how many of them have no side and are not set aside.
        leaks: by image id.
        groups: the largest first.
        suspected: pairs that may be copies, the most alike first.
        contradictions: the same bytes under two labels.
        set_aside: images that take no part, since they are copies of what is judged, or suspected
            to be.
        tiny: slices of the test set, the smallest first.
    """

    images: int
    unsplit: int
    leaks: tuple[Leak, ...]
    groups: tuple[DuplicateGroup, ...]
    suspected: tuple[Suspicion, ...]
    contradictions: tuple[Contradiction, ...]
    set_aside: tuple[SetAside, ...]
    tiny: tuple[TinySlice, ...]

    @property
    def contradictory_groups(self) -> tuple[DuplicateGroup, ...]:
        """Groups with both labels."""
        return tuple(group for group in self.groups if group.contradictory)

    @property
    def clean(self) -> bool:
        """Whether there is neither a leak nor a contradiction; a suspicion is neither."""
        return not (self.leaks or self.contradictions or self.contradictory_groups)


def read_facts(store: Store, dealt: Dealt) -> StoreFacts:
    """Everything that an audit of `dealt` needs to know of a store."""
    groups, suspected = store.groups.of_images(), store.suspected.pairs()
    alike = {image_id for pair in suspected for image_id in (pair.first, pair.second)}
    test = [image_id for image_id, side in dealt.sides.items() if side == "test"]
    return StoreFacts(
        labels={image.image_id: image.label for image in store.labels.images()},
        dealt=dealt,
        groups=groups,
        pairs=store.groups.pairs(),
        suspected=suspected,
        contradictions=store.labels.contradictions(),
        places=store.places_of(sorted({*groups, *alike, *test})),
        formats=store.extension_of(test),
    )


def find_issues(facts: StoreFacts) -> Findings:
    """Look for everything that makes figures mean less than they seem to."""
    sides, aside = facts.dealt.sides, facts.dealt.set_aside
    return Findings(
        images=len(facts.labels),
        unsplit=len(facts.labels.keys() - sides.keys() - {item.image_id for item in aside}),
        leaks=tuple(_leaks(facts)),
        groups=tuple(_groups(facts)),
        suspected=tuple(_suspected(facts)),
        contradictions=tuple(facts.contradictions),
        set_aside=tuple(aside),
        tiny=tuple(_tiny(facts)),
    )


def _by_group(facts: StoreFacts) -> dict[GroupId, list[ImageId]]:
    members: dict[GroupId, list[ImageId]] = {}
    for image_id, group in sorted(facts.groups.items()):
        members.setdefault(group, []).append(image_id)
    return members


def _leaks(facts: StoreFacts) -> Iterator[Leak]:
    sides, neighbours = facts.dealt.sides, _neighbours(facts.pairs)
    found: list[Leak] = []
    for members in _by_group(facts).values():
        foremost = max((SPLITS.index(sides[i]) for i in members if i in sides), default=0)
        judging = {i for i in members if sides.get(i) == SPLITS[foremost]}
        for image_id in members:
            side = sides.get(image_id)
            if side is not None and SPLITS.index(side) < foremost:
                twin, evidence = _way(image_id, judging, neighbours)
                found.append(Leak(image_id, side, twin, SPLITS[foremost], evidence))
    yield from sorted(found, key=lambda leak: leak.image_id)


_Neighbours = Mapping[ImageId, Sequence[tuple[ImageId, DuplicatePair]]]


def _neighbours(pairs: Sequence[DuplicatePair]) -> _Neighbours:
    found: dict[ImageId, list[tuple[ImageId, DuplicatePair]]] = {}
    for pair in pairs:
        found.setdefault(pair.first, []).append((pair.second, pair))
        found.setdefault(pair.second, []).append((pair.first, pair))
    return found


def _way(
    start: ImageId, goals: set[ImageId], neighbours: _Neighbours
) -> tuple[ImageId, tuple[DuplicatePair, ...]]:
    """The nearest of `goals`, and the pairs on the way there."""
    seen = {start}
    waiting: deque[tuple[ImageId, tuple[DuplicatePair, ...]]] = deque([(start, ())])
    while waiting:
        image_id, way = waiting.popleft()
        if image_id in goals:
            return image_id, way
        for other, pair in neighbours.get(image_id, ()):
            if other not in seen:
                seen.add(other)
                waiting.append((other, (*way, pair)))
    return min(goals), ()  # of one group, though no pair is left that says why


def _groups(facts: StoreFacts) -> Iterator[DuplicateGroup]:
    groups = sorted(_by_group(facts).items(), key=lambda item: (-len(item[1]), item[0]))
    for group_id, ids in groups:
        members = tuple(_members(facts, ids))
        yield DuplicateGroup(group_id, members, {0, 1} <= {member.label for member in members})


def _suspected(facts: StoreFacts) -> Iterator[Suspicion]:
    for pair in sorted(facts.suspected, key=lambda pair: (-pair.spreads, pair.first, pair.second)):
        first, second = _members(facts, (pair.first, pair.second))
        apart = first.side != second.side and None not in {first.side, second.side}
        yield Suspicion((first, second), apart, pair)


def _members(facts: StoreFacts, image_ids: Sequence[ImageId]) -> Iterator[Member]:
    aside = {item.image_id for item in facts.dealt.set_aside}
    for image_id in image_ids:
        yield Member(
            image_id,
            facts.labels.get(image_id),
            facts.dealt.sides.get(image_id),
            image_id in aside,
            tuple(facts.places.get(image_id, ())),
        )


def _tiny(facts: StoreFacts) -> Iterator[TinySlice]:
    """Of the test images: every class, and the formats and folders that occur among them."""
    sizes: Counter[tuple[SliceKind, str]] = Counter({("class", name): 0 for name in _NAMES})
    for image_id, side in facts.dealt.sides.items():
        if side == "test" and image_id in facts.labels:
            sizes["class", _NAMES[facts.labels[image_id]]] += 1
            sizes["format", facts.formats[image_id]] += 1
            for name in {PurePosixPath(place).parent.name for place in facts.places[image_id]}:
                sizes["folder", name] += 1
    for (kind, name), images in sorted(sizes.items(), key=lambda item: (item[1], item[0])):
        if images < TINY:
            yield TinySlice(kind, name, images)
