"""A filled-in list comes back: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keshikaran.errors import SourceError
from keshikaran.labels import FileLabels, label_from_file
from keshikaran.store import Store
from keshikaran.types import ImageId
from store_support import add_rows, an_id, catalogue

_OBJECTS = ["a" * 40, "b" * 40, "c" * 40, "d" * 40]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "w") as opened:
        yield opened


@pytest.fixture
def images(store: Store) -> list[ImageId]:
    """Labelled 0, labelled 1, not labelled, labelled both ways."""
    found = add_rows(store, list(zip(_OBJECTS, [0, 1, None, 0], strict=True)))
    add_rows(store, [(_OBJECTS[3], 1)], root="/other")
    return found


def _list(tmp_path: Path, *rows: str, header: str = "image_id,correct,why,label") -> Path:
    path = tmp_path / "list.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def _labels(store: Store) -> dict[ImageId, int]:
    return {image.image_id: image.label for image in store.labels.images()}


def test_a_list_corrects_confirms_and_decides(
    store: Store, images: list[ImageId], tmp_path: Path
) -> None:
    zero, one, none, both = images
    path = _list(tmp_path, f"{zero},1,a logo", f"{one},keep,,1", f"{none},0", f"{both},1,a nude")
    done = label_from_file(store, path, who="ada", why="review")
    assert done == FileLabels(corrected=3, confirmed=1)
    assert _labels(store) == {zero: 1, one: 1, none: 0, both: 1}
    assert store.labels.contradictions() == []
    last = [store.labels.history(image)[-1] for image in images]
    assert [(e.value, e.by, e.who, e.why) for e in last] == [
        (1, "person", "ada", "a logo"),
        (1, "person", "ada", "review"),
        (0, "person", "ada", "review"),
        (1, "person", "ada", "a nude"),
    ]
    assert [len(store.labels.history(image)) for image in images] == [2, 2, 1, 3]


def test_giving_a_list_again_changes_nothing(
    store: Store, images: list[ImageId], tmp_path: Path
) -> None:
    path = _list(tmp_path, f"{images[0]},1", f"{images[1]},1")
    assert label_from_file(store, path, who="ada") == FileLabels(corrected=1, confirmed=1)
    before = catalogue(tmp_path / "w")
    assert label_from_file(store, path, who="ada") == FileLabels(unchanged=2)
    assert catalogue(tmp_path / "w") == before


def test_none_takes_a_persons_word_back(
    store: Store, images: list[ImageId], tmp_path: Path
) -> None:
    store.labels.say(images[0], 1, who="ada", why="")
    path = _list(tmp_path, f"{images[0]},none,no logo after all")
    assert label_from_file(store, path, who="bob") == FileLabels(taken_back=1)
    assert _labels(store)[images[0]] == 0


def test_of_a_list_with_mistakes_nothing_is_taken_and_each_mistake_is_named(
    store: Store, images: list[ImageId], tmp_path: Path
) -> None:
    before = catalogue(tmp_path / "w")
    zero, one, none, both = images
    path = _list(
        tmp_path,
        f"{zero},1",
        f"{an_id('nobody')},1",
        f"{zero},0",
        f"{one},none",
        f"{none},keep",
        f"{both},keep",
        f"{one},2",
    )
    with pytest.raises(SourceError) as caught:
        label_from_file(store, path, who="ada")
    words = str(caught.value)
    assert words.startswith(f"No label was changed. {path}: line 8: '2' is not 0, 1, none or keep;")
    for part in (
        f"line 3: no image here has the id '{an_id('nobody')}'",
        "line 4: line 2 is about the same image",
        "line 5: none takes back what a person said, and nobody said anything",
        "line 6: there is no label to keep; write 0 or 1",
        "line 7: there is no label to keep; write 0 or 1",
    ):
        assert part in words
    assert catalogue(tmp_path / "w") == before


def test_a_label_that_changed_since_the_list_was_made_is_not_confirmed_unseen(
    store: Store, images: list[ImageId], tmp_path: Path
) -> None:
    path = _list(tmp_path, f"{images[0]},keep,,0")
    store.labels.say(images[0], 1, who="bob", why="")
    with pytest.raises(SourceError, match="line 2: its label is 1 by now, not '0'; write 0 or 1"):
        label_from_file(store, path, who="ada")


def test_a_long_list_of_mistakes_is_cut(
    store: Store, images: list[ImageId], tmp_path: Path
) -> None:
    path = _list(tmp_path, *(f"{images[0]},{number}" for number in range(10, 35)))
    with pytest.raises(SourceError, match=r"line 11: '19' .*; and 15 more\."):
        label_from_file(store, path, who="ada")
