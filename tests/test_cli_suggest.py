"""`keshikaran suggest`: what to label next, as people and machines get it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_support import cli, talks_in_lines
from keshikaran.cli.main import main
from keshikaran.dealing import hash_side
from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_folder
from keshikaran.labelling import MOST_LOOKED_AT, plan_labelling
from keshikaran.store import Store, Workspace
from keshikaran.types import ImageId, Suggestion
from support import bluish, encode, reddish, write_classes

_UNLABELLED = 40


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, backbone_file: Path) -> Path:
    """90 pictures of each class with labels, and 40 without. Tests may label, in order."""
    folder = tmp_path_factory.mktemp("suggest")
    place = folder / "w"
    with Store(place) as store:
        import_source(store, scan_folder(write_classes(folder / "labelled", 90), ["red"]))
        write_classes(folder / "more", _UNLABELLED // 2, start=500)
        import_source(store, scan_folder(folder / "more", []))
    return place


def _suggest(
    capsys: pytest.CaptureFixture[str], place: Path, backbone: Path, *words: str
) -> dict[str, object]:
    done = cli(
        capsys,
        *("suggest", "--workspace", place, "--backbone", backbone, "--isolation", "off"),
        *("--json", *words),
    )
    assert done.code == 0, done.err
    found: dict[str, object] = json.loads(done.out)
    return found


def test_suggestions_are_unlabelled_and_say_why(
    workspace: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _suggest(capsys, workspace, backbone_file, "--n", "10")
    items = found["suggestions"]
    assert isinstance(items, list)
    assert {item["why"] for item in items} == {"uncertain", "random"}
    with Store(workspace) as store:
        waiting = set(store.labels.unlabelled())
    assert found["unlabelled"] == len(waiting) == _UNLABELLED
    assert {item["image_id"] for item in items} <= waiting
    for item in items:
        assert (item["why"] == "random") == (hash_side(item["image_id"]) != "train")
        assert Path(item["paths"][0]).is_file()
    assert found["curve"] is not None
    assert found["prevalence"] is None


def test_asking_again_gives_the_same_and_is_remembered(
    workspace: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (_suggest(capsys, workspace, backbone_file, "--n", "6") for _ in range(2))
    assert first["suggestions"] == second["suggestions"]
    with Store(workspace) as store:
        reasons = store.suggested.of_images()
    items = first["suggestions"]
    assert isinstance(items, list)
    assert all(item["why"] in reasons[item["image_id"]] for item in items)


def test_people_get_lines_a_list_and_a_page(
    workspace: Path, backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, page = tmp_path / "to-label.csv", tmp_path / "to-label.html"
    done = cli(
        capsys,
        *("suggest", "--n", "5", "--workspace", workspace, "--backbone", backbone_file),
        *("--isolation", "off", "--csv", listed, "--html", page),
    )
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 5
    score, why, path, image_id = lines[0].split()
    assert 0.0 <= float(score) <= 1.0
    assert why == "uncertain"
    assert image_id_of(Path(path).read_bytes()) == image_id
    assert talks_in_lines(done.err)
    assert "more labels: ROC AUC" in done.err
    assert f"label --from {listed}" in done.err
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") == 5
    assert f"keshikaran label {image_id[:16]}" in text


def test_filled_in_list_becomes_labels_and_random_ones_tell_the_prevalence(
    workspace: Path, backbone_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "to-label.csv"
    words = ("--csv", str(listed), "--n", "20", "--random", "0.4")
    found = _suggest(capsys, workspace, backbone_file, *words)
    items = found["suggestions"]
    assert isinstance(items, list)
    rows = listed.read_text(encoding="utf-8-sig").splitlines()
    red = [str(n) for n in range(len(rows)) if "/red/" in rows[n]]
    filled = [
        row.removesuffix('"",""') + ('"1",""' if str(n) in red else '"0",""') if n else row
        for n, row in enumerate(rows)
    ]
    listed.write_text("\n".join(filled), encoding="utf-8")
    assert main(["label", "--from", str(listed), "--workspace", str(workspace)]) == 0
    after = _suggest(capsys, workspace, backbone_file, "--n", "5")
    assert after["unlabelled"] == _UNLABELLED - len(items)
    share = after["prevalence"]
    assert isinstance(share, dict)
    random = [item for item in items if item["why"] == "random"]
    assert share["images"] >= len(random) > 0
    assert share["low"] <= share["share"] <= share["high"]


def test_without_labels_pictures_are_spread(
    tmp_path: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(tmp_path / "w") as store:
        import_source(store, scan_folder(write_classes(tmp_path / "p", 15), []))
    done = cli(
        capsys,
        *("suggest", "--n", "6", "--workspace", tmp_path / "w", "--backbone", backbone_file),
        *("--isolation", "off"),
    )
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 6
    assert all(line.split()[0] == "–" for line in lines)
    assert "spread" in done.out
    assert "Too few labels of both kinds" in done.err


def test_everything_labelled_is_said(
    tmp_path: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(tmp_path / "w") as store:
        import_source(store, scan_folder(write_classes(tmp_path / "p", 15), ["red"]))
    done = cli(
        capsys,
        *("suggest", "--workspace", tmp_path / "w", "--backbone", backbone_file),
        *("--isolation", "off"),
    )
    assert done.code == 0
    assert done.out == ""
    assert "All 30 images are labelled" in done.err
    assert "keshikaran import" in done.err


def test_undecodable_images_are_left_out_and_counted(
    tmp_path: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_classes(tmp_path / "p", 5)
    data = encode(reddish(77))
    (folder / "red" / "cut.png").write_bytes(data[: len(data) // 2])
    with Store(tmp_path / "w") as store:
        import_source(store, scan_folder(folder, []))
    done = cli(
        capsys,
        *("suggest", "--workspace", tmp_path / "w", "--backbone", backbone_file),
        *("--isolation", "off"),
    )
    assert done.code == 3
    assert "cannot be decoded: 1 images" in done.err
    assert len(done.out.splitlines()) <= 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--csv", "list.txt"), "--csv list.txt does not end in .csv"),
        (("--html", "page.csv"), "--html page.csv does not end in .html"),
    ],
)
def test_misleading_file_names_are_refused(
    workspace: Path, words: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli(capsys, "suggest", "--workspace", workspace, *words)
    assert done.code == 2
    assert said in done.err


@pytest.mark.parametrize(("count", "share"), [(0, 0.2), (5, 1.5), (5, -0.1)])
def test_senseless_numbers_are_refused(tmp_path: Path, count: int, share: float) -> None:
    from keshikaran.errors import UsageError
    from keshikaran.training_run import TrainingOptions

    with pytest.raises(UsageError, match="cannot be chosen"):
        plan_labelling(Workspace(tmp_path), count, TrainingOptions(), random_share=share)


def test_more_images_than_fit_wait_for_their_turn(
    tmp_path: Path,
    backbone_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert MOST_LOOKED_AT >= 50_000
    monkeypatch.setattr("keshikaran.labelling.MOST_LOOKED_AT", 8)
    with Store(tmp_path / "w") as store:
        import_source(store, scan_folder(write_classes(tmp_path / "p", 10), []))
    done = cli(
        capsys,
        *("suggest", "--workspace", tmp_path / "w", "--backbone", backbone_file),
        *("--isolation", "off"),
    )
    assert "Looked at 8 of 20 unlabelled images" in done.err
    assert len(done.out.splitlines()) <= 8


def test_sides_of_the_seed_scheme_are_kept_to(
    tmp_path: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from keshikaran.split import seed_side

    folder = write_classes(tmp_path / "p", 30)
    (tmp_path / "new").mkdir()
    for number in range(60):
        picture = bluish(900 + number)
        (tmp_path / "new" / f"{number}.png").write_bytes(encode(picture))
    place = tmp_path / "w"
    with Store(place) as store:
        import_source(store, scan_folder(folder, ["red"]))
        import_source(store, scan_folder(tmp_path / "new", []))
    words = ("--workspace", str(place), "--backbone", str(backbone_file))
    assert main(["split", "--scheme", "seed", *words]) == 0
    found = _suggest(capsys, place, backbone_file, "--n", "10", "--random", "0.3")
    items = found["suggestions"]
    assert isinstance(items, list)
    with Store(place) as store:
        objects = store.object_ids([ImageId(item["image_id"]) for item in items])
    for item in items:
        assert (item["why"] == "random") == (seed_side(objects[item["image_id"]]) != "train")


def test_suggestions_outlive_the_catalogue(tmp_path: Path) -> None:
    from keshikaran.store.rebuild import rebuild_catalogue

    place = tmp_path / "w"
    with Store(place) as store:
        import_source(store, scan_folder(write_classes(tmp_path / "p", 3), []))
        first = store.labels.unlabelled()[0]
        items = [Suggestion(first, "random", None), Suggestion(first, "uncertain", 0.5)]
        assert store.suggested.record(items) == 2
        assert store.suggested.record(items) == 0
    (place / "catalogue.sqlite").unlink()
    rebuild_catalogue(place)
    with Store(place) as store:
        assert store.suggested.of_images() == {first: {"random", "uncertain"}}
