from collections.abc import Iterator
from pathlib import Path

import pytest

from keshikaran.errors import StoreError
from keshikaran.store import Store, rebuild_catalogue
from keshikaran.types import ImageId, Label
from store_support import add_rows, an_id

_A, _B, _C = "a" * 40, "b" * 40, "c" * 40


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "w") as opened:
        yield opened


_Word = tuple[ImageId, Label | None, str]


def _said(store: Store, image_id: ImageId) -> list[tuple[int | None, str, str, str]]:
    return [(e.value, e.by, e.who, e.why) for e in store.labels.history(image_id)]


def test_history_tells_who_said_what_and_why_in_order(store: Store) -> None:
    first, second = add_rows(store, [(_A, 0), (_B, 1)])
    store.labels.say(first, 1, who="ada", why="a logo")
    store.labels.say(first, None, who="bob", why="no logo after all")
    assert _said(store, first) == [
        (0, "import", "test", ""),
        (1, "person", "ada", "a logo"),
        (None, "person", "bob", "no logo after all"),
    ]
    assert [event.claim for event in store.labels.history(first)] == [f"/synthetic/{_A}", "", ""]
    assert _said(store, second) == [(1, "import", "test", "")]


def test_times_of_a_history_never_go_back(store: Store) -> None:
    (image,) = add_rows(store, [(_A, 0)])
    values: list[Label] = [1, 0, 1]
    for value in values:
        store.labels.say(image, value, who="ada", why="")
    times = [event.at for event in store.labels.history(image)]
    assert times == sorted(times)
    assert all(time.endswith("+00:00") for time in times)


def test_an_image_nobody_spoke_of_has_no_history(store: Store) -> None:
    (image,) = add_rows(store, [(_A, None)])
    assert store.labels.history(image) == []
    assert store.labels.history(an_id("never seen")) == []


def test_many_words_are_one_change_in_the_order_given(store: Store) -> None:
    first, second = add_rows(store, [(_A, 0), (_B, 1)])
    words: list[_Word] = [(first, 1, "a logo"), (second, None, ""), (first, 0, "looked again")]
    store.labels.say_many(words, who="ada")
    assert _said(store, first)[1:] == [
        (1, "person", "ada", "a logo"),
        (0, "person", "ada", "looked again"),
    ]
    assert _said(store, second)[1:] == [(None, "person", "ada", "")]


def test_of_many_words_none_is_kept_where_one_makes_no_sense(store: Store) -> None:
    (image,) = add_rows(store, [(_A, 0)])
    with pytest.raises(StoreError):
        store.labels.say_many([(image, 1, ""), (an_id("never seen"), 1, "")], who="ada")
    assert _said(store, image) == [(0, "import", "test", "")]


def test_many_words_survive_the_loss_of_the_tables(store: Store, tmp_path: Path) -> None:
    (image,) = add_rows(store, [(_A, 0)])
    store.labels.say_many([(image, 1, "a logo")], who="ada")
    store.close()
    rebuild_catalogue(tmp_path / "w")
    with Store(tmp_path / "w") as again:
        assert _said(again, image)[-1] == (1, "person", "ada", "a logo")


def test_a_label_is_settled_once_a_person_confirmed_or_corrected_it(store: Store) -> None:
    first, second, third = add_rows(store, [(_A, 0), (_B, 1), (_C, None)])
    store.labels.say(first, 0, who="ada", why="looked: it is right")
    store.labels.say(third, 1, who="ada", why="")
    assert store.labels.settled() == {first: 0}
    store.labels.say(second, 0, who="ada", why="it is not")
    store.labels.say(third, 1, who="bob", why="looked too")
    assert store.labels.settled() == {first: 0, second: 0, third: 1}
    store.labels.say(first, None, who="ada", why="")
    assert store.labels.settled() == {second: 0, third: 1}
