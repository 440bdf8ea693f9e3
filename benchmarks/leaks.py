"""What planted copies of test images do to a split and to its figures, with and without the guard.

A tenth of the test images is copied in nine ways (`tests/transforms.py`), given other names, and
imported into a workspace that was split before: once under the labels that the originals have, once
under the opposite ones. Five salts are five test sets.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common import ROOT, clothing, machine, parser, show, temporary_folder
from keshikaran.audit import Findings, find_issues, read_facts
from keshikaran.auditing import AS_SPLIT, TEST_CUT, TRAIN_CUT, Judged, compare_leaks
from keshikaran.dealing import Dealt
from keshikaran.featurize import FeatureTable
from keshikaran.ingest import import_source, scan_folder
from keshikaran.preparation import Tools, open_tools, prepare
from keshikaran.split import SplitScheme
from keshikaran.store import Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import ImageId, SilentProgress

sys.path.insert(0, str(ROOT / "tests"))

from planting_support import plant, some_of

POSITIVES = ("dress", "skirt", "shorts")


@dataclass(frozen=True, slots=True)
class Run:
    """What happened to the copies in one workspace."""

    planted: int
    missed: list[str]
    trained: int
    tested: int
    kept_out: int
    moved: int
    named: int
    trained_unguarded: int
    leaks_named: int
    aside: int
    suspected: int
    suspected_others: int
    others_out: int
    guarded: list[Judged]
    unguarded: list[Judged]


def main() -> None:
    """All salts, two kinds of labels."""
    arguments = parser(__doc__)
    arguments.add_argument("--share", type=float, default=0.1, help="share of test images copied")
    arguments.add_argument("--salts", type=int, default=5, help="how many test sets")
    arguments.add_argument("--workspace", type=Path, help="the photographs, imported already")
    chosen = arguments.parse_args()
    show("machine", machine())
    with temporary_folder() as folder:
        base = folder / "base"
        if chosen.workspace:
            shutil.copytree(chosen.workspace, base)
        with open_tools(Workspace(base), TrainingOptions()) as tools:
            if not chosen.workspace:
                import_source(tools.store, scan_folder(clothing(chosen.data), POSITIVES))
            prepare(tools, TrainingOptions(), SilentProgress())
        for wrong in (False, True):
            runs = []
            for number, salt in enumerate(map(str, range(chosen.salts))):
                place = folder / f"{wrong}-{salt}"
                shutil.copytree(base, place, copy_function=_linked)
                runs.append(run(Workspace(place), salt, number, chosen.share, wrong=wrong))
            _show("opposite labels" if wrong else "the originals' labels", runs)


def _linked(source: str, target: str) -> None:
    """Image files never change; everything else is copied."""
    (os.link if "/objects/" in source else shutil.copy2)(source, target)


def run(place: Workspace, salt: str, seed: int, share: float, *, wrong: bool) -> Run:
    """Split, plant, and split again: guarded, without the guard, and guarded once more."""
    with open_tools(place, TrainingOptions()) as tools:
        store = tools.store
        _split(tools, SplitScheme(salt=salt))
        before = store.splits()
        chosen = some_of(store, "test", share, seed)
        planted = plant(store, chosen, place.folder.with_suffix(".reposts"), wrong=wrong)

        features = _split(tools, SplitScheme(salt=salt))
        sides = store.splits()
        groups = store.groups.of_images()
        labels = {image.image_id: image.label for image in store.labels.images()}
        out = {item.image_id for item in store.set_aside()}
        guarded = compare_leaks(features, labels, sides, groups)
        listed, suspects = _listed(tools), _suspects(tools)
        missed = [
            Path(store.entries_of(copy)[0]).stem.split("-")[-1]
            for copy, original in planted.items()
            if not _same(groups, copy, original)
        ]

        features = _split(tools, SplitScheme(salt=salt, guard=False))
        bare = store.splits()
        there = [copy for copy in planted if "train" == bare[copy] != bare[planted[copy]]]
        unguarded = compare_leaks(features, labels, bare, groups)
        findings = _findings(tools)
        leaks = {leak.image_id for leak in findings.leaks}
        leaks |= {m.image_id for one in findings.suspected if one.leaking for m in one.members}

        _split(tools, SplitScheme(salt=salt))
        aside = {item.image_id for item in store.set_aside()}
    return Run(
        planted=len(planted),
        missed=missed,
        trained=sum(sides.get(copy) == "train" for copy in planted),
        tested=sum(sides.get(copy) == "test" for copy in planted),
        kept_out=len(planted.keys() & out),
        moved=sum(sides.get(image_id) != side for image_id, side in before.items()),
        named=len(planted.keys() & (listed | suspects)),
        trained_unguarded=len(there),
        leaks_named=len(leaks.intersection(there)),
        aside=len(aside.intersection(there)),
        suspected=len(planted.keys() & suspects - listed),
        suspected_others=len(suspects - planted.keys() - set(planted.values())),
        others_out=len(out - planted.keys()),
        guarded=guarded,
        unguarded=unguarded,
    )


def _split(tools: Tools, scheme: SplitScheme) -> FeatureTable:
    return prepare(tools, TrainingOptions(split=scheme), SilentProgress()).features


def _findings(tools: Tools) -> Findings:
    dealt = Dealt(tools.store.splits(), tools.store.set_aside())
    return find_issues(read_facts(tools.store, dealt))


def _listed(tools: Tools) -> set[ImageId]:
    """Every image that the audit names in a group of copies."""
    return {member.image_id for group in _findings(tools).groups for member in group.members}


def _suspects(tools: Tools) -> set[ImageId]:
    """Every image that the audit suspects to be a copy of another."""
    return {member.image_id for one in _findings(tools).suspected for member in one.members}


def _same(groups: Mapping[ImageId, str], copy: ImageId, original: ImageId) -> bool:
    return copy in groups and groups[copy] == groups.get(original)


def _show(labels: str, runs: list[Run]) -> None:
    def total(count: Callable[[Run], int]) -> int:
        return sum(count(run) for run in runs)

    show(
        f"copies under {labels}",
        {
            "planted, all salts together": total(lambda run: run.planted),
            "grouped with their original": total(lambda run: run.planted - len(run.missed)),
            "not grouped": ", ".join(sorted(kind for run in runs for kind in run.missed)) or "none",
            "suspected only": total(lambda run: run.suspected),
            "named by the audit, as copies or suspects": total(lambda run: run.named),
            "on train after split": total(lambda run: run.trained),
            "on test after split": total(lambda run: run.tested),
            "set aside after split": total(lambda run: run.kept_out),
            "old images that changed sides": total(lambda run: run.moved),
            "other images suspected": total(lambda run: run.suspected_others),
            "other images set aside": total(lambda run: run.others_out),
            "guard off: on train, the original is not": total(lambda run: run.trained_unguarded),
            "guard off: named as leaks": total(lambda run: run.leaks_named),
            "guard on again: set aside": total(lambda run: run.aside),
        },
    )
    rows = {
        "guard on": [run.guarded[0] for run in runs],
        "guard off": [_row(run, AS_SPLIT) for run in runs],
        f"guard off, {TEST_CUT}": [_row(run, f"{AS_SPLIT}, {TEST_CUT}") for run in runs],
        f"guard off, {TRAIN_CUT}": [_row(run, f"{AS_SPLIT}, {TRAIN_CUT}") for run in runs],
    }
    for figure in ("roc_auc", "average_precision", "recall_at_block", "recall_at_review"):
        means = {
            name: statistics.mean(getattr(judged, figure) for judged in found)
            for name, found in rows.items()
        }
        gains = [
            getattr(off, figure) - getattr(cut, figure)
            for off, cut in zip(rows["guard off"], rows[f"guard off, {TRAIN_CUT}"], strict=True)
        ]
        means["what the leaks add, same test images"] = statistics.mean(gains)
        means["least of all"], means["most of all"] = min(gains), max(gains)
        show(f"{figure}, mean of all salts, copies under {labels}", means)


def _row(run: Run, name: str) -> Judged:
    return next(row for row in run.unguarded if row.name == name)


if __name__ == "__main__":
    main()
