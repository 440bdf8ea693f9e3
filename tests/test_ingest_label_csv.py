import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_support import cli
from keshikaran.errors import SourceError
from keshikaran.hashing import content_ids
from keshikaran.ingest import import_source, scan_label_csv
from keshikaran.store import Store
from keshikaran.types import Refusal
from store_support import catalogue, snapshot
from support import bluish, encode, reddish

_IDLE = "ab" * 20


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "workspace") as opened:
        yield opened


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "label.csv"


def _place(media: Path, data: bytes, layout: str = "flat", name: str | None = None) -> str:
    """Put a file where older collections have it; return its object id."""
    name = name or f"{content_ids(data).object_id}.png"
    nested = Path(name[:2]) / name[2:4] / name
    path = media / {"flat": Path(name), "nested": nested, "object": "object" / nested}[layout]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def _write(table: Path, *lines: str) -> None:
    table.write_text("".join(f"{line}\n" for line in ("objectId,value", *lines)), "utf-8")


def test_listed_files_are_found_in_every_layout_and_labelled(
    store: Store, media: Path, table: Path
) -> None:
    names = [
        _place(media, encode(reddish(number)), layout)
        for number, layout in enumerate(("nested", "object", "flat"))
    ]
    _write(table, f"{names[0]},1", f"{names[1]},0", f"{names[2]},1")
    report = import_source(store, scan_label_csv(table, media))
    assert (report.seen, report.imported, report.labels, report.skipped) == (3, 3, 3, 0)
    labelled = [(image.object_id, image.label) for image in store.labels.images()]
    assert labelled == [(names[0][:40], 1), (names[1][:40], 0), (names[2][:40], 1)]


def test_an_id_without_extension_names_a_file_without_one(
    store: Store, media: Path, table: Path
) -> None:
    data = encode(reddish(1))
    name = _place(media, data, name=content_ids(data).object_id)
    _write(table, f"{name},1")
    assert import_source(store, scan_label_csv(table, media)).imported == 1


def test_the_file_may_begin_with_a_byte_order_mark_and_have_blank_lines_and_spaces(
    store: Store, media: Path, table: Path
) -> None:
    names = [_place(media, encode(reddish(number))) for number in range(2)]
    text = f"\ufeffobjectId,value\r\n\r\n {names[0]} , 1 \r\n\r\n{names[1]},0"
    table.write_bytes(text.encode())
    assert import_source(store, scan_label_csv(table, media)).labels == 2


def test_importing_again_changes_nothing(
    store: Store, media: Path, table: Path, tmp_path: Path
) -> None:
    names = [_place(media, encode(reddish(number))) for number in range(3)]
    _write(table, *(f"{name},1" for name in names), f"{names[0]},1", f"{_IDLE}.jpg,0")
    sources = snapshot(media), table.read_bytes()
    first = import_source(store, scan_label_csv(table, media))
    rows = catalogue(tmp_path / "workspace")
    second = import_source(store, scan_label_csv(table, media))
    assert (first.imported, first.duplicates, first.skipped) == (3, 1, 1)
    assert (second.imported, second.duplicates, second.skipped) == (0, 4, 1)
    assert second.labels == 0
    assert catalogue(tmp_path / "workspace") == rows
    assert (snapshot(media), table.read_bytes()) == sources


def test_a_changed_value_revises_the_label(store: Store, media: Path, table: Path) -> None:
    name = _place(media, encode(reddish(1)))
    for value in (1, 0):
        _write(table, f"{name},{value}")
        import_source(store, scan_label_csv(table, media))
        assert [image.label for image in store.labels.images()] == [value]
    assert store.labels.contradictions() == []


def test_a_file_that_is_not_what_its_name_says_is_refused(
    store: Store, media: Path, table: Path, tmp_path: Path
) -> None:
    good = _place(media, encode(reddish(1)))
    impostor = encode(bluish(2))
    _place(media, impostor, name=f"{_IDLE}.png")
    _write(table, f"{good},1", f"{_IDLE}.png,0")
    report = import_source(store, scan_label_csv(table, media))
    assert (report.imported, report.skipped) == (1, 1)
    (refusal,) = report.refusals
    assert (refusal.path, refusal.reason) == (f"{_IDLE}.png", "hash_mismatch")
    assert content_ids(impostor).object_id in refusal.detail
    assert store.known_images([content_ids(impostor).image_id]) == set()
    assert store.skipped() == [
        Refusal(f"{table}/{_IDLE}.png", "import", "hash_mismatch", refusal.detail)
    ]


def test_a_listed_file_that_is_missing_is_listed_as_missing(
    store: Store, media: Path, table: Path
) -> None:
    good = _place(media, encode(reddish(1)))
    _write(table, f"{_IDLE}.jpg,1", f"{good},1")
    report = import_source(store, scan_label_csv(table, media))
    assert (report.seen, report.imported, report.skipped) == (2, 1, 1)
    assert report.refusals == (
        Refusal(f"{_IDLE}.jpg", "import", "missing_file", f"line 2: no such file in {media}"),
    )


def test_a_missing_file_that_turns_up_is_imported_and_no_longer_listed(
    store: Store, media: Path, table: Path
) -> None:
    data = encode(reddish(1))
    name = f"{content_ids(data).object_id}.png"
    _write(table, f"{name},1")
    import_source(store, scan_label_csv(table, media))
    assert len(store.skipped()) == 1
    _place(media, data)
    assert import_source(store, scan_label_csv(table, media)).imported == 1
    assert store.skipped() == []


def test_an_id_listed_with_two_values_is_a_contradiction(
    store: Store, media: Path, table: Path
) -> None:
    disputed, agreed = (_place(media, encode(reddish(number))) for number in range(2))
    _write(table, f"{disputed},1", f"{agreed},0", f"{disputed},0", f"{agreed},0")
    report = import_source(store, scan_label_csv(table, media))
    assert (report.imported, report.duplicates) == (2, 2)
    assert [image.object_id for image in store.labels.images()] == [agreed[:40]]
    (found,) = store.labels.contradictions()
    assert found.objectionable == (f"{table}/{disputed}",)
    assert found.acceptable == (f"{table}/{disputed} (line 4)",)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{_IDLE}.jpg,2", r"line 3: the value is '2'\. Values are 0 .*and 1"),
        (f"{_IDLE}.jpg,", "line 3: the value is ''"),
        (f"{_IDLE}.jpg,yes", "line 3: the value is 'yes'"),
        (f"{_IDLE}.jpg", "line 3: 1 columns instead of 2"),
        (f"{_IDLE}.jpg,1,train", r"line 3: 3 columns instead of 2\. Write: objectId,value"),
        ("dog.jpg,1", r"line 3: 'dog\.jpg' is no object id\. .*40 hex digits"),
        (f"{_IDLE.upper()}.jpg,1", "is no object id"),
        (f"{_IDLE}0.jpg,1", "is no object id"),
        (f"../{_IDLE}.jpg,1", "is no object id"),
        (f"{_IDLE}.jpg/../../x,1", "is no object id"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(
    media: Path, table: Path, line: str, words: str
) -> None:
    name = _place(media, encode(reddish(1)))
    _write(table, f"{name},1", line)
    with pytest.raises(SourceError, match=rf"label\.csv, .*{words}"):
        scan_label_csv(table, media)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "nothing"),
        ("path,label\na.jpg,1\n", "path,label"),
        ("objectId,value,type\n", "objectId,value,type"),
        ("x" * 200 + "\n", "x" * 80),
    ],
)
def test_another_header_is_quoted(media: Path, table: Path, text: str, found: str) -> None:
    table.write_text(text)
    with pytest.raises(SourceError, match=rf"header '{found}'\..* starts with: objectId,value"):
        scan_label_csv(table, media)


@pytest.mark.parametrize(
    "content",
    [
        "objectId,value\n\u65e5\u672c,1\n".encode("shift-jis"),
        b"objectId,value\n" + b"x" * 200_000 + b",1\n",
    ],
)
def test_a_file_that_cannot_be_read_as_csv_is_named(
    media: Path, table: Path, content: bytes
) -> None:
    table.write_bytes(content)
    with pytest.raises(SourceError, match=r"label\.csv cannot be read as CSV: .*as UTF-8"):
        scan_label_csv(table, media)


def test_a_missing_table_is_named(media: Path, table: Path) -> None:
    with pytest.raises(SourceError, match=r"label\.csv cannot be read as CSV: .*No such file"):
        scan_label_csv(table, media)


def test_a_media_folder_that_is_none_is_named(table: Path) -> None:
    _write(table)
    with pytest.raises(SourceError, match=r"--media-dir .*label\.csv is no folder"):
        scan_label_csv(table, table)


def test_a_list_without_lines_imports_nothing(store: Store, media: Path, table: Path) -> None:
    _write(table)
    assert import_source(store, scan_label_csv(table, media)).seen == 0


def test_a_link_in_the_media_folder_is_followed(
    store: Store, media: Path, table: Path, tmp_path: Path
) -> None:
    data = encode(reddish(1))
    (tmp_path / "elsewhere").write_bytes(data)
    name = f"{content_ids(data).object_id}.png"
    (media / name).symlink_to(tmp_path / "elsewhere")
    _write(table, f"{name},1")
    assert import_source(store, scan_label_csv(table, media)).imported == 1


def test_a_whole_object_tree_and_its_labels_are_imported_in_one_go(
    media: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [encode(reddish(number)) for number in range(5)]
    names = [_place(media, data, "object") for data in images]
    _write(table, *(f"{name},{number % 2}" for number, name in enumerate(names[:4])))
    words = ("import", media / "object", table, "--media-dir", media, "--json")
    for imported in (5, 0):
        done = cli(capsys, *words, "--workspace", tmp_path / "w")
        assert done.code == 0
        figures = json.loads(done.out)
        assert (figures["seen"], figures["imported"]) == (9, imported)
    with Store(tmp_path / "w") as store:
        labels = {image.object_id: image.label for image in store.labels.images()}
        tree = store.entries_of(store.find_images(names[4][:40])[0])
    assert labels == {name[:40]: number % 2 for number, name in enumerate(names[:4])}
    assert tree == [str(media / "object" / names[4][:2] / names[4][2:4] / names[4])]
