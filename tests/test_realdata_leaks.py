"""Copies of real test images, planted in an import: none trains, the audit names all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from keshikaran.audit import Findings
from keshikaran.auditing import GUARD_OFF, audit
from keshikaran.ingest import import_source, resolve_sources
from keshikaran.preparation import open_tools, prepare
from keshikaran.split import SplitScheme
from keshikaran.store import Workspace
from keshikaran.training import TrainingOptions
from keshikaran.types import ImageId, SilentProgress
from planting_support import plant, some_of

pytestmark = [pytest.mark.realdata, pytest.mark.timeout(300)]

_EVERY = 8
_SHARE = 0.25


@pytest.fixture(scope="module")
def imported(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every eighth photograph, featurized and split."""
    folder = tmp_path_factory.mktemp("leaks")
    for file in sorted((photographs / "clothing" / "images").glob("*/*.jpg"))[::_EVERY]:
        (folder / "in" / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / "in" / file.parent.name / file.name)
    options = TrainingOptions()
    with open_tools(Workspace(folder / "ws"), options) as tools:
        (source,) = resolve_sources([folder / "in"], positives=["dress", "skirt", "shorts"])
        import_source(tools.store, source)
        prepare(tools, options, SilentProgress())
    return folder / "ws"


@pytest.mark.parametrize("wrong", [False, True], ids=["right labels", "wrong labels"])
def test_planted_copies_of_test_images_never_train_and_are_all_named(
    imported: Path, tmp_path: Path, wrong: bool
) -> None:
    place = Workspace(Path(shutil.copytree(imported, tmp_path / "ws")))
    options = TrainingOptions()
    with open_tools(place, options) as tools:
        before = tools.store.splits()
        chosen = some_of(tools.store, "test", _SHARE, seed=1)
        planted = plant(tools.store, chosen, tmp_path / "reposts", wrong=wrong)
        assert len(planted) == len(chosen) >= 8
        report = prepare(tools, options, SilentProgress()).split
        sides = tools.store.splits()
    assert report.leaks == report.suspected_leaks == 0
    assert {sides.get(image_id) for image_id in planted} == {None if wrong else "test"}
    assert {image_id: sides[image_id] for image_id in before} == before
    findings = audit(place, options, figures=False).findings
    assert _named(findings, planted)
    if wrong:
        contradictory = {m.image_id for g in findings.contradictory_groups for m in g.members}
        assert planted.keys() <= contradictory | _suspects(findings)

    with open_tools(place, options) as tools:
        prepare(tools, TrainingOptions(split=SplitScheme(guard=False)), SilentProgress())
        sides = tools.store.splits()
    there = {image_id for image_id in planted if sides[image_id] == "train"}
    assert len(there) >= len(planted) / 2
    found = audit(place, options, figures=False).findings
    assert there <= {leak.image_id for leak in found.leaks} | _suspects(found)
    with open_tools(place, options) as tools:  # they were trained on before anybody knew
        report = prepare(tools, TrainingOptions(split=SplitScheme()), SilentProgress()).split
        aside = {item.image_id: item.twin for item in tools.store.set_aside()}
    assert report.leaks == 0
    assert {image_id: aside[image_id] for image_id in there} == {i: planted[i] for i in there}
    figures = audit(place, options).figures
    assert any(row.name.startswith(GUARD_OFF) for row in figures)


def _suspects(findings: Findings) -> set[ImageId]:
    return {member.image_id for one in findings.suspected for member in one.members}


def _named(findings: Findings, planted: dict[ImageId, ImageId]) -> bool:
    """Whether each copy is in a group with the image that it is a copy of, or a pair of suspects."""
    pairs = {frozenset(m.image_id for m in one.members) for one in findings.suspected}
    group_of = {m.image_id: g.group_id for g in findings.groups for m in g.members}
    return all(
        (group_of.get(copy) is not None and group_of.get(copy) == group_of.get(original))
        or frozenset((copy, original)) in pairs
        for copy, original in planted.items()
    )
