"""Lists of labels as CSV: harmless in a spreadsheet, and the same when read back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keshikaran.errors import SourceError
from keshikaran.label_file import COLUMNS, FileRow, read_corrections, to_csv
from keshikaran.types import ImageId

_ID = ImageId("ab" * 32)


def _file(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "'", "'="])
def test_no_cell_of_a_list_can_be_taken_for_a_formula(start: str) -> None:
    cell = f'{start}HYPERLINK("x";"y")'
    data = to_csv([{"image_id": _ID, "path": cell, "neighbours": cell}])
    (row,) = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    assert row["path"] == row["neighbours"] == "'" + cell
    assert b'""x"";""y""' in data  # quoted: no separator of any language cuts the cell in two


@given(st.text(st.characters(codec="utf-8")))
def test_what_a_list_says_is_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, why: str
) -> None:
    path = tmp_path_factory.mktemp("lists") / "list.csv"
    path.write_bytes(to_csv([{"image_id": _ID, "label": "1", "correct": "0", "why": why}]))
    ((row,), wrong) = read_corrections(path)
    assert (row.image_id, row.shown, row.correct, row.why) == (_ID, "1", "0", why)
    assert wrong == []


def test_a_list_opens_as_utf8_and_has_every_column(tmp_path: Path) -> None:
    data = to_csv([{"image_id": _ID, "path": "straße/ü\udcff.jpg"}])
    assert data.startswith(b"\xef\xbb\xbf")
    header = data.decode("utf-8-sig").splitlines()[0]
    assert header == ",".join(f'"{name}"' for name in COLUMNS)
    assert "straße/ü\\udcff.jpg" in data.decode()
    assert read_corrections(_file(tmp_path, data)) == ([], [])


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_a_spreadsheet_saved_in_its_own_way_is_read(
    tmp_path: Path, mark: str, delimiter: str, end: str
) -> None:
    lines = [("Correct", "IMAGE_ID", "own"), (" Keep ", _ID.upper(), "x"), ("", _ID, ""), ("", "")]
    path = _file(tmp_path, mark + "".join(delimiter.join(line) + end for line in lines))
    assert read_corrections(path) == ([FileRow(2, _ID, None, "keep", "")], [])


def test_rows_are_named_by_their_line_also_behind_cells_of_several_lines(tmp_path: Path) -> None:
    text = f'image_id,correct,why\n{_ID},0,"one\ntwo"\n{_ID},maybe,\n{_ID},1\n'
    rows, wrong = read_corrections(_file(tmp_path, text))
    assert [(row.line, row.correct, row.why) for row in rows] == [
        (3, "0", "one\ntwo"),
        (5, "1", ""),
    ]
    assert wrong == ["line 4: 'maybe' is not 0, 1, none or keep"]


@pytest.mark.parametrize("header", ["", "image_id,label", "correct", "image_id,correct,correct"])
def test_a_list_without_the_columns_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(SourceError, match=r"list\.csv has not exactly one column .* review-labels"):
        read_corrections(_file(tmp_path, header + "\n"))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"list\.csv cannot be read: it is not UTF-8"):
        read_corrections(_file(tmp_path, b"image_id,correct\n\xff\xfe\n"))


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.csv cannot be read: No such file"):
        read_corrections(tmp_path / "gone.csv")


def test_a_cell_too_large_for_csv_is_an_error_with_its_line(tmp_path: Path) -> None:
    text = f"image_id,correct\n{_ID},{'x' * 200_000}\n"
    with pytest.raises(SourceError, match=r"list\.csv, line \d, cannot be read as CSV"):
        read_corrections(_file(tmp_path, text))
