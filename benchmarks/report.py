"""How long figures and report take: `evaluate` and `report` on made-up features.

Features are made up: 1,280 numbers an image, the classes a little apart. There are as many test
images as asked for and a tenth as many to train and validate on (at least 400). What the commands
spend on starting, on reading features and on decoding pictures is not in it.

Run: python benchmarks/report.py [--images 400] [--images 20000] [--cpu]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from keshikaran.dataset import SplitCounts, make_dataset
from keshikaran.evaluate import Terms, evaluate
from keshikaran.evaluation import EvaluationReport
from keshikaran.forecast import curve_maker
from keshikaran.head import fit_head
from keshikaran.label_doubt import LabelTable, suspicious_labels, unseen_scores
from keshikaran.manifest import Manifest, SelfTest
from keshikaran.report import (
    AuditCounts,
    Picture,
    ReportContent,
    first_to_show,
    places,
    write_tensorboard_run,
)
from keshikaran.reporting import MOST_PICTURES, write_report
from keshikaran.types import Float32Array, ImageId, Label, Split, Thresholds

_T = TypeVar("_T")
_DIM = 1_280
_THUMBNAIL = b"\xff\xd8" + bytes(3_500)


def main() -> None:
    """Print seconds of each part, for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, action="append", help="test images")
    parser.add_argument("--cpu", action="store_true", help="seconds of this process's work")
    chosen = parser.parse_args()
    for images in chosen.images or [400, 20_000]:
        _measure(images, time.process_time if chosen.cpu else time.perf_counter)


def _measure(images: int, clock: Callable[[], float]) -> None:
    total = images + max(400, images // 10)
    features, labels, sides = _made_up(images, total)
    ids = [ImageId(f"{number:064x}") for number in range(total)]
    said = dict(zip(ids, labels, strict=True))
    data = make_dataset(ids, features, said, dict(zip(ids, sides, strict=True)))
    fit = fit_head(*data.part("train"), *data.part("validation"))
    terms = Terms(Thresholds(0.1, 0.6), 0.2, 0.2, 10_000)
    test = data.scored("test", fit.head)
    seconds: dict[str, float] = {}
    found = _timed(clock, seconds, "figures", lambda: evaluate(None, test, terms))
    _timed(clock, seconds, "curve", curve_maker(data, {}, set(), fit.c, (100, 300)))
    table = LabelTable(features, np.array(labels, np.int8), np.ones(total, bool), ids)
    _timed(
        clock,
        seconds,
        "labels to check",
        lambda: suspicious_labels(table.labels, unseen_scores(table)),
    )
    with tempfile.TemporaryDirectory() as folder:
        content = _content(found, data.counts())
        page = Path(folder) / "report.html"
        _timed(clock, seconds, "page and JSON", lambda: write_report(page, content))
        rows = features[[side == "test" for side in sides]]
        run = Path(folder) / "run"
        _timed(clock, seconds, "TensorBoard", lambda: write_tensorboard_run(run, content, rows))
        sizes = f"page {page.stat().st_size / 1e6:.1f} MB"
    parts = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
    print(f"{images:,} test images: {sum(seconds.values()):.2f} s ({parts}); {sizes}")


def _made_up(test: int, total: int) -> tuple[Float32Array, list[Label], list[Split]]:
    rng = np.random.default_rng(0)
    labels: list[Label] = [1 if value < 0.2 else 0 for value in rng.random(total)]
    features = rng.normal(size=(total, _DIM)).astype(np.float32)
    features[:, :20] += 0.8 * np.array(labels, dtype=np.float32)[:, np.newaxis]
    teaching = total - test
    sides: list[Split] = ["train"] * (teaching - teaching // 5)
    sides += ["validation"] * (teaching // 5) + ["test"] * test
    return features, labels, sides


def _timed(
    clock: Callable[[], float], seconds: dict[str, float], name: str, work: Callable[[], _T]
) -> _T:
    started = clock()
    done = work()
    seconds[name] = clock() - started
    return done


def _content(found: EvaluationReport, split: SplitCounts) -> ReportContent:
    ids = found.test_set.image_ids
    drawn = {place.image_id for place in first_to_show(places(found), MOST_PICTURES)}
    pictures = {
        image_id: Picture(
            f"in/{image_id}.jpg", _THUMBNAIL if image_id in drawn else None, (160, 90)
        )
        for image_id in ids
    }
    audit = AuditCounts(0, 0, 0, 0, 0, 0, 0, None)
    return ReportContent(_manifest(), {}, {}, split, found, (), (), (), audit, None, pictures)


def _manifest() -> Manifest:
    """What a model says of itself, as far as a page shows it."""
    return Manifest(
        model_id="made-up",
        created="",
        keshikaran_version="",
        classes={"0": "acceptable", "1": "objectionable"},
        thresholds=Thresholds(0.1, 0.6),
        thresholds_chosen_for="",
        policy={},
        promises=[],
        prevalence=0.2,
        calibration={},
        reference={},
        pixel_contract=1,
        inputs=[{"height": 224, "width": 224, "resize_mode": "crop"}],
        backbones=[{"name": "", "digest": "", "licence": ""}],
        parts=[{"backbone": 0, "input": 0, "features": _DIM}],
        precision="f32",
        recipe={},
        training_set={},
        split={},
        metrics={},
        self_test=SelfTest(0.5, []),
        licence="",
    )


if __name__ == "__main__":
    main()
