import errno
import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest

from keshikaran.errors import SourceError, UsageError
from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_files
from keshikaran.labels import current_user, find_image, label_image
from keshikaran.store import Store
from store_support import add_rows, deny_reading
from support import encode, reddish

_A, _B = "a" * 40, "a" * 39 + "b"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.chdir(tmp_path)
    with Store(tmp_path / "w") as opened:
        yield opened


@pytest.fixture
def file(store: Store, tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(encode(reddish(1)))
    import_source(store, scan_files([path]))
    return path


def test_an_image_is_found_by_a_file_with_the_same_bytes(store: Store, file: Path) -> None:
    expected = image_id_of(file.read_bytes())
    assert find_image(store, str(file)) == expected
    copy = file.rename(file.with_name("renamed.bin"))
    assert find_image(store, copy.name) == expected


def test_an_image_is_found_by_the_start_of_either_id(store: Store, file: Path) -> None:
    (other,) = add_rows(store, [(_A, None)])
    image_id = image_id_of(file.read_bytes())
    assert find_image(store, image_id[:6]) == image_id
    assert find_image(store, image_id) == image_id
    assert find_image(store, _A) == other


def test_a_file_that_was_never_imported_is_an_error_with_the_command(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "new.png").write_bytes(encode(reddish(2)))
    with pytest.raises(UsageError, match=r"not in the workspace\. .*keshikaran import new\.png"):
        find_image(store, "new.png")


@pytest.mark.parametrize("reference", ["gone.png", "abcde", "ABCDEF", "abcdeg", "", "f" * 65])
def test_what_is_neither_a_file_nor_an_id_is_refused(store: Store, reference: str) -> None:
    with pytest.raises(UsageError, match=r"neither a file nor an image id\. .*at least 6 digits"):
        find_image(store, reference)


def test_an_id_that_no_image_has_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match=r"No image has an id that .* abcdef\. Check the id"):
        find_image(store, "abcdef")


def test_an_id_that_several_images_have_is_refused(store: Store) -> None:
    add_rows(store, [(_A, None), (_B, None)])
    with pytest.raises(UsageError, match=r"2 images have .* aaaaaa\. Give more digits"):
        find_image(store, "aaaaaa")


def test_a_file_that_cannot_be_read_is_named(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deny_reading(monkeypatch, file.name)
    with pytest.raises(SourceError, match=r"picture\.png cannot be read: Permission denied"):
        find_image(store, str(file))


def test_a_name_that_no_file_can_have_is_an_ordinary_error(store: Store) -> None:
    with pytest.raises(SourceError, match="cannot be read: File name too long"):
        find_image(store, "x" * 5000)


def test_a_persons_word_holds_until_it_is_taken_back(store: Store, file: Path) -> None:
    image_id = label_image(store, str(file), 1, who="ada", why="a logo")
    assert image_id == image_id_of(file.read_bytes())
    assert [(image.image_id, image.label) for image in store.labels.images()] == [(image_id, 1)]
    label_image(store, image_id[:12], 0, who="bob")
    assert [image.label for image in store.labels.images()] == [0]
    label_image(store, image_id, None, who="bob")
    assert store.labels.images() == []


def test_a_persons_word_outweighs_the_import_and_gives_way_to_it_when_taken_back(
    store: Store, file: Path
) -> None:
    import_source(store, scan_files([file], 0))
    image_id = label_image(store, str(file), 1, who="ada")
    import_source(store, scan_files([file], 0))
    assert [image.label for image in store.labels.images()] == [1]
    label_image(store, image_id, None, who="ada")
    assert [image.label for image in store.labels.images()] == [0]


def test_a_wrong_reference_labels_nothing(store: Store) -> None:
    add_rows(store, [(_A, 0), (_B, 0)])
    with pytest.raises(UsageError):
        label_image(store, "aaaaaa", 1, who="ada")
    assert [image.label for image in store.labels.images()] == [0, 0]


def test_the_person_at_the_keyboard_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert current_user() == "ada"


@pytest.mark.parametrize("error", [KeyError("uid"), OSError(errno.ENOENT, "no such user")])
def test_a_person_without_a_name_is_unknown(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert current_user() == "unknown"
