"""Do 95% intervals hold the truth 95 times in 100?

Test sets are drawn from a population whose figures are known: 18% objectionable, the model's
evidence normal in both classes, an area of .98, scores that are exact probabilities (and, for the
calibration error, scores that are not). Each set is judged by `evaluate` as a model is, and two
models by `compare_models` as for `promote`. Printed for each interval: how often it held the truth,
on which side it missed, and how wide it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from common import machine, parser, show
from keshikaran.bootstrap import plan_resampling
from keshikaran.calibration_interval import calibration_error_estimate, kumar_estimate
from keshikaran.evaluate import Terms, evaluate
from keshikaran.head import sigmoid
from keshikaran.intervals import Estimate
from keshikaran.metrics import ScoredSet, expected_calibration_error
from keshikaran.promotion import Asked, JudgedImages, ModelScores, compare_models
from keshikaran.types import Float64Array, GroupId, ImageId, LabelArray, Thresholds

SHARE, AREA, RIVAL_AREA, ALIKE = 0.18, 0.98, 0.97, 0.8
RARE, UPLOADS, RECALL, RATE = 0.01, 10_000, 0.95, 0.02
TRUTH_IMAGES = 20_000
NORMAL = NormalDist()


def apart(area: float) -> float:
    """How many standard deviations lie between two normal classes of an area."""
    return math.sqrt(2) * NORMAL.inv_cdf(area)


def quantiles(many: int) -> Float64Array:
    """As many normal values as stand for all of them."""
    return np.array([NORMAL.inv_cdf((number + 0.5) / many) for number in range(many)])


@dataclass(frozen=True)
class Population:
    """Where test sets come from.

    Attributes:
        sharpness: 1: scores are exact probabilities; more: they are too sure of themselves.
    """

    sharpness: float = 1.0

    def draw(
        self, images: int, rng: np.random.Generator
    ) -> tuple[LabelArray, Float64Array, Float64Array]:
        """Labels, scores of the model, and scores of a rival that sees something else."""
        labels = (rng.random(images) < SHARE).astype(np.int8)
        noise = rng.normal(size=images)
        other = ALIKE * noise + math.sqrt(1 - ALIKE**2) * rng.normal(size=images)
        return labels, *self._both(labels, noise, other)

    def whole(self, images: int) -> tuple[LabelArray, Float64Array, Float64Array]:
        """The population itself: each class at evenly spaced quantiles, without chance."""
        ones = round(SHARE * images)
        labels = (np.arange(images) < ones).astype(np.int8)
        noise = np.concatenate([quantiles(ones), quantiles(images - ones)])
        return labels, *self._both(labels, noise, noise)

    def _both(
        self, labels: LabelArray, noise: Float64Array, other: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        parts = [(apart(AREA), noise), (apart(RIVAL_AREA), other)]
        own, rival = (self._scores(labels, gap, error) for gap, error in parts)
        return own, rival

    def _scores(self, labels: LabelArray, gap: float, error: Float64Array) -> Float64Array:
        evidence = gap * (gap * labels + error) - gap * gap / 2
        return sigmoid(self.sharpness * (math.log(SHARE / (1 - SHARE)) + evidence))


@dataclass
class Tally:
    """How often an interval held the truth."""

    truth: float
    sets: int = 0
    too_high: int = 0
    too_low: int = 0
    width: float = 0.0

    def add(self, found: Estimate) -> None:
        """Count one interval."""
        self.sets += 1
        self.too_high += self.truth < found.low
        self.too_low += self.truth > found.high
        self.width += found.high - found.low

    def line(self) -> str:
        """For printing."""
        covered = 1 - (self.too_high + self.too_low) / self.sets
        sides = f"too high {self.too_high / self.sets:.1%}, too low {self.too_low / self.sets:.1%}"
        return (
            f"{covered:.1%}  ({sides}; truth {self.truth:.4f}, width {self.width / self.sets:.4f})"
        )


@dataclass
class Tallies:
    """All intervals of one kind of set."""

    truths: dict[str, float]
    found: dict[str, Tally] = field(default_factory=dict)

    def add(self, intervals: Iterator[tuple[str, Estimate]]) -> None:
        """Count the intervals of one set."""
        for name, interval in intervals:
            self.found.setdefault(name, Tally(self.truths[name])).add(interval)

    def rows(self) -> dict[str, object]:
        """For printing."""
        return {name: tally.line() for name, tally in self.found.items()}


def cut_where(above: float, mean: float, gap: float) -> float:
    """The score that a share of a class lies above."""
    x = mean + NORMAL.inv_cdf(1 - above)
    return float(sigmoid(np.array(math.log(SHARE / (1 - SHARE)) + gap * x - gap * gap / 2)))


def thresholds(area: float) -> Thresholds:
    """Cuts of a known recall and a known false-positive rate."""
    gap = apart(area)
    return Thresholds(cut_where(RECALL, gap, gap), cut_where(RATE, 0.0, gap))


def judged(labels: LabelArray, scores: Float64Array) -> Iterator[tuple[str, Estimate]]:
    """Every interval that a report prints of one set."""
    ids = [ImageId(str(number)) for number in range(len(labels))]
    terms = Terms(thresholds(AREA), SHARE, SHARE, UPLOADS)
    report = evaluate(None, ScoredSet(ids, labels, scores), terms)
    yield from report.intervals.items()
    for item in report.recall_at:
        yield f"recall at {item.rate:.1%}", item.recall
    rare = evaluate_rare(labels, scores)
    for cut in ("review", "block"):
        figures = getattr(rare, cut)
        yield f"{cut}: recall", figures.recall
        yield f"{cut}: false-positive rate", figures.false_positive_rate
        yield f"{cut}: precision at 1 in 100", figures.precision
    for name in ("blocked", "reviewed", "missed", "wrongly_blocked"):
        yield f"{name} a day", getattr(rare, name)


def evaluate_rare(labels: LabelArray, scores: Float64Array):  # noqa: ANN201
    """Both cuts where 1 in 100 is objectionable."""
    from keshikaran.operating_figures import operating_figures

    return operating_figures(labels, scores, thresholds(AREA), RARE, UPLOADS)


def truths_of(population: Population) -> dict[str, float]:
    """The figures of the population: of its quantiles, and in closed form where there is one."""
    labels, scores, _ = population.whole(TRUTH_IMAGES)
    found = {name: one.value or 0.0 for name, one in judged(labels, scores)}
    gap = apart(AREA)
    for rate in (0.01, 0.001):
        found[f"recall at {rate:.1%}"] = 1 - NORMAL.cdf(NORMAL.inv_cdf(1 - rate) - gap)
    return found | {"roc_auc": AREA, "ece_debiased": 0.0}


def compared(
    labels: LabelArray, own: Float64Array, rival: Float64Array
) -> Iterator[tuple[str, Estimate]]:
    """Every interval that `promote` prints."""
    ids = [ImageId(f"{number:06}") for number in range(len(labels))]
    found = compare_models(
        JudgedImages(ids, labels, [GroupId(name) for name in ids]),
        ModelScores("own", own, thresholds(AREA), SHARE),
        ModelScores("rival", rival, thresholds(RIVAL_AREA), SHARE),
        Asked(RARE, RARE),
    )
    for figure in found.figures:
        yield figure.name, figure.difference


def main() -> None:
    """Draw, judge, count."""
    options = parser(__doc__)
    options.add_argument("--sets", type=int, default=1_000)
    options.add_argument("--images", type=int, default=400)
    chosen = options.parse_args()
    show("machine", machine())
    population = Population()
    single = Tallies(truths_of(population))
    pairs = Tallies(
        {name: one.value or 0.0 for name, one in compared(*population.whole(TRUTH_IMAGES))}
    )
    rng = np.random.default_rng(1)
    for _ in range(chosen.sets):
        labels, own, rival = population.draw(chosen.images, rng)
        single.add(judged(labels, own))
        pairs.add(compared(labels, own, rival))
    title = f"{chosen.sets} sets of {chosen.images} images"
    show(f"intervals, {title}", single.rows())
    show(f"differences of two models, {title}", pairs.rows())
    for sharpness in (0.7, 1.0, 1.3, 2.0):
        rows = calibration_rows(Population(sharpness), chosen.sets, chosen.images, rng)
        show(f"calibration error, logits {sharpness} times as large as they should be", rows)


def calibration_rows(
    population: Population, sets: int, images: int, rng: np.random.Generator
) -> dict[str, object]:
    """The interval, and three ways to estimate the calibration error."""
    labels, own, _ = population.whole(TRUTH_IMAGES)
    true = 0.0 if population.sharpness == 1.0 else expected_calibration_error(labels, own)
    tally = Tally(true)
    off: dict[str, list[float]] = {"plain": [], "debiased": [], "debiased after Kumar": []}
    for _ in range(sets):
        labels, own, _ = population.draw(images, rng)
        plan = plan_resampling(labels)
        found = calibration_error_estimate(labels, own, plan)
        tally.add(found)
        off["plain"].append(expected_calibration_error(labels, own) - true)
        off["debiased"].append((found.value or 0.0) - true)
        off["debiased after Kumar"].append(kumar_estimate(labels, own, plan) - true)
    return {"interval": tally.line()} | {
        name: f"off by {np.mean(gaps):+.4f} on average, {np.sqrt(np.mean(np.square(gaps))):.4f} rms"
        for name, gaps in off.items()
    }


if __name__ == "__main__":
    main()
