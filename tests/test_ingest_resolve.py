from pathlib import Path

import pytest

from keshikaran.errors import SourceError, UsageError
from keshikaran.hashing import content_ids
from keshikaran.ingest import Entry, LocalFile, Source, resolve_sources
from keshikaran.pixels import DEFAULT_LIMITS
from support import encode, reddish, write_classes


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "pictures", 2)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A label file; the picture it lists lies beside it in `media`."""
    data = encode(reddish(1))
    name = f"{content_ids(data).object_id}.png"
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / name).write_bytes(data)
    path = tmp_path / "label.CSV"
    path.write_text(f"objectId,value\n{name},1\n")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "single.png"
    path.write_bytes(encode(reddish(2)))
    return path


def _entries(source: Source) -> list[Entry]:
    return [item for item in source.walk(DEFAULT_LIMITS) if isinstance(item, Entry)]


def test_folders_label_files_and_single_files_can_be_mixed(
    pictures: Path, table: Path, file: Path
) -> None:
    sources = resolve_sources(
        [file, table, pictures], positives=["red"], media_dir=table.parent / "media", label=1
    )
    assert [source.root for source in sources] == [str(pictures), str(table), "/"]
    labels = [[entry.label for entry in _entries(source)] for source in sources]
    assert labels == [[0, 0, 1, 1], [1], [1]]


def test_several_files_are_one_source(file: Path) -> None:
    other = file.with_name("other.png")
    other.touch()
    (source,) = resolve_sources([file, other])
    contents = [entry.content for entry in _entries(source)]
    assert contents == [LocalFile(str(file)), LocalFile(str(other))]
    assert [entry.label for entry in _entries(source)] == [None, None]


def test_a_folder_whose_name_ends_like_a_table_is_a_folder(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "set.csv", 1)
    (source,) = resolve_sources([folder])
    assert source.count == 2


def test_one_of_several_folders_may_lack_the_positive_class(pictures: Path, tmp_path: Path) -> None:
    only_blue = tmp_path / "more"
    (only_blue / "blue").mkdir(parents=True)
    (only_blue / "blue" / "a.png").touch()
    _, more = resolve_sources([pictures, only_blue], positives=["red"])
    assert [entry.label for entry in _entries(more)] == [0]


def test_nothing_named_is_nothing_found() -> None:
    assert resolve_sources([]) == []


def test_a_positive_that_no_folder_has_names_the_folders_there_are(pictures: Path) -> None:
    with pytest.raises(UsageError, match=r"--positive rde: .*Folders there: blue, red\."):
        resolve_sources([pictures], positives=["red", "rde"])


def test_a_positive_folder_without_files_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "red").mkdir()
    with pytest.raises(UsageError, match=r"with files in it\. Folders there: none\."):
        resolve_sources([tmp_path], positives=["red"])


def test_positive_without_a_folder_is_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="--positive changes nothing without a folder"):
        resolve_sources([file], positives=["red"])


def test_media_dir_without_a_label_file_is_refused(pictures: Path) -> None:
    with pytest.raises(UsageError, match=r"--media-dir changes nothing without a label\.csv"):
        resolve_sources([pictures], media_dir=pictures)


def test_a_label_file_without_media_dir_is_refused(table: Path) -> None:
    with pytest.raises(UsageError, match=r"label\.CSV names files; .*Add --media-dir FOLDER"):
        resolve_sources([table])


def test_label_without_single_files_is_refused(pictures: Path) -> None:
    with pytest.raises(UsageError, match=r"--label changes nothing .* use --positive NAME"):
        resolve_sources([pictures], label=0)


@pytest.mark.parametrize("name", ["gone.png", "gone", "x" * 5000])
def test_a_path_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=rf"{name} is no file\. Check the path"):
        resolve_sources([tmp_path / name])


def test_a_bad_line_in_one_source_stops_all_before_the_import(pictures: Path, table: Path) -> None:
    table.write_text(table.read_text() + "nonsense\n")
    with pytest.raises(SourceError, match="line 3"):
        resolve_sources([pictures, table], media_dir=table.parent / "media")


def test_a_folder_one_may_not_look_into_is_an_ordinary_error(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", denied)
    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(SourceError, match="is no file"):
        resolve_sources([pictures / "red" / "0000.png"])
