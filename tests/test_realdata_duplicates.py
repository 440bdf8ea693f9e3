"""On real photographs: copies are found whatever was done to them, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from random import Random

import pytest

from keshikaran.ingest import import_source, scan_folder
from keshikaran.preparation import featurize_labelled, group_labelled, open_tools
from keshikaran.store import Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import GroupId, ImageId, SilentProgress
from transforms import TRANSFORMS, kind_of, write_copies

pytestmark = [pytest.mark.realdata, pytest.mark.timeout(300)]

PHOTOGRAPHS = 400
COPIED = 25


@pytest.fixture(scope="module", params=["clothing/images/*/*.jpg", "imagenet-samples/*.JPEG"])
def found(
    request: pytest.FixtureRequest, photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Path], dict[str, ImageId], dict[ImageId, GroupId]]:
    """What each copy was made from, the image of each file name, and the groups."""
    files = sorted(photographs.glob(request.param))
    files = files[:: max(1, len(files) // PHOTOGRAPHS)]
    assert len(files) >= 200
    folder = tmp_path_factory.mktemp("duplicates")
    (folder / "files" / "originals").mkdir(parents=True)
    for path in files:
        (folder / "files" / "originals" / path.name).write_bytes(path.read_bytes())
    made = write_copies(Random(11).sample(files, COPIED), folder / "files" / "copies")
    with Store(folder / "ws") as store:
        import_source(store, scan_folder(folder / "files", ["originals"]))
    with open_tools(Workspace(folder / "ws"), TrainingOptions()) as tools:
        features = featurize_labelled(tools, SilentProgress())
        group_labelled(tools, features, SilentProgress())
        names = {
            Path(entry).name: image_id
            for image_id in features.image_ids
            for entry in tools.store.entries_of(image_id)
        }
        return made, names, tools.store.groups.of_images()


def test_nearly_all_copies_of_every_kind_are_with_their_original(
    found: tuple[dict[str, Path], dict[str, ImageId], dict[ImageId, GroupId]],
) -> None:
    made, names, groups = found
    hits: dict[str, list[bool]] = defaultdict(list)
    for name, original in made.items():
        group = groups.get(names[name])
        hits[kind_of(name)].append(group is not None and group == groups.get(names[original.name]))
    assert hits.keys() == TRANSFORMS.keys()
    assert all(sum(values) >= 0.9 * len(values) for values in hits.values()), hits
    assert sum(map(sum, hits.values())) >= 0.98 * len(made)


def test_no_two_different_photographs_are_in_one_group(
    found: tuple[dict[str, Path], dict[str, ImageId], dict[ImageId, GroupId]],
) -> None:
    made, names, groups = found
    photographs: dict[GroupId, set[str]] = defaultdict(set)
    for name, image_id in names.items():
        if image_id in groups:
            photographs[groups[image_id]].add(made.get(name, Path(name)).name)
    assert all(len(members) == 1 for members in photographs.values()), photographs
