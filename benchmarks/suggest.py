"""How many labels does `suggest` save, and does its hint keep its word?

Four tasks made from the clothing photographs. In each of several rounds, 30% of the photographs
are kept out to judge; 100 labels of the rest are given at random, and 50 more at a time as
`suggest` asks for them, a fifth of them at random. After each step a head is fitted as `train`
does, on the labels of the train side with the regularisation that validation chooses, and the
learning curve is asked what the next labels will do. It is held against heads on 800 labels that
were all given at random.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common import TASKS, clothing, machine, parser, show, temporary_folder
from keshikaran.dealing import hash_side
from keshikaran.head import FitResult, fit_head, predict_proba
from keshikaran.ingest import import_source, scan_folder
from keshikaran.learning_curve import (
    FigureCurve,
    Forecast,
    LearningCurve,
    Sample,
    learning_curve,
    recall_at,
)
from keshikaran.metrics import compute_metrics
from keshikaran.preparation import featurize_labelled, open_tools
from keshikaran.store import Store, Workspace
from keshikaran.suggest import Candidates, Known, suggest
from keshikaran.training_run import TrainingOptions
from keshikaran.types import Float32Array, GroupId, ImageId, LabelArray, SilentProgress

_START, _STEP, _MOST, _GOAL = 100, 50, 500, 800
_USUAL_C = 0.01
_LEAST_VALIDATION = 20

Choose = Callable[["Round", FitResult | None, int], npt.NDArray[np.int64]]


@dataclass
class Round:
    """One task and one way to keep photographs out."""

    ids: list[ImageId]
    features: Float32Array
    labels: LabelArray
    test: npt.NDArray[np.int64]
    sides: npt.NDArray[np.str_]
    known: npt.NDArray[np.bool_]
    random: npt.NDArray[np.bool_]
    pool: npt.NDArray[np.bool_]

    def fit(self) -> FitResult:
        """As `train` does."""
        x, y = self.features, self.labels
        train = self.known & (self.sides == "train")
        validation = self.known & (self.sides == "validation")
        if validation.sum() < _LEAST_VALIDATION or len(np.unique(y[validation])) < 2:
            return fit_head(x[train], y[train], x[train], y[train], grid=(_USUAL_C,))
        return fit_head(x[train], y[train], x[validation], y[validation])

    def auc(self, fit: FitResult) -> float:
        """On the photographs that were kept out."""
        scores = predict_proba(fit.head, self.features[self.test])
        value = compute_metrics(self.labels[self.test], scores, 0.5).roc_auc
        return float(value or 0.0)

    def curve(self, fit: FitResult, more: list[int]) -> LearningCurve | None:
        """What the hint stands on."""
        rows = self.known & (self.sides != "test")
        sample = Sample(
            self.features[rows],
            self.labels[rows],
            [GroupId(image_id) for image_id, row in zip(self.ids, rows, strict=True) if row],
            self.sides[rows] == "train",
            self.random[rows],
        )
        return learning_curve(sample, fit.c or _USUAL_C, more)

    def recall(self, fit: FitResult, rate: float) -> float:
        """On the photographs that were kept out."""
        scores = predict_proba(fit.head, self.features[self.test])
        return recall_at(rate, self.labels[self.test], scores)


def by_suggestion(state: Round, fit: FitResult | None, count: int) -> npt.NDArray[np.int64]:
    """Rows that `suggest` asks for."""
    rows = np.flatnonzero(state.pool & ~state.known)
    ids = [state.ids[row] for row in rows]
    judging = state.sides[rows] != "train"
    groups = [GroupId(image_id) for image_id in ids]
    known = np.flatnonzero(state.known)
    found = suggest(
        Candidates(ids, state.features[rows], groups, judging),
        Known(state.features[known], [GroupId(state.ids[row]) for row in known]),
        fit.head if fit else None,
        count,
    )
    row_of = dict(zip(ids, rows.tolist(), strict=True))
    chosen = np.array([row_of[item.image_id] for item in found])
    state.random[[row_of[item.image_id] for item in found if item.why == "random"]] = True
    return chosen


def at_random(state: Round, fit: FitResult | None, count: int) -> npt.NDArray[np.int64]:
    """Any rows."""
    rows = np.flatnonzero(state.pool & ~state.known)
    order = sorted(rows.tolist(), key=lambda row: hash_side_key(state.ids[row]))
    chosen = np.array(order[:count])
    state.random[chosen] = True
    return chosen


def hash_side_key(image_id: ImageId) -> str:
    """An order that has nothing to do with the sides."""
    return image_id[::-1]


def begin(ids: list[ImageId], features: Float32Array, labels: LabelArray, seed: int) -> Round:
    """Keep out 30%, deal the rest by hash, and give the first labels at random."""
    order = np.random.default_rng(seed).permutation(len(ids))
    cut = round(0.3 * len(ids))
    pool = np.ones(len(ids), dtype=bool)
    pool[order[:cut]] = False
    sides = np.array([hash_side(image_id, str(seed)) for image_id in ids])
    known = np.zeros(len(ids), dtype=bool)
    known[order[cut : cut + _START]] = True
    return Round(ids, features, labels, order[:cut], sides, known, known.copy(), pool)


def walk(state: Round, choose: Choose, most: int, *, hints: bool) -> list[dict[str, Any]]:
    """Label step by step; what was found at each."""
    steps: list[dict[str, Any]] = []
    while True:
        fit = state.fit()
        labels = int(state.known.sum())
        started = time.perf_counter()
        curve = state.curve(fit, [_STEP, 3 * _STEP]) if hints else None
        seconds = time.perf_counter() - started
        steps.append(
            {
                "labels": labels,
                "auc": state.auc(fit),
                "fit": fit,
                "curve": curve,
                "seconds": seconds,
            }
        )
        if labels >= most:
            return steps
        state.known[choose(state, fit, min(_STEP, most - labels))] = True


def kept_word(state: Round, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each hint, whether what then happened lay within."""
    found: list[dict[str, Any]] = []
    for index, step in enumerate(steps):
        curve: LearningCurve | None = step["curve"]
        if curve is None:
            continue
        rate = curve.false_positive_rate
        figures: list[tuple[str, FigureCurve, Callable[[FitResult], float]]] = [
            ("recall", curve.recall, lambda fit, rate=rate: state.recall(fit, rate)),  # type: ignore[misc]
            ("ROC AUC", curve.roc_auc, state.auc),
        ]
        for name, figure, measured in figures:
            for forecast in figure.forecasts:
                later = index + forecast.more // _STEP
                if later < len(steps):
                    now, then = measured(step["fit"]), measured(steps[later]["fit"])
                    found.append(
                        {
                            "figure": name,
                            "judged on": curve.judged_on,
                            "seconds": step["seconds"],
                            **judged(forecast, now, then),
                        }
                    )
    return found


def judged(forecast: Forecast, now: float, then: float) -> dict[str, float]:
    """What was said and what happened."""
    return {
        "more": forecast.more,
        "kept": forecast.low <= then <= forecast.high,
        "width": forecast.high - forecast.low,
        "said - happened": forecast.then - then,
        "gain": then - now,
        "gain said": forecast.then - forecast.now,
    }


def table(data: Path, folder: Path) -> tuple[list[ImageId], Float32Array, list[str]]:
    """Ids, features and class folders of the photographs."""
    workspace = Workspace(folder)
    with Store(folder) as store:
        if not store.count_images():
            import_source(store, scan_folder(clothing(data), TASKS[0]))
    with open_tools(workspace, TrainingOptions()) as tools:
        found = featurize_labelled(tools, SilentProgress())
        classes = [
            Path(tools.store.entries_of(image_id)[0]).parent.name for image_id in found.image_ids
        ]
    return found.image_ids, found.matrix[found.starts], classes


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=8, help="ways to keep photographs out")
    options.add_argument("--workspace", type=Path, help="use the photographs imported there")
    options.add_argument("--no-hints", action="store_true", help="only the labels saved")
    chosen = options.parse_args()
    with temporary_folder() as folder:
        ids, features, classes = table(chosen.data, chosen.workspace or folder)
    words: list[dict[str, Any]] = []
    reached: list[bool] = []
    for task in TASKS:
        labels = np.isin(classes, task).astype(np.int8)
        goals, ours, randoms = [], [], []
        for seed in range(chosen.rounds):
            state = begin(ids, features, labels, seed)
            ours.append(walk(state, by_suggestion, _MOST, hints=not chosen.no_hints))
            words.extend(kept_word(state, ours[-1]))
            randoms.append(walk(begin(ids, features, labels, seed), at_random, _GOAL, hints=False))
            goals.append(randoms[-1][-1]["auc"])
        goal = statistics.mean(goals)
        means = {
            s[0]["labels"]: statistics.mean(step["auc"] for step in s)
            for s in zip(*ours, strict=True)
        }
        plain = {
            s[0]["labels"]: statistics.mean(step["auc"] for step in s)
            for s in zip(*randoms, strict=True)
        }
        first = next((n for n, value in means.items() if value >= goal), None)
        reached.append(first is not None)
        wins = [max(s["auc"] for s in o) >= g for o, g in zip(ours, goals, strict=True)]
        show(
            f"labels saved: {', '.join(task)}",
            {
                f"test ROC AUC of {_GOAL} random labels": goal,
                "labels with suggest that reach it, mean of rounds": first or "not within 500",
                "share of rounds that reach it with 500": statistics.mean(wins),
                **{f"suggest, {n} labels": v for n, v in means.items()},
                **{f"random, {n} labels": v for n, v in plain.items() if n in means},
            },
        )
    show("tasks on which 500 labels do", {**machine(), "of 4": sum(reached)})
    for key in sorted({(word["figure"], word["more"]) for word in words}):
        some = [word for word in words if (word["figure"], word["more"]) == key]
        means = {
            f"mean {name}": statistics.mean(word[name] for word in some)
            for name in some[0]
            if name not in {"more", "figure"}
        }
        show(f"the hint: {key[0]} with {key[1]} more labels", {"hints": len(some), **means})


if __name__ == "__main__":
    main()
