"""`Labels.of` says of some images what the view says of all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.store import SourceEntry, Store
from keshikaran.types import Label
from store_support import add_rows

_ROOTS = ("/a", "/b")
_VALUES = st.sampled_from([0, 1, None])
_WORD = st.tuples(st.integers(0, 2), st.sampled_from([*_ROOTS, "person", "taken back"]), _VALUES)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("ws")) as opened:
        yield opened


@settings(max_examples=15, deadline=None)
@given(said=st.lists(_WORD, max_size=8))
def test_labels_of_some_images_are_those_of_the_list_of_all(
    store: Store, said: list[tuple[int, str, Label | None]]
) -> None:
    start = store.count_images()
    ids = add_rows(store, [(f"{start + number:040d}", None) for number in range(3)])
    for number, who, value in said:
        entry = f"x{start + number}"
        if who == "person":
            store.labels.say(ids[number], value, who="ada", why="")
        elif who == "taken back":
            store.labels.retract_claim(ids[number], f"{_ROOTS[0]}/{entry}", who="ada", why="")
        else:
            store.add([], [SourceEntry(who, entry, ids[number], value)], who="test")
    every = {image.image_id: image.label for image in store.labels.images()}
    for some in (ids, ids[:1]):
        assert store.labels.of(some) == {i: every[i] for i in some if i in every}
