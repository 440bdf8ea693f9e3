"""The journal's lines: what is written, what a reader makes of damage."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.errors import DamagedStoreError, StoreError
from keshikaran.store.changes import Change
from keshikaran.store.journal import Journal, Position, decode, encode
from store_support import fail_fsync

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_CHANGES = st.dictionaries(_TEXT, _TEXT | st.none() | st.integers(-(2**53), 2**53)).map(
    lambda fields: {**fields, "kind": "label"}
)


def _change(number: int) -> Change:
    return {"kind": "setting", "name": "n", "value": str(number)}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


@pytest.fixture
def written(journal: Journal) -> Journal:
    """Three transactions of 1, 2 and 3 changes: lines 2-3, 4-6, 7-10."""
    place = journal.replace()
    for count in (1, 2, 3):
        place = journal.append([_change(10 * count + n) for n in range(count)], place)
    return journal


def _told(journal: Journal) -> list[tuple[list[str], list[str], bool]]:
    """Values, damage and whether it is closed, of each transaction."""
    return [
        ([str(change["value"]) for change in part.changes], part.damage, part.closed)
        for part in journal.transactions(journal.start())
    ]


def _lines(journal: Journal) -> list[bytes]:
    return journal.path.read_bytes().splitlines(keepends=True)


def _damage(line: bytes) -> bytes:
    """One bit of the content is another."""
    at = line.index(b'"record"') + 15
    return line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]


def test_every_line_is_canonical_json_with_its_checksum(written: Journal) -> None:
    lines = _lines(written)
    assert len(lines) == 10
    for line in lines:
        parsed = json.loads(line)
        assert list(parsed) == ["crc", "record"]
        body = json.dumps(parsed["record"], sort_keys=True, separators=(",", ":")).encode()
        assert parsed["crc"] == zlib.crc32(body)
        assert line == b'{"crc":%d,"record":%s}\n' % (parsed["crc"], body)
    assert json.loads(lines[0])["record"]["kind"] == "journal"
    assert json.loads(lines[9])["record"] == {"kind": "commit", "lines": 3, "transaction": 3}


@given(_CHANGES)
def test_what_is_written_is_read(change: Change) -> None:
    line = encode(change)
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert decode(line) == change


@given(_CHANGES, st.data())
def test_no_flipped_bit_goes_unseen(change: Change, data: st.DataObject) -> None:
    line = bytearray(encode(change))
    bit = data.draw(st.integers(0, 8 * len(line) - 1))
    line[bit // 8] ^= 1 << bit % 8
    assert decode(bytes(line)) is None


@pytest.mark.parametrize(
    "body",
    [b"[1]", b'"text"', b'{"a":1}', b"{", b"\xff"],
    ids=["list", "text", "kindless", "cut", "bytes"],
)
def test_a_line_with_a_right_checksum_over_nonsense_is_not_whole(body: bytes) -> None:
    assert decode(b'{"crc":%d,"record":%s}\n' % (zlib.crc32(body), body)) is None


def test_transactions_are_read_in_order(written: Journal) -> None:
    assert _told(written) == [
        (["10"], [], True),
        (["20", "21"], [], True),
        (["30", "31", "32"], [], True),
    ]


def test_reading_may_begin_behind_any_transaction(written: Journal) -> None:
    parts = list(written.transactions(written.start()))
    rest = list(written.transactions(parts[0].after))
    assert [part.changes for part in rest] == [part.changes for part in parts[1:]]
    assert rest[-1].after == parts[-1].after
    assert parts[-1].after.bytes == written.size()
    assert parts[-1].after.transactions == 3


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_torn_end_is_no_damage(written: Journal, cut: int) -> None:
    data = written.path.read_bytes()
    written.path.write_bytes(data[:-cut])
    *whole, last = written.transactions(written.start())
    assert [len(part.changes) for part in whole] == [1, 2]
    assert last.torn
    assert not last.closed


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 180))
def test_wherever_a_write_is_cut_off_what_was_whole_before_is_read(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    journal = Journal(tmp_path_factory.mktemp("j") / "journal.jsonl")
    place = journal.append([_change(1)], journal.replace())
    journal.append([_change(2), _change(3)], place)
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-cut])
    first, *rest = journal.transactions(journal.start())
    assert first.changes == [_change(1)]
    assert [part.torn for part in rest] == [True]


@pytest.mark.parametrize(
    ("number", "values"),
    [(4, ["21"]), (5, ["20"])],
)
def test_a_damaged_line_in_the_middle_is_named_and_the_others_are_read(
    written: Journal, number: int, values: list[str]
) -> None:
    lines = _lines(written)
    lines[number - 1] = _damage(lines[number - 1])
    written.path.write_bytes(b"".join(lines))
    told = _told(written)
    assert told[0] == (["10"], [], True)
    assert told[1] == (values, [f"line {number} is damaged"], True)
    assert told[2] == (["30", "31", "32"], [], True)


def test_a_damaged_closing_line_loses_nothing(written: Journal) -> None:
    lines = _lines(written)
    lines[5] = _damage(lines[5])
    written.path.write_bytes(b"".join(lines))
    assert _told(written) == [
        (["10"], [], True),
        (["20", "21", "30", "31", "32"], ["line 6 is damaged"], True),
    ]


def test_a_damaged_last_line_is_damage_and_not_torn(written: Journal) -> None:
    lines = _lines(written)
    lines[9] = _damage(lines[9])
    written.path.write_bytes(b"".join(lines))
    assert _told(written)[2] == (["30", "31", "32"], ["line 10 is damaged"], False)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ([5], "lines are missing before line 5"),
        ([4, 5, 6], "transactions are missing before line 7"),
    ],
)
def test_lines_that_are_gone_are_noticed(written: Journal, gone: list[int], words: str) -> None:
    lines = [line for number, line in enumerate(_lines(written), 1) if number not in gone]
    written.path.write_bytes(b"".join(lines))
    assert words in [item for _, damage, _ in _told(written) for item in damage]


def test_a_new_journal_may_begin_with_everything_at_once(journal: Journal) -> None:
    place = journal.replace([_change(1), _change(2)])
    assert place == Position(journal.start().journal_id, journal.size() or 0, 1)
    assert _told(journal) == [(["1", "2"], [], True)]


def test_two_journals_have_different_ids(journal: Journal) -> None:
    assert journal.replace().journal_id != journal.replace().journal_id


def test_a_disk_that_refuses_leaves_the_journal_as_it_was(
    written: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written.path.read_bytes()
    *_, last = written.transactions(written.start())
    with monkeypatch.context() as patch:
        fail_fsync(patch)
        with pytest.raises(StoreError, match=r"disk is full.*journal\.jsonl"):
            written.append([_change(99)], last.after)
    assert written.path.read_bytes() == before
    written.append([_change(99)], last.after)
    assert _told(written)[3] == (["99"], [], True)


def test_a_write_that_the_system_takes_in_parts_is_whole(
    written: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.write
    *_, last = written.transactions(written.start())
    monkeypatch.setattr(os, "write", lambda descriptor, data: original(descriptor, data[:7]))
    written.append([_change(99)], last.after)
    assert _told(written)[3] == (["99"], [], True)


def test_the_rest_of_a_write_can_be_cut_away(written: Journal) -> None:
    before = written.path.read_bytes()
    *_, last = written.transactions(written.start())
    with written.path.open("ab") as file:
        file.write(b'{"crc":12')
    written.cut(last.after)
    assert written.path.read_bytes() == before


def test_a_journal_that_cannot_be_cut_is_named(
    written: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def truncate(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "truncate", truncate)
    with pytest.raises(StoreError, match=r"journal\.jsonl could not be written"):
        written.cut(written.start())


def test_a_journal_without_a_readable_beginning_is_damaged(written: Journal) -> None:
    lines = _lines(written)
    written.path.write_bytes(b"".join([_damage(lines[0]), *lines[1:]]))
    with pytest.raises(DamagedStoreError, match=r"first line cannot be read.*rebuild --journal"):
        written.start()


def test_a_journal_of_a_newer_format_is_left_alone(journal: Journal) -> None:
    journal.path.write_bytes(encode({"kind": "journal", "format": 2, "id": "x"}))
    with pytest.raises(StoreError, match=r"newer version.*Update keshikaran"):
        journal.start()


def test_a_journal_that_cannot_be_opened_is_named(journal: Journal) -> None:
    assert journal.size() is None
    journal.path.mkdir()
    with pytest.raises(StoreError, match=r"journal\.jsonl cannot be read"):
        journal.start()
    with pytest.raises(StoreError, match=r"journal\.jsonl cannot be read"):
        list(journal.transactions(Position("", 0, 0)))
