import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.dealing import balance_sides, hash_side
from keshikaran.errors import SourceError, UsageError
from keshikaran.split import (
    SplitScheme,
    scheme_from_option,
    seed_side,
    split_images,
    stored_scheme,
)
from keshikaran.store import LabelledImage, Store
from keshikaran.types import SPLITS, ImageId, Label, Split
from store_support import add_rows, an_id

_A, _B, _C, _D = (f"{letter * 40}" for letter in "abcd")
_OBJECT_IDS = st.lists(st.integers(0, 16**40 - 1), unique=True, max_size=60).map(
    lambda numbers: [f"{number:040x}" for number in numbers]
)
_LABELLED = st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from(SPLITS)), max_size=60)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "w") as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "split_label.csv"


def _labelled(labels: Sequence[Label]) -> list[LabelledImage]:
    return [
        LabelledImage(an_id(str(number)), f"{number:040x}", label)
        for number, label in enumerate(labels)
    ]


def _write(file: Path, *lines: str) -> SplitScheme:
    file.write_text("".join(f"{line}\n" for line in ("objectId,value,type", *lines)))
    return scheme_from_option(str(file))


def _counts(store: Store) -> Counter[tuple[Split, Label]]:
    sides = store.splits()
    return Counter((sides[image.image_id], image.label) for image in store.labels.images())


# The rule by hash


@settings(max_examples=15, deadline=None)
@given(first=_OBJECT_IDS, more=_OBJECT_IDS, salt=st.text(max_size=5))
def test_adding_images_never_moves_those_that_were_there(
    first: list[str], more: list[str], salt: str
) -> None:
    scheme = SplitScheme(salt=salt)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as store:
        add_rows(store, [(object_id, 0) for object_id in first])
        split_images(store, scheme)
        before = store.splits()
        add_rows(store, [(object_id, 1) for object_id in more if object_id not in first])
        split_images(store, scheme)
        after = store.splits()
    assert {image_id: after[image_id] for image_id in before} == before
    assert len(after) == len({*first, *more})


@settings(max_examples=15, deadline=None)
@given(ids=_OBJECT_IDS, rng=st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(ids: list[str], rng: random.Random) -> None:
    sides = []
    for order in (ids, rng.sample(ids, len(ids))):
        with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as store:
            add_rows(store, [(object_id, 1) for object_id in order])
            split_images(store)
            sides.append(store.splits())
    assert sides[0] == sides[1]


@pytest.mark.parametrize("salt", ["", "another"])
def test_about_eight_in_ten_images_train(salt: str) -> None:
    shares = Counter(hash_side(an_id(str(number)), salt) for number in range(20_000))
    assert shares["train"] / 20_000 == pytest.approx(0.8, abs=0.01)
    assert shares["validation"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert shares["test"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_another_salt_is_another_split() -> None:
    ids = [an_id(str(number)) for number in range(2000)]
    plain = [hash_side(image_id) for image_id in ids]
    salted = [hash_side(image_id, "another") for image_id in ids]
    agree = sum(a == b for a, b in zip(plain, salted, strict=True))
    assert agree / 2000 == pytest.approx(0.8**2 + 0.1**2 + 0.1**2, abs=0.05)


def test_the_side_of_an_image_is_the_same_for_ever() -> None:
    """Fixed answers: another rule would shuffle test images into train in every workspace."""
    sides = {number: hash_side(an_id(str(number))) for number in range(40)}
    assert [number for number, side in sides.items() if side == "validation"] == [3, 25, 38]
    assert [number for number, side in sides.items() if side == "test"] == [22, 30, 32]
    assert hash_side(an_id("0"), "salt") == "test"


def test_only_images_with_a_label_get_a_side(store: Store) -> None:
    ids = add_rows(store, [(_A, 0), (_B, None), (_C, 1), (_D, 0)])
    add_rows(store, [(_D, 1)], root="/elsewhere")  # a contradiction
    report = split_images(store)
    assert set(store.splits()) == {ids[0], ids[2]}
    assert sum(sum(side.values()) for side in report.counts.values()) == 2
    assert (report.unassigned, report.unknown, report.disagreeing) == (0, 0, 0)


def test_the_report_counts_what_the_store_remembers(store: Store) -> None:
    add_rows(store, [(f"{number:040x}", 1 if number % 3 else 0) for number in range(300)])
    report = split_images(store)
    counts = _counts(store)
    assert report.counts == {
        side: {"0": counts[side, 0], "1": counts[side, 1]}
        for side in ("train", "validation", "test")
    }


def test_an_empty_workspace_splits_into_nothing(store: Store) -> None:
    assert split_images(store).counts == {side: {"0": 0, "1": 0} for side in SPLITS}


# Balancing


@settings(max_examples=100, deadline=None)
@given(images=_LABELLED)
def test_balancing_keeps_the_first_images_of_each_class_and_moves_the_rest_to_train(
    images: list[tuple[Label, Split]],
) -> None:
    labelled = _labelled([label for label, _ in images])
    before = [side for _, side in images]
    after = balance_sides(labelled, before)
    sides: tuple[Split, ...] = ("validation", "test")
    for side in sides:
        kept: dict[Label, list[int]] = {0: [], 1: []}
        there: dict[Label, list[int]] = {0: [], 1: []}
        for number, image in enumerate(labelled):
            if before[number] == side:
                there[image.label].append(number)
            if after[number] == side:
                kept[image.label].append(number)
        size = min(len(there[0]), len(there[1]))
        assert kept == {0: there[0][:size], 1: there[1][:size]}
    assert all(new == old or new == "train" for new, old in zip(after, before, strict=True))


def test_balance_makes_validation_and_test_even(store: Store) -> None:
    add_rows(store, [(f"{number:040x}", 1 if number % 4 else 0) for number in range(600)])
    plain = split_images(store, SplitScheme())
    even = split_images(store, SplitScheme(balance=True))
    for side in ("validation", "test"):
        smaller = min(plain.counts[side].values())
        assert plain.counts[side]["0"] != plain.counts[side]["1"]
        assert even.counts[side] == {"0": smaller, "1": smaller}
    assert sum(_counts(store).values()) == 600


# The seed's rule


@pytest.mark.parametrize(
    ("last", "side"),
    [
        (0, "test"),
        (24, "test"),
        (25, "validation"),
        (49, "validation"),
        (50, "train"),
        (255, "train"),
    ],
)
def test_the_seed_rule_reads_the_last_byte(last: int, side: Split) -> None:
    assert seed_side(f"{'0' * 38}{last:02x}") == side


def _seed_collection() -> list[tuple[str, Label]]:
    """22,640 object ids whose raw sides, before the cut, are those of the seed's story.

    Class 0 is the smaller one on both sides, so its 744 and 747 images stay; class 1 has 1,467
    on each side, as 25 of 256 bytes give on average.
    """
    plan: list[tuple[Label, int, range]] = [
        (0, 744, range(25)),
        (0, 747, range(25, 50)),
        (0, 6126, range(50, 256)),
        (1, 1467, range(25)),
        (1, 1467, range(25, 50)),
        (1, 12089, range(50, 256)),
    ]
    images: list[tuple[str, Label]] = []
    for label, count, last_bytes in plan:
        for number in range(count):
            last = last_bytes[number % len(last_bytes)]
            images.append((f"{len(images):038x}{last:02x}", label))
    random.Random(8).shuffle(images)
    return images


def test_the_seed_scheme_gives_the_seeds_own_numbers(store: Store) -> None:
    images = _seed_collection()
    assert Counter(label for _, label in images) == {0: 7617, 1: 15023}
    add_rows(store, images)
    report = split_images(store, scheme_from_option("seed"))
    assert report.counts == {
        "train": {"0": 6126, "1": 13532},
        "validation": {"0": 747, "1": 747},
        "test": {"0": 744, "1": 744},
    }
    sides = store.splits()
    for side in ("validation", "test"):
        raw = [name for name, label in images if label == 1 and seed_side(name) == side]
        kept = [name for name in raw if sides[an_id(name)] == side]
        assert kept == raw[: len(kept)]  # cut in file order
        assert {sides[an_id(name)] for name in raw[len(kept) :]} == {"train"}
    assert all(sides[an_id(name)] == "train" for name, _ in images if seed_side(name) == "train")


def test_the_seed_scheme_cuts_either_class(store: Store) -> None:
    add_rows(store, [(f"{'0' * 37}{number}00", 0) for number in range(5)])
    add_rows(store, [(f"{'1' * 37}{number}00", 1) for number in range(2)])
    report = split_images(store, SplitScheme("seed"))
    assert report.counts["test"] == {"0": 2, "1": 2}
    assert report.counts["train"] == {"0": 3, "1": 0}


# The rule from a file


def test_a_file_says_the_side_of_each_image_by_any_of_its_names(store: Store, file: Path) -> None:
    a, b, c, d = add_rows(store, [(_A, 0), (_B, 1), (_C, 1), (_D, 0)])
    scheme = _write(
        file,
        f"{_A},0,train",
        f"{_B}.jpg,1,validation",
        f"{an_id(_C)},1,test",
        f"{an_id(_D)}.png,0,test",
    )
    report = split_images(store, scheme)
    assert store.splits() == {a: "train", b: "validation", c: "test", d: "test"}
    assert report.counts == {
        "train": {"0": 1, "1": 0},
        "validation": {"0": 0, "1": 1},
        "test": {"0": 1, "1": 1},
    }
    assert (report.unassigned, report.unknown, report.disagreeing) == (0, 0, 0)


def test_images_that_the_file_does_not_name_stay_out_and_are_counted(
    store: Store, file: Path
) -> None:
    a, _, _ = add_rows(store, [(_A, 0), (_B, 1), (_C, None)])
    report = split_images(store, _write(file, f"{_A},0,train"))
    assert store.splits() == {a: "train"}
    assert report.unassigned == 1


def test_lines_that_name_no_labelled_image_are_counted(store: Store, file: Path) -> None:
    add_rows(store, [(_A, 0), (_B, None)])
    scheme = _write(file, f"{_A},0,train", f"{_B},0,train", f"{_C}.jpg,1,test", "dog,1,test")
    report = split_images(store, scheme)
    assert (report.unknown, report.unassigned) == (3, 0)


def test_a_line_with_another_value_is_counted_and_the_label_here_holds(
    store: Store, file: Path
) -> None:
    add_rows(store, [(_A, 0), (_B, 1)])
    report = split_images(store, _write(file, f"{_A},1,train", f"{_B},1,test"))
    assert report.disagreeing == 1
    assert report.counts["train"] == {"0": 1, "1": 0}


def test_the_same_line_twice_is_harmless_and_two_sides_are_an_error(
    store: Store, file: Path
) -> None:
    (a,) = add_rows(store, [(_A, 0)])
    split_images(store, _write(file, f"{_A},0,train", f"{_A}.jpg,0,train"))
    assert store.splits() == {a: "train"}
    scheme = _write(file, f"{_A},0,train", "", f"{an_id(_A)},0,test")
    with pytest.raises(SourceError, match=r"line 4: .* is both train and test\. Keep one line"):
        split_images(store, scheme)
    assert store.splits() == {a: "train"}


def test_the_file_may_begin_with_a_byte_order_mark(store: Store, file: Path) -> None:
    add_rows(store, [(_A, 0)])
    file.write_bytes(f"\ufeffobjectId,value,type\r\n{_A},0,test\r\n".encode())
    assert split_images(store, scheme_from_option(str(file))).counts["test"]["0"] == 1


@pytest.mark.parametrize(
    "line",
    [f"{_A},0", f"{_A},0,train,x", f"{_A},2,train", f"{_A},0,dev", f"{_A},0,Train", "nonsense"],
)
def test_a_line_that_makes_no_sense_is_named_and_changes_nothing(
    store: Store, file: Path, line: str
) -> None:
    (a, _) = add_rows(store, [(_A, 0), (_B, 1)])
    split_images(store, _write(file, f"{_A},0,validation"))
    with pytest.raises(SourceError, match=rf"csv, line 3: '{line}' makes no sense\. Write: "):
        split_images(store, _write(file, f"{_B},1,train", line))
    assert store.splits() == {a: "validation"}


@pytest.mark.parametrize(
    ("text", "found"), [("objectId,value\n", "objectId,value"), ("", ""), ("a\n" * 3, "a")]
)
def test_another_header_is_quoted(store: Store, file: Path, text: str, found: str) -> None:
    file.write_text(text)
    with pytest.raises(SourceError, match=rf"header '{found}'\. .*objectId,value,type"):
        split_images(store, scheme_from_option(str(file)))


@pytest.mark.parametrize("content", [b"objectId,value,type\n\x93\xfa,1,test\n", None])
def test_a_file_that_cannot_be_read_is_named(
    store: Store, file: Path, content: bytes | None
) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SourceError, match=r"split_label\.csv cannot be read as CSV"):
        split_images(store, scheme_from_option(str(file)))


# Which rule holds


def test_the_last_scheme_is_repeated_until_another_is_asked_for(store: Store, file: Path) -> None:
    add_rows(store, [(_A, 0)])
    assert stored_scheme(store) == SplitScheme()
    schemes = [SplitScheme(salt="s", balance=True), SplitScheme("seed"), _write(file)]
    for scheme in schemes:
        split_images(store, scheme)
        assert stored_scheme(store) == scheme
        split_images(store)
        assert stored_scheme(store) == scheme


def test_splitting_again_gives_the_same_sides(store: Store) -> None:
    add_rows(store, [(f"{number:040x}", 1 if number % 2 else 0) for number in range(100)])
    scheme = SplitScheme(salt="s", balance=True)
    split_images(store, scheme)
    before = store.splits()
    split_images(store)
    assert store.splits() == before


def test_a_label_that_was_taken_back_takes_the_side_along(store: Store) -> None:
    (a,) = add_rows(store, [(_A, None)])
    store.labels.say(a, 1, who="ada", why="")
    split_images(store)
    assert set(store.splits()) == {a}
    store.labels.say(a, None, who="ada", why="")
    split_images(store)
    assert store.splits() == {}


def test_a_scheme_is_read_as_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert scheme_from_option("hash", salt="x", balance=True) == SplitScheme("hash", "x", True)
    assert scheme_from_option("seed") == SplitScheme("seed")
    assert scheme_from_option("mine.CSV") == SplitScheme("file", file=str(tmp_path / "mine.CSV"))


@pytest.mark.parametrize("text", ["random", "", "hash.txt", "Seed"])
def test_an_unknown_scheme_lists_those_there_are(text: str) -> None:
    with pytest.raises(UsageError, match=rf"--scheme {text} is unknown\. Use hash, seed, or"):
        scheme_from_option(text)


@pytest.mark.parametrize("name", ["seed", "x.csv"])
def test_options_without_effect_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"--salt changes nothing under --scheme (seed|file)"):
        scheme_from_option(name, salt="x")
    with pytest.raises(UsageError, match=r"--balance changes nothing under --scheme (seed|file)"):
        scheme_from_option(name, balance=True)


def test_image_ids_are_told_apart_from_object_ids(store: Store, file: Path) -> None:
    """An image id is 64 digits, an object id 40: no line can mean two images."""
    ids: list[ImageId] = add_rows(store, [(_A, 0), (_B, 0)])
    split_images(store, _write(file, f"{ids[0][:40]},0,test", f"{ids[1]},0,test"))
    assert store.splits() == {ids[1]: "test"}
