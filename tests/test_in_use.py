"""Which model is in use: what is kept, what a crash or a second person cannot undo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keshikaran.errors import BundleError, DamagedStoreError, StoreError
from keshikaran.store import (
    ADVICE,
    Change,
    InUse,
    Store,
    Workspace,
    check_store,
    collect_garbage,
    put_into_use,
    read_in_use,
)
from keshikaran.store.in_use import IN_USE_NAME, Action
from keshikaran.store.lock import FolderLock
from store_support import deny_reading

_OLD, _NEW = "20250101T000000Z-aaaaaaaa", "20260101T000000Z-bbbbbbbb"


def _change(model_id: str, action: Action = "promote", why: str = "") -> Change:
    return Change(model_id, action, "2026-01-01T00:00:00+00:00", "kim", why)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace with two files that stand for models."""
    place = Workspace(tmp_path)
    place.model_folder.mkdir()
    for model_id in (_OLD, _NEW):
        place.model(model_id).write_bytes(b"model")
    return place


def _write(place: Workspace, text: str) -> None:
    (place.model_folder / IN_USE_NAME).write_text(text, encoding="utf-8")


def test_nobody_has_chosen_a_model_at_first_and_the_newest_answers(place: Workspace) -> None:
    assert read_in_use(place.model_folder) == InUse()
    assert (read_in_use(place.model_folder).model_id, read_in_use(place.folder / "no").before) == (
        None,
        None,
    )
    assert place.model_to_use() == place.model(_NEW)


def test_model_that_was_chosen_answers_although_another_is_newer(place: Workspace) -> None:
    put_into_use(place.model_folder, None, _change(_OLD, why="ümlaut and\nnew line"))
    assert place.model_to_use() == place.model(_OLD)
    assert place.latest_model() == place.model(_NEW)
    (kept,) = read_in_use(place.model_folder).changes
    assert kept == _change(_OLD, why="ümlaut and\nnew line")


def test_every_change_is_kept(place: Workspace) -> None:
    losses = Change(
        _NEW, "promote", "2026-01-02", "ann", "must be", True, "significant loss", ("f1",)
    )
    put_into_use(place.model_folder, None, _change(_OLD))
    put_into_use(place.model_folder, _OLD, losses)
    found = read_in_use(place.model_folder)
    assert found.changes == (_change(_OLD), losses)
    assert found.came_by(_NEW) == losses
    assert found.came_by("other") is None


def test_going_back_goes_back_step_by_step() -> None:
    changes = [_change(name) for name in ("a", "b", "c")]
    assert InUse(tuple(changes)).before == "b"
    changes.append(_change("b", "rollback"))
    assert InUse(tuple(changes)).before == "a"
    changes.append(_change("a", "rollback"))
    assert InUse(tuple(changes)).before is None
    changes.append(_change("d", "rollback"))  # one that was never in use
    assert InUse(tuple(changes)).before == "a"


def test_second_person_who_chose_meanwhile_is_not_overruled(place: Workspace) -> None:
    put_into_use(place.model_folder, None, _change(_OLD))
    with pytest.raises(StoreError, match=f"Meanwhile {_OLD} was put into use") as caught:
        put_into_use(place.model_folder, None, _change(_NEW))
    assert "Compare with that one" in caught.value.hint
    assert read_in_use(place.model_folder).model_id == _OLD


def test_two_cannot_choose_at_once(place: Workspace) -> None:
    lock = FolderLock(place.model_folder)
    assert lock.take_alone()
    with pytest.raises(StoreError, match="Another command is choosing"):
        put_into_use(place.model_folder, None, _change(_NEW))
    lock.release()


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="file/models could not be written"):
        put_into_use(tmp_path / "file" / "models", None, _change(_NEW))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        '{"schema": 2, "changes": []}',
        '{"schema": 1}',
        '{"schema": 1, "changes": [{}]}',
        '{"schema": 1, "changes": 7}',
    ],
)
def test_record_that_is_no_record_is_refused(place: Workspace, text: str) -> None:
    _write(place, text)
    with pytest.raises(DamagedStoreError, match=r"in-use\.json does not say which model") as caught:
        place.model_to_use()
    assert "--model FILE" in caught.value.hint


@pytest.mark.parametrize(
    "field",
    [
        {"model_id": "../../etc/passwd"},
        {"model_id": 7},
        {"who": None},
        {"losses": [1]},
        {"forced": "yes"},
        {"verdict": 1},
        {"action": "delete"},
    ],
)
def test_record_with_a_field_that_none_has_is_refused(
    place: Workspace, field: dict[str, object]
) -> None:
    put_into_use(place.model_folder, None, _change(_OLD))
    path = place.model_folder / IN_USE_NAME
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["changes"][0] |= field
    _write(place, json.dumps(raw))
    with pytest.raises(DamagedStoreError):
        read_in_use(place.model_folder)


def test_record_that_cannot_be_read_is_named(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_into_use(place.model_folder, None, _change(_OLD))
    deny_reading(monkeypatch, IN_USE_NAME)
    with pytest.raises(StoreError, match=r"in-use\.json cannot be read"):
        read_in_use(place.model_folder)


def test_no_other_model_answers_in_place_of_one_that_is_gone(place: Workspace) -> None:
    put_into_use(place.model_folder, None, _change(_OLD))
    place.model(_OLD).unlink()
    with pytest.raises(BundleError, match=f"The model in use, {_OLD}, is not in") as caught:
        place.model_to_use()
    assert "keshikaran rollback" in caught.value.hint


# Looking after the workspace


def test_check_of_the_store_names_a_model_that_is_gone_and_a_damaged_record(
    place: Workspace,
) -> None:
    with Store(place.folder):
        pass
    put_into_use(place.model_folder, None, _change(_OLD))
    assert check_store(place.folder).findings == ()
    place.model(_OLD).unlink()
    (finding,) = check_store(place.folder).findings
    assert (finding.kind, finding.subject) == ("missing_model", f"models/{_OLD}.onnx")
    assert "rollback" in ADVICE[finding.kind]
    _write(place, "{")
    report = check_store(place.folder)
    assert not report.clean
    assert [(f.kind, f.subject) for f in report.findings] == [
        ("damaged_record", "models/in-use.json")
    ]


def test_clearing_up_leaves_models_and_the_record(place: Workspace) -> None:
    with Store(place.folder):
        pass
    put_into_use(place.model_folder, None, _change(_OLD))
    report = collect_garbage(place.folder, now=1e12)
    assert report.removed == ()
    assert place.model_to_use() == place.model(_OLD)
