"""Test images that have something in common: figures of each such slice, and which are worse.

A slice is warned of where it is worse than the other test images by more than chance: Fisher's
exact test, two-sided (Fisher 1935), of the images missed or wrongly blocked here against elsewhere,
with Holm's correction over all slices (Holm 1979), so that a model without a weak spot gets any
warning at all in at most 5 of 100 test sets. Of near-duplicates one image a label counts in the
test.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from keshikaran.evaluation import SliceFigures, SliceKind
from keshikaran.intervals import wilson
from keshikaran.metrics import ScoredSet
from keshikaran.roc_area import roc_auc_estimate
from keshikaran.types import BoolArray, Float64Array, GroupId, IntArray, Thresholds

ALPHA = 0.05
LEAST = 10
MOST_SOURCES = 20
UNKNOWN = "not known"
OTHERS = "other sources"

_SHORT_SIDES = (200, 400, 800)
_SQUARE = 1.1
_EXTREME = 2.5
_ALIKE = 1 + 1e-7  # chances that differ by rounding are the same


@dataclass(frozen=True, slots=True)
class ImageTraits:
    """What slices are made by; None or empty where it is not known.

    Attributes:
        format: of the file.
        width: columns as stored.
        height: rows as stored.
        frames: frames or pages.
        greyscale: whether there is no colour in it.
        source: folder or archive it came from.
        labelled_on: day on which something was last said about it, YYYY-MM-DD.
    """

    format: str
    width: int
    height: int
    frames: int | None
    greyscale: bool | None
    source: str
    labelled_on: str


def slice_figures(
    test: ScoredSet,
    traits: Sequence[ImageTraits],
    thresholds: Thresholds,
    groups: Sequence[GroupId] | None = None,
) -> tuple[SliceFigures, ...]:
    """Figures of every slice; those of one kind hold each test image once.

    Args:
        test: labels and scores, [n].
        traits: of the same images, [n].
        thresholds: recall is at `review`, the false-positive rate at `block`.
        groups: of near-duplicates, [n]; None: each image stands for itself.
    """
    judged = _Judged.of(test, thresholds, groups)
    figures: list[SliceFigures] = []
    doubts: list[_Doubt] = []
    for kind in get_args(SliceKind):
        names = np.array(_NAMES[kind](traits), dtype=object)
        for name in _in_order(names):
            inside = names == name
            doubts += _doubts(judged, inside, len(figures))
            figures.append(_figures(kind, name, test, judged, inside))
    warnings = _warnings(doubts)
    return tuple(replace(item, warning=warnings.get(at)) for at, item in enumerate(figures))


@dataclass(frozen=True, slots=True)
class _Judged:
    """Each [n]: which images are of a class, which of them went wrong, and which count."""

    positive: BoolArray
    missed: BoolArray
    wrongly_blocked: BoolArray
    counts: BoolArray

    @classmethod
    def of(
        cls, test: ScoredSet, thresholds: Thresholds, groups: Sequence[GroupId] | None
    ) -> _Judged:
        positive = test.y_true == 1
        names = test.image_ids if groups is None else groups
        seen: set[tuple[str, bool]] = set()
        counts = np.zeros(len(positive), dtype=np.bool_)
        for at, key in enumerate(zip(names, positive.tolist(), strict=True)):
            counts[at] = key not in seen
            seen.add(key)
        missed = positive & (test.y_score < thresholds.review)
        return cls(positive, missed, ~positive & (test.y_score >= thresholds.block), counts)


def _figures(
    kind: SliceKind, name: str, test: ScoredSet, judged: _Judged, inside: BoolArray
) -> SliceFigures:
    ones, zeros = int((inside & judged.positive).sum()), int((inside & ~judged.positive).sum())
    area = None
    if ones and zeros:
        area = roc_auc_estimate(test.y_true[inside], test.y_score[inside])
    return SliceFigures(
        kind=kind,
        name=name,
        images=ones + zeros,
        positives=ones,
        recall=wilson(ones - int((inside & judged.missed).sum()), ones),
        false_positive_rate=wilson(int((inside & judged.wrongly_blocked).sum()), zeros),
        roc_auc=area,
        too_few=max(ones, zeros) < LEAST,
    )


@dataclass(frozen=True, slots=True)
class _Doubt:
    """Whether a slice is worse in one respect: the chance of such a difference, and its words."""

    slice: int
    p_value: float
    worse: bool
    words: str


def _doubts(judged: _Judged, inside: BoolArray, number: int) -> Iterator[_Doubt]:
    """One for each class that has images enough, here and elsewhere."""
    for wrong, of, words in (
        (judged.missed, judged.positive, "misses {} of the objectionable images, elsewhere {}"),
        (
            judged.wrongly_blocked,
            ~judged.positive,
            "blocks {} of the acceptable ones wrongly, elsewhere {}",
        ),
    ):
        here, there = judged.counts & of & inside, judged.counts & of & ~inside
        n_here, n_there = int(here.sum()), int(there.sum())
        if min(n_here, n_there) < LEAST:
            continue
        bad_here, bad_there = int((here & wrong).sum()), int((there & wrong).sum())
        shares = bad_here / n_here, bad_there / n_there
        p_value = _fisher(bad_here, n_here, bad_there, n_there)
        text = words.format(*(f"{share:.1%}" for share in shares))
        yield _Doubt(number, p_value, shares[0] > shares[1], text)


def _fisher(bad_here: int, n_here: int, bad_there: int, n_there: int) -> float:
    """Fisher's exact test, two-sided: all tables with these margins that are no likelier.

    Here, since scipy.stats takes longer to load than everything else that judges. A test holds it
    against `scipy.stats.fisher_exact`.
    """
    from scipy.special import betaln

    def log_choices(whole: int, parts: IntArray) -> Float64Array:
        chosen: Float64Array = -np.log1p(whole) - betaln(whole - parts + 1, parts + 1)
        return chosen

    bad = bad_here + bad_there
    possible = np.arange(max(0, bad - n_there), min(n_here, bad) + 1)
    chances = log_choices(n_here, possible) + log_choices(n_there, bad - possible)
    chances = np.exp(chances - chances.max())
    observed = chances[possible == bad_here]
    return float(min(1.0, chances[chances <= observed * _ALIKE].sum() / chances.sum()))


def _warnings(doubts: Sequence[_Doubt]) -> dict[int, str]:
    """Number of a slice → what is wrong with it, for those that stand Holm's correction."""
    found: dict[int, list[str]] = {}
    for rank, doubt in enumerate(sorted(doubts, key=lambda item: item.p_value)):
        if doubt.p_value * (len(doubts) - rank) >= ALPHA:
            break
        if doubt.worse:
            found.setdefault(doubt.slice, []).append(doubt.words)
    return {number: "; ".join(words) for number, words in found.items()}


def _formats(traits: Sequence[ImageTraits]) -> list[str]:
    return [item.format.upper() for item in traits]


def _sizes(traits: Sequence[ImageTraits]) -> list[str]:
    return [_size(min(item.width, item.height)) for item in traits]


def _size(short_side: int) -> str:
    if short_side < _SHORT_SIDES[0]:
        return f"short side below {_SHORT_SIDES[0]} px"
    for low, high in itertools.pairwise(_SHORT_SIDES):
        if short_side < high:
            return f"short side {low} to {high - 1} px"
    return f"short side {_SHORT_SIDES[-1]} px or more"


def _aspects(traits: Sequence[ImageTraits]) -> list[str]:
    return [_aspect(item.width, item.height) for item in traits]


def _aspect(width: int, height: int) -> str:
    ratio = max(width, height) / max(1, min(width, height))
    if ratio >= _EXTREME:
        return f"extreme, {_EXTREME:g}:1 or more"
    if ratio <= _SQUARE:
        return "square"
    return "landscape" if width > height else "portrait"


def _greys(traits: Sequence[ImageTraits]) -> list[str]:
    words = {None: UNKNOWN, True: "greyscale", False: "colour"}
    return [words[item.greyscale] for item in traits]


def _movements(traits: Sequence[ImageTraits]) -> list[str]:
    return [
        UNKNOWN if item.frames is None else "animated" if item.frames > 1 else "still"
        for item in traits
    ]


def _sources(traits: Sequence[ImageTraits]) -> list[str]:
    """The most frequent by name, without what all names begin with; the others together."""
    names = [item.source or UNKNOWN for item in traits]
    ranked = sorted(Counter(names).items(), key=lambda pair: (-pair[1], pair[0]))
    kept = {name for name, _ in ranked[:MOST_SOURCES]} if len(ranked) > MOST_SOURCES else set(names)
    short = _without_common_start(sorted(kept - {UNKNOWN}))
    return [short.get(name, name) if name in kept else OTHERS for name in names]


def _without_common_start(names: Sequence[str]) -> Mapping[str, str]:
    """Name → the same without the folders that all share; the last folder always stays."""
    parts = [name.split("/") for name in names]
    shared = 0
    for level in zip(*(item[:-1] for item in parts), strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    return {name: "/".join(item[shared:]) for name, item in zip(names, parts, strict=True)}


def _ages(traits: Sequence[ImageTraits]) -> list[str]:
    """Quarters of the test images by the day of their label; a day is never cut in two."""
    days = sorted(item.labelled_on for item in traits if item.labelled_on)
    ends = sorted(
        {days[math.ceil(len(days) * part / 4) - 1] for part in range(1, 5)} if days else ()
    )
    quarters = {day: bisect_left(ends, day) for day in days}
    names = dict.fromkeys(quarters.values(), "")
    for number in names:
        own = sorted(day for day, quarter in quarters.items() if quarter == number)
        names[number] = f"labelled {own[0]}" + ("" if len(own) == 1 else f" to {own[-1]}")
    return [names[quarters[day]] if (day := item.labelled_on) else UNKNOWN for item in traits]


_NAMES: Mapping[SliceKind, Callable[[Sequence[ImageTraits]], list[str]]] = {
    "format": _formats,
    "size": _sizes,
    "aspect": _aspects,
    "greyscale": _greys,
    "animated": _movements,
    "source": _sources,
    "label age": _ages,
}
"""Kind → the name of each image's slice."""


def _in_order(names: np.ndarray) -> list[str]:
    """Each name once; numbers in them by size."""
    return sorted(set(names.tolist()), key=_sorting)


def _sorting(name: str) -> tuple[int, str]:
    """The smallest size first; what is not known or gathered last."""
    sizes = [_size(side) for side in (0, *_SHORT_SIDES)]
    if name in sizes:
        return sizes.index(name), name
    return (len(sizes), name) if name in (UNKNOWN, OTHERS) else (0, name)
