"""`keshikaran review-labels`, and its list back into `keshikaran label --from`, as typed."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli_support import Outcome, cli, talks_in_lines
from html_support import read_page
from keshikaran.hashing import image_id_of
from keshikaran.store import DuplicatePair, Store
from store_support import catalogue
from support import encode, reddish, write_classes

_COUNT = 30
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, backbone_file: Path) -> Path:
    """A workspace of 61 images. Do not change it.

    Two are labelled wrongly, one both ways, and two copies of one photograph differently.
    """
    folder = tmp_path_factory.mktemp("review")
    pictures = write_classes(folder / "in", _COUNT)
    for name in ("0003.png", "0004.png"):
        (pictures / "red" / name).rename(pictures / "blue" / f"=moved {name}")
    (pictures / "red" / "both.png").write_bytes(encode(reddish(500)))
    (pictures / "blue" / "both.png").write_bytes(encode(reddish(500)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", io.StringIO())
        patch.setattr("sys.stderr", io.StringIO())
        from keshikaran.cli.main import main

        assert main(["import", str(pictures), "--positive", "red", "-w", str(folder / "ws")]) == 0
    red, blue = (
        image_id_of((pictures / name / "0007.png").read_bytes()) for name in ("red", "blue")
    )
    first, second = sorted((red, blue))
    with Store(folder / "ws") as store:
        store.groups.record([DuplicatePair(first, second, "none", 1.0, 1.0, 1.0, 1.0, 1)])
    return folder


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "ws", tmp_path / "ws"))


@pytest.fixture
def review(capsys: Captured, workspace: Path, backbone_file: Path) -> Any:
    def run(*words: str | Path) -> Outcome:
        options = ("--backbone", backbone_file, "--isolation", "off", "-w", workspace)
        return cli(capsys, "review-labels", *words, *options)

    return run


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def _fill(path: Path, answers: dict[str, str]) -> None:
    """Write answers into the column `correct`, as a spreadsheet would."""
    rows = _rows(path)
    for row in rows:
        row["correct"] = answers.get(row["rank"], "")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_wrong_labels_are_named_first_and_the_next_command(review: Any, workspace: Path) -> None:
    done = review()
    assert done.code == 0
    assert talks_in_lines(done.err)
    lines = [line.split(maxsplit=5) for line in done.out.splitlines()]
    assert [line[4] for line in lines[:4]] == ["same_file", "same_group", "same_group", "doubtful"]
    assert [line[2] for line in lines[:1]] == ["–"]
    assert {Path(line[5]).name for line in lines[3:5]} == {"=moved 0003.png", "=moved 0004.png"}
    assert len(lines) == 20
    assert "61 labelled images: about 2 labels look wrong, 61 are listed" in done.err
    assert "… and 41 more: --out FOLDER writes all of them." in done.err
    assert f"Next: keshikaran review-labels --out FOLDER --workspace {workspace}" in done.err


def test_a_review_changes_nothing_but_what_is_known_of_copies(review: Any, workspace: Path) -> None:
    def rest() -> dict[str, Any]:
        about_copies = {"duplicate_pairs", "group_members", "compared_images"}
        return {k: v for k, v in catalogue(workspace).items() if k not in about_copies}

    before = rest()
    assert before["label_events"]
    assert review("--json").code == 0
    assert rest() == before


def test_json_has_everything_a_program_needs(review: Any) -> None:
    done = review("--json", "--top", "5")
    found = json.loads(done.out)
    assert {name: found[name] for name in ("images", "settled", "undecodable")} == {
        "images": 61,
        "settled": 0,
        "undecodable": 0,
    }
    assert [item["rank"] for item in found["items"]] == [1, 2, 3, 4, 5]
    both, first = found["items"][:2]
    assert both["label"] is None
    assert sorted(Path(path).parent.name for path in both["paths"]) == ["blue", "red"]
    assert first["label"] in {0, 1}
    copy = first["neighbours"][0]
    assert (copy["label"], copy["cosine"]) == (1 - first["label"], None)
    assert Path(copy["path"]).name == "0007.png"
    assert 0.0 <= first["score"] <= 1.0
    assert 0.0 <= first["doubt"] <= 1.0


def test_folder_gets_a_list_and_a_page(review: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = review("--out", out, "--top", "6")
    assert done.code == 0
    rows = _rows(out / "labels-to-check.csv")
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert {row["correct"] for row in rows} == {""}
    assert rows[0]["label"] == ""
    assert rows[1]["neighbours"].split(" | ")[0].split()[1] == "copy"
    page = read_page((out / "labels-to-check.html").read_text(encoding="utf-8"))
    words = page.words()
    for part in (
        "The same file, labelled both ways (1)",
        "Copies of one photograph, labelled differently (2)",
        "Doubtful labels (3)",
        f"keshikaran label {rows[3]['image_id'][:16]} --value 1 --workspace",
        "=moved 0003.png",
    ):
        assert part in words
    assert page.tags.count("img") == 6 * 4
    picture = base64.b64decode(page.values("img", "src")[0].partition(",")[2])
    assert picture.startswith(b"\xff\xd8")
    assert f"Next: fill in the column correct, then keshikaran label --from {out}" in done.err


def test_list_and_page_go_where_they_are_told(review: Any, tmp_path: Path) -> None:
    assert review("--out", tmp_path / "a.json", "--html", tmp_path / "b.html").code == 0
    assert len(json.loads((tmp_path / "a.json").read_text())["items"]) == 61
    assert (tmp_path / "b.html").is_file()
    assert review("--out", tmp_path / "c.csv", "--top", "0").code == 0
    assert len(_rows(tmp_path / "c.csv")) == 61
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.html", "c.csv", "ws"]


def test_filled_in_list_corrects_and_what_was_decided_is_not_listed_again(
    review: Any, capsys: Captured, workspace: Path, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    review("--out", path)
    names = {Path(row["path"]).name: row for row in _rows(path)}
    moved = [names[f"=moved 000{number}.png"]["rank"] for number in (3, 4)]
    _fill(path, {"1": "1", "2": "keep", moved[0]: "1", moved[1]: "1"})
    words = ("label", "--from", path, "--who", "ada", "--why", "looked", "-w", workspace)
    done = cli(capsys, *words, "--json")
    assert (done.code, done.err) == (0, f"Next: keshikaran train --workspace {workspace}\n")
    changed = {"corrected": 3, "confirmed": 1, "taken_back": 0, "unchanged": 0}
    assert json.loads(done.out) == changed
    with Store(workspace) as store:
        history = store.labels.history(names["=moved 0003.png"]["image_id"])  # type: ignore[arg-type]
        assert [(e.value, e.who, e.why) for e in history[1:]] == [(1, "ada", "looked")]
        assert store.labels.contradictions() == []
    again = json.loads(review("--json").out)
    assert (again["settled"], len(again["items"])) == (4, 57)
    assert not {row["image_id"] for row in names.values() if row["rank"] in {"1", "2", *moved}} & {
        item["image_id"] for item in again["items"]
    }
    assert "Left out, since a person confirmed or corrected them: 4 (--again)." in review().err
    assert len(json.loads(review("--json", "--again").out)["items"]) == 61
    done = cli(capsys, *words)
    assert [line.split() for line in done.out.splitlines()] == [
        ["corrected", "0"],
        ["confirmed", "0"],
        ["taken_back", "0"],
        ["unchanged", "4"],
    ]


def test_command_on_the_page_corrects_the_label(
    review: Any, capsys: Captured, workspace: Path, tmp_path: Path
) -> None:
    review("--html", tmp_path / "page.html")
    page = read_page((tmp_path / "page.html").read_text(encoding="utf-8"))
    command = next(text for text in page.text if text.startswith("keshikaran label "))
    assert cli(capsys, *command.split()[1:]).code == 0
    with Store(workspace) as store:
        assert store.labels.contradictions() == []


def test_mistake_in_a_list_changes_nothing(
    review: Any, capsys: Captured, workspace: Path, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    review("--out", path)
    _fill(path, {"2": "1", "5": "yes"})
    before = catalogue(workspace)
    done = cli(capsys, "label", "--from", path, "-w", workspace)
    assert done.code == 1
    assert "line 6: 'yes' is not 0, 1, none or keep" in done.err
    assert catalogue(workspace) == before


def test_image_that_cannot_be_decoded_is_told(
    review: Any, capsys: Captured, workspace: Path, tmp_path: Path
) -> None:
    whole = encode(reddish(900), "JPEG")
    (tmp_path / "half.jpg").write_bytes(whole[:-200])
    assert cli(capsys, "import", tmp_path / "half.jpg", "--label", "1", "-w", workspace).code == 0
    done = review()
    assert done.code == 3
    assert "Not reviewed, since they cannot be decoded: 1 images." in done.err


def test_when_all_is_decided_training_is_next(
    review: Any, capsys: Captured, workspace: Path, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    review("--out", path, "--top", "0")
    _fill(path, {str(rank): "keep" for rank in range(2, 62)} | {"1": "0"})
    assert cli(capsys, "label", "--from", path, "-w", workspace).code == 0
    done = review("--html", tmp_path / "page.html")
    assert (done.code, done.out) == (0, "")
    assert f"Next: keshikaran train --workspace {workspace}" in done.err
    assert "Nothing to show." in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "list.txt"), r"--out list.txt is neither a folder nor a .csv or .json file."),
        (("--html", "page.txt"), r"--html page.txt does not end in .html."),
    ],
)
def test_file_of_another_kind_is_wrong_usage(
    review: Any, words: tuple[str, ...], message: str
) -> None:
    done = review(*words)
    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("label",), "There is nothing to label."),
        (("label", "abcdef"), "--value is missing."),
        (("label", "abcdef", "--from", "x.csv"), "--from says everything"),
        (("label", "--value", "1", "--from", "x.csv"), "--from says everything"),
    ],
)
def test_label_without_sense_is_wrong_usage(
    workspace: Path, capsys: Captured, words: tuple[str, ...], message: str
) -> None:
    done = cli(capsys, *words, "-w", workspace)
    assert done.code == 2
    assert message in done.err


def test_label_tells_programs_what_it_labelled(
    workspace: Path, made: Path, capsys: Captured
) -> None:
    file = made / "in" / "red" / "0000.png"
    done = cli(capsys, "label", file, "--value", "0", "--json", "-w", workspace)
    assert json.loads(done.out) == {"value": 0, "image_ids": [image_id_of(file.read_bytes())]}


def test_workspace_without_labels_of_both_kinds_cannot_be_reviewed(
    tmp_path: Path, capsys: Captured, backbone_file: Path
) -> None:
    (tmp_path / "a.png").write_bytes(encode(reddish(1)))
    cli(capsys, "import", tmp_path / "a.png", "--label", "1", "-w", tmp_path / "w")
    done = cli(capsys, "review-labels", "--backbone", backbone_file, "-w", tmp_path / "w")
    assert done.code == 1
    assert "All 1 labelled images are objectionable." in done.err
