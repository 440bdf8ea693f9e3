"""Which images train, which choose settings, which judge.

The default rule deals whole groups of near-duplicates by their hash and keeps what was dealt, so
that no copy of a test image trains and no image moves as others are added. The seed rule and a
rule from a file reproduce splits that were made elsewhere, leaks included.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from keshikaran.dealing import Dealt, balance_sides, deal, families_of, kept_together, leaks_in
from keshikaran.errors import UsageError
from keshikaran.split_file import StatedSides, read_split_file
from keshikaran.store import LabelledImage, Store, group_of
from keshikaran.types import SPLITS, GroupId, ImageId, Split

_SEED_TEST_BELOW = 25
_SEED_VALIDATION_BELOW = 50

SchemeName = Literal["hash", "seed", "file"]


@dataclass(frozen=True, slots=True)
class SplitScheme:
    """How sides are chosen.

    Attributes:
        name: `hash`, `seed`, or `file`.
        salt: for `hash`: another salt, another split of the same images.
        balance: cut the larger class of validation and test to the smaller one's size; the
            surplus goes to train. `seed` always does.
        file: for `file`: a CSV with the header `objectId,value,type`.
        guard: for `hash`: deal near-duplicates together; False deals images one by one.
    """

    name: SchemeName = "hash"
    salt: str = ""
    balance: bool = False
    file: str = ""
    guard: bool = True

    def __post_init__(self) -> None:
        if self.name == "hash":
            return
        given = {"--salt": self.salt, "--balance": self.balance, "--no-guard": not self.guard}
        for option, wanted in given.items():
            if wanted:
                msg = f"{option} changes nothing under --scheme {self.name}."
                raise UsageError(msg, "Leave it out, or use --scheme hash.")

    def to_json(self) -> str:
        """The settings as canonical JSON, for the store."""
        return json.dumps(asdict(self), sort_keys=True)

    def keeps(self, former: SplitScheme) -> bool:
        """Whether sides that were dealt by `former` stay as they are."""
        weaker = former.guard and not self.guard
        return self.name == "hash" and not weaker and replace(former, guard=self.guard) == self


@dataclass(frozen=True, slots=True)
class SplitReport:
    """How many images of each label are on each side.

    Attributes:
        counts: split → label as text → number.
        unassigned: labelled images without a side (a split file does not name them).
        unknown: lines of a split file that name no labelled image.
        disagreeing: lines of a split file whose value is not the image's label here.
        groups: groups of near-duplicates with at least two labelled images.
        near_duplicates: labelled images in these groups.
        set_aside: labelled images that take no part, since they are copies of what is judged, or
            suspected to be.
        leaks: images on train with a near-duplicate on validation or test.
        suspected: labelled images that may be copies of another one; pixels could not tell.
        suspected_leaks: further images on train that may be copies of a validation or test image.
        moved: images that were on another side before.
        scheme: how the sides were chosen.
    """

    counts: dict[Split, dict[str, int]]
    unassigned: int = 0
    unknown: int = 0
    disagreeing: int = 0
    groups: int = 0
    near_duplicates: int = 0
    set_aside: int = 0
    leaks: int = 0
    suspected: int = 0
    suspected_leaks: int = 0
    moved: int = 0
    scheme: SplitScheme = field(default_factory=SplitScheme)


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """A split that is not stored yet.

    Attributes:
        dealt: the sides.
        report: what there is to tell.
    """

    dealt: Dealt
    report: SplitReport


def seed_side(object_id: str) -> Split:
    """Side by the last byte of the SHA-1: 0-24 test, 25-49 validation, the rest train."""
    last = int(object_id[38:40], 16)
    if last < _SEED_TEST_BELOW:
        return "test"
    return "validation" if last < _SEED_VALIDATION_BELOW else "train"


def split_images(store: Store, scheme: SplitScheme | None = None) -> SplitReport:
    """Give every labelled image its side or set it aside, and remember the scheme.

    Args:
        store: the open store.
        scheme: None repeats the scheme used before, or the default.

    Raises:
        SourceError: a split file cannot be read.
    """
    plan = plan_split(store, scheme)
    store.assign_splits(
        plan.dealt.sides.items(), plan.report.scheme.to_json(), plan.dealt.set_aside
    )
    return plan.report


def plan_split(store: Store, scheme: SplitScheme | None = None) -> SplitPlan:
    """What `split_images` would do; nothing is stored.

    Raises:
        SourceError: a split file cannot be read.
    """
    scheme = scheme or stored_scheme(store)
    images, groups, before = store.labels.images(), store.groups.of_images(), store.splits()
    together = kept_together(groups, store.suspected.pairs())
    stated = None
    if scheme.name == "file":
        stated = read_split_file(Path(scheme.file), images)
        dealt = Dealt(stated.sides)
    elif scheme.name == "seed":
        sides = balance_sides(images, [seed_side(image.object_id) for image in images])
        ids = [image.image_id for image in images]
        dealt = Dealt(dict(zip(ids, sides, strict=True)))
    else:
        dealt = _by_hash(store, scheme, images, together, before)
    known = _Known(groups, together)
    report = _report(images, known, before, dealt, stated)
    return SplitPlan(dealt, replace(report, scheme=scheme))


def stored_scheme(store: Store) -> SplitScheme:
    """The scheme used last in this workspace, or the default."""
    settings = store.split_scheme()
    if not settings:
        return SplitScheme()
    return SplitScheme(
        name=cast("SchemeName", settings["name"]),
        salt=str(settings["salt"]),
        balance=bool(settings["balance"]),
        file=str(settings["file"]),
        guard=bool(settings.get("guard", True)),
    )


def scheme_from_option(
    text: str, *, salt: str = "", balance: bool = False, guard: bool = True
) -> SplitScheme:
    """Read `hash`, `seed` or the name of a CSV file, as typed after `--scheme`.

    Raises:
        UsageError: something else, or an option that would have no effect.
    """
    if text in {"hash", "seed"}:
        return SplitScheme(cast("SchemeName", text), salt, balance, guard=guard)
    if text.lower().endswith(".csv"):
        return SplitScheme("file", salt, balance, str(Path(text).resolve()), guard)
    msg = f"--scheme {text} is unknown."
    raise UsageError(msg, "Use hash, seed, or the path of a CSV file: objectId,value,type")


def _by_hash(
    store: Store,
    scheme: SplitScheme,
    images: Sequence[LabelledImage],
    together: Mapping[ImageId, GroupId],
    before: Mapping[ImageId, Split],
) -> Dealt:
    keeps = scheme.keeps(stored_scheme(store))
    past = Dealt(before, store.set_aside()) if keeps else Dealt()
    groups = together if scheme.guard else {}
    return deal(images, groups, past, salt=scheme.salt, balance=scheme.balance)


@dataclass(frozen=True, slots=True)
class _Known:
    """Groups of copies, and what they would be if every suspicion held."""

    groups: Mapping[ImageId, GroupId]
    together: Mapping[ImageId, GroupId]

    def suspected(self, images: Sequence[LabelledImage]) -> int:
        """Images in families of several groups."""
        families = _families(images, self.together)
        return sum(
            len(family)
            for family in families
            if len({group_of(image.image_id, self.groups) for image in family}) > 1
        )


def _families(
    images: Sequence[LabelledImage], groups: Mapping[ImageId, GroupId]
) -> Iterable[Sequence[LabelledImage]]:
    """As `families_of`, without those that are alone in any case."""
    return families_of([image for image in images if image.image_id in groups], groups).values()


def _report(
    images: Sequence[LabelledImage],
    known: _Known,
    before: Mapping[ImageId, Split],
    dealt: Dealt,
    stated: StatedSides | None,
) -> SplitReport:
    sides = dealt.sides
    shared = [len(family) for family in _families(images, known.groups) if len(family) > 1]
    leaks = len(leaks_in(sides, known.groups))
    return SplitReport(
        _counts(images, sides),
        unassigned=len(images) - len(sides) - len(dealt.set_aside),
        unknown=stated.unknown if stated else 0,
        disagreeing=stated.disagreeing if stated else 0,
        groups=len(shared),
        near_duplicates=sum(shared),
        set_aside=len(dealt.set_aside),
        leaks=leaks,
        suspected=known.suspected(images),
        suspected_leaks=len(leaks_in(sides, known.together)) - leaks,
        moved=sum(before.get(image_id, side) != side for image_id, side in sides.items()),
    )


def _counts(
    images: Sequence[LabelledImage], sides: Mapping[ImageId, Split]
) -> dict[Split, dict[str, int]]:
    found = Counter((sides[i.image_id], str(i.label)) for i in images if i.image_id in sides)
    return {side: {label: found[side, label] for label in ("0", "1")} for side in SPLITS}
