"""The parts of a drawing, and where numbers lie in it.

Everything is placed in Python; templates/figure.svg.j2 only writes it. Colours come from the page,
so that one drawing serves light and dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Tone = Literal["first", "second", "soft"]
"""Which of the page's colours: acceptable or the model, objectionable or the cut, and the rest."""

WIDTH, HEIGHT = 400, 320
LEFT, TOP, RIGHT, BOTTOM = 56, 36, 376, 256

Points = Sequence[tuple[float, float]]
"""Places in the drawing."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis, in units of the drawing, with its words."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Line:
    """A run of straight lines; `points` as SVG takes them."""

    tone: Tone
    points: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Area:
    """A filled shape, faint; `points` as SVG takes them."""

    tone: Tone
    points: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A filled rectangle, and what it says when pointed at."""

    tone: Tone
    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A point with its interval, and what it says when pointed at.

    Attributes:
        tone: its colour.
        x: of its middle.
        y: of its middle.
        top: upper end of the interval.
        bottom: lower end; the same as `top` draws none.
        words: what it is.
        hollow: drawn as a ring.
    """

    tone: Tone
    x: float
    y: float
    top: float
    bottom: float
    words: str
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Words in the drawing, centred on a point."""

    x: float
    y: float
    words: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One drawing. All coordinates are in its own 400 × 320 units, y downwards.

    Attributes:
        title: what it shows.
        words: the same in a sentence, for those who do not see it.
        x_label: of the horizontal axis.
        y_label: of the vertical one.
        x_ticks: on the horizontal axis.
        y_ticks: on the vertical one.
        areas: lowest.
        lines: above them.
        bars: above these.
        dots: above all.
        notes: words beside them.
        legend: colours with their meaning.
    """

    title: str
    words: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    areas: tuple[Area, ...] = ()
    lines: tuple[Line, ...] = ()
    bars: tuple[Bar, ...] = ()
    dots: tuple[Dot, ...] = ()
    notes: tuple[Note, ...] = ()
    legend: tuple[tuple[Tone, str], ...] = ()


def x_of(share: float) -> float:
    """Where a share of the width lies; what is outside lies on the edge."""
    return round(LEFT + min(1.0, max(0.0, share)) * (RIGHT - LEFT), 1)


def y_of(share: float) -> float:
    """Where a share of the height lies; what is outside lies on the edge."""
    return round(BOTTOM - min(1.0, max(0.0, share)) * (BOTTOM - TOP), 1)


def path(points: Iterable[tuple[float, float]]) -> str:
    """Places as SVG takes them."""
    return " ".join(f"{x},{y}" for x, y in points)


def band(tone: Tone, upper: Points, lower: Points) -> Area:
    """The shape between two lines that go the same way."""
    return Area(tone, path([*upper, *reversed(lower)]))


def stairs(points: Points) -> list[tuple[float, float]]:
    """Each step sideways first, then up."""
    found: list[tuple[float, float]] = []
    for x, y in points:
        if found:
            found.append((x, found[-1][1]))
        found.append((x, y))
    return found


def unit_ticks() -> tuple[tuple[Tick, ...], tuple[Tick, ...]]:
    """Marks from 0 to 1 on both axes."""
    marks = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    across = tuple(Tick(x_of(mark), f"{mark:.1f}") for mark in marks)
    return across, tuple(Tick(y_of(mark), f"{mark:.1f}") for mark in marks)
