"""Copies of real photographs, where only images that share a small cell are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from keshikaran import candidates, cells
from keshikaran.ingest import import_source, scan_folder
from keshikaran.preparation import open_tools, prepare
from keshikaran.store import Workspace
from keshikaran.training import TrainingOptions
from keshikaran.types import SilentProgress
from planting_support import plant

pytestmark = [pytest.mark.realdata, pytest.mark.timeout(300)]

_EVERY = 30
_MEMBERS = 24


def test_copies_are_found_among_those_that_share_a_cell(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "ALL_WITH_ALL", 0)
    monkeypatch.setattr(cells, "MEMBERS", _MEMBERS)
    for file in sorted((photographs / "clothing" / "images").glob("*/*.jpg"))[::_EVERY]:
        place = tmp_path / "in" / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        (place / file.name).write_bytes(file.read_bytes())
    options = TrainingOptions()
    with open_tools(Workspace(tmp_path / "ws"), options) as tools:
        import_source(tools.store, scan_folder(tmp_path / "in", ["dress", "skirt", "shorts"]))
        chosen = [image.image_id for image in tools.store.labels.images()][::2]
        planted = plant(tools.store, chosen, tmp_path / "copies", wrong=False)
        assert len(planted) >= 50
        prepare(tools, options, SilentProgress())
        groups = tools.store.groups.of_images()
        suspected = {frozenset((p.first, p.second)) for p in tools.store.suspected.pairs()}
    missed = [
        copy
        for copy, original in planted.items()
        if groups.get(copy, copy) != groups.get(original)
        and frozenset((copy, original)) not in suspected
    ]
    assert len(missed) <= 1
    assert {i for i in groups if i not in planted} <= set(planted.values())
