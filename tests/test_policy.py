"""policy.toml: what it may say, and how a mistake in it is explained."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_support import cli
from keshikaran.errors import PolicyError, StoreError, UsageError
from keshikaran.policy import (
    POLICY_TEMPLATE,
    Costs,
    Policy,
    labels_needed,
    parse_policy,
    read_policy,
    write_policy_template,
)

Captured = pytest.CaptureFixture[str]

_WHOLE = """\
objectionable = "weapons"
acceptable = "all else"
prevalence = 0.01
uploads_per_day = 10_000

[demands]
min_recall = 0.9
max_false_positive_rate = 0.02
review_budget_per_day = 200
confidence = 0.9
"""


# What a file says


def test_template_as_written_asks_for_the_default() -> None:
    assert parse_policy(POLICY_TEMPLATE, "policy.toml") == Policy()
    assert parse_policy("", "policy.toml") == Policy()


def test_every_line_that_the_template_offers_can_be_used() -> None:
    lines = POLICY_TEMPLATE.splitlines()
    offered = [line[2:] for line in lines if line.startswith("# ") and " = " in line]
    assert len(offered) == 6
    demands = [line for line in offered if "max_false" in line or "budget" in line]
    costs = [line for line in offered if line.split()[0] in {"miss", "false_alarm", "review"}]
    text = "\n".join(["uploads_per_day = 10_000", "[demands]", *demands])
    assert parse_policy(text, "x").review_budget_per_day == 200
    assert parse_policy("\n".join(["[costs]", *costs]), "x").costs == Costs(50.0, 5.0, 1.0)


def test_every_key_arrives() -> None:
    assert parse_policy(_WHOLE, "policy.toml") == Policy(
        objectionable="weapons",
        acceptable="all else",
        min_recall=0.9,
        max_false_positive_rate=0.02,
        review_budget_per_day=200,
        prevalence=0.01,
        uploads_per_day=10_000,
        confidence=0.9,
    )


def test_costs_and_budget_replace_the_recall_that_is_asked_by_default() -> None:
    costs = parse_policy("costs = {miss = 50, false_alarm = 5, review = 1}", "x")
    assert (costs.costs, costs.min_recall) == (Costs(50.0, 5.0, 1.0), None)
    budget = parse_policy("uploads_per_day = 10\n[demands]\nreview_budget_per_day = 0", "x")
    assert (budget.review_budget_per_day, budget.min_recall) == (0, None)
    assert parse_policy("[demands]\nmax_false_positive_rate = 0.01", "x").min_recall == 0.95


def test_file_of_a_windows_editor_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b"\xef\xbb\xbf" + _WHOLE.replace("\n", "\r\n").encode())
    assert read_policy(path) == parse_policy(_WHOLE, "x")


def test_policy_is_ready_for_json() -> None:
    policy = parse_policy("costs = {miss = 50, false_alarm = 5, review = 1}", "x")
    read = json.loads(json.dumps(policy.to_dict()))
    assert read["costs"] == {"miss": 50.0, "false_alarm": 5.0, "review": 1.0}
    assert list(read)[:3] == ["objectionable", "acceptable", "min_recall"]


# Mistakes: file, line, key, remedy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("min_recal = 0.9", "line 1: min_recal is not a key of a policy. Did you mean min_recall?"),
        ("\n[demands]\nprevalance = 0.9", "line 3: [demands] prevalance is not"),
        ("min_recall = 0.9", "line 1: min_recall is not a key of a policy. It belongs into the"),
        ("[costs]\nprevalence = 0.1", "It belongs into the top, before any [table]."),
        ("zzz = 1", "Known keys here: objectionable, acceptable, prevalence, uploads_per_day."),
        ("[demand]\nmin_recall = 0.9", "line 1: demand is not a key of a policy. Did you mean dem"),
        ("demands = 3", "line 1: demands must be a table. Begin it with a line [demands]."),
        ("objectionable = 3", 'line 1: objectionable must be text, not 3. Write it in quotes.'),
        ("objectionable = ' '", "line 1: objectionable is empty. Say it in a sentence."),
        (f"acceptable = '{'x' * 1001}'", "acceptable has 1,001 characters, more than 1,000."),
        ("prevalence = '1%'", 'not "1%". For one in a hundred write 0.01, without quotes.'),
        ("prevalence = 5", "line 1: prevalence must be a share above 0 and below 1, not 5. For 5"),
        ("prevalence = -0.1", "not -0.1. For 5 percent write 0.05."),
        ("prevalence = true", "prevalence must be a number, not true. Write digits without"),
        ("prevalence = nan", "prevalence is out of any range: nan. Write an ordinary number."),
        ("[demands]\nmin_recall = 1", "No number of labels can promise never or always"),
        ("[demands]\nmin_recall = '95%'", 'line 2: [demands] min_recall must be a number, not "9'),
        ("[demands]\nconfidence = 0.5", "confidence must be above 0.5, not 0.5"),
        ("uploads_per_day = 2.5", "must be a whole number, 1 or more, not 2.5. Write it in dig"),
        ("uploads_per_day = 0", "must be a whole number, 1 or more, not 0."),
        (f"uploads_per_day = 1{'0' * 400}", "uploads_per_day is out of any range: 1000"),
        ("[costs]\nmiss = 0", "line 2: [costs] miss must be above 0, not 0."),
        ("[costs]\nreview = -1", "line 2: [costs] review must be 0 or more, not -1."),
        ("[costs]\nmiss = 5", "line 1: costs needs false_alarm: thresholds follow from all three"),
        ("[costs]", "line 1: costs needs miss"),
        ("x = [", "policy.toml is no valid TOML: Invalid value (at end of document)."),
        ("a b = 1", "(at line 1, column 3). Write text in quotes, numbers without"),
        (f"x = {'9' * 5000}", "policy.toml is no valid TOML"),
    ],
)  # fmt: skip
def test_mistake_is_named_with_its_line_and_remedy(text: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "policy.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("policy.toml")
    assert caught.value.hint


def test_contradiction_names_both_lines() -> None:
    text = "[demands]\nmin_recall = 0.9\n\n[costs]\nmiss = 50\nfalse_alarm = 5\nreview = 1"
    with pytest.raises(PolicyError, match=r"line 5: \[costs\] miss contradicts.*in line 2"):
        parse_policy(text, "policy.toml")


def test_budget_needs_the_number_of_uploads_and_must_bind() -> None:
    budget = "[demands]\nreview_budget_per_day = 10"
    with pytest.raises(PolicyError, match=r"line 2: .* needs uploads_per_day"):
        parse_policy(budget, "policy.toml")
    with pytest.raises(PolicyError, match=r"line 3: .* covers all 10 uploads of line 1"):
        parse_policy("uploads_per_day = 10\n" + budget, "policy.toml")


def test_line_is_right_after_text_that_looks_like_a_key() -> None:
    text = 'objectionable = """\n[demands]\nmin_recall = 3\n"""\n\n[demands]\nmin_recall = 3'
    with pytest.raises(PolicyError, match="line 7: "):
        parse_policy(text, "policy.toml")


@given(st.text())
def test_any_text_gives_a_policy_or_a_reason(text: str) -> None:
    try:
        said: Policy | str = parse_policy(text, "policy.toml")
    except PolicyError as error:
        said = error.what if error.hint else ""
    assert isinstance(said, Policy) or said.startswith("policy.toml")


def test_file_that_is_no_policy_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    with pytest.raises(PolicyError, match="cannot be read: No such file"):
        read_policy(path)
    path.write_bytes(b"# fine\n# \xff\n")
    with pytest.raises(PolicyError, match="line 2: this is not UTF-8 text"):
        read_policy(path)
    path.write_bytes(b"#" * 40_000)
    with pytest.raises(PolicyError, match="larger than any policy"):
        read_policy(path)


# How many labels a promise takes


def test_labels_needed_by_hand() -> None:
    # 0.95^58 = 0.0510, 0.95^59 = 0.0485; 0.999^2994 = 0.05002.
    assert labels_needed(0.05, 0.95) == 59
    assert labels_needed(0.001, 0.95) == 2995


@given(st.floats(1e-6, 0.9), st.floats(0.51, 0.999))
def test_labels_needed_are_just_enough(rate: float, confidence: float) -> None:
    needed = labels_needed(rate, confidence)
    doubt = math.log(1 - confidence)
    assert needed * math.log1p(-rate) <= doubt + 1e-9
    assert (needed - 1) * math.log1p(-rate) >= doubt - 1e-9


# The commands


def test_init_writes_a_file_that_check_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    made = cli(capsys, "policy", "init")
    assert (made.code, made.out) == (0, "policy.toml\n")
    assert "Edit it, then: keshikaran policy check" in made.err
    checked = cli(capsys, "policy", "check")
    assert checked.code == 0
    assert "min_recall               95% blocked or reviewed\n" in checked.out
    assert "takes at least 59 labelled images of “objectionable”" in checked.err
    assert "Next: keshikaran train --policy " in checked.err


def test_init_never_overwrites(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("# mine")
    done = cli(capsys, "policy", "init", path)
    assert (done.code, path.read_text()) == (2, "# mine")
    assert "is there already; it is left as it is." in done.err
    with pytest.raises(UsageError):
        write_policy_template(path)


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"policy\.toml could not be written"):
        write_policy_template(tmp_path / "missing" / "policy.toml")


def test_init_and_check_speak_json(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "p q.toml"
    made = cli(capsys, "policy", "init", path, "--json")
    assert (json.loads(made.out), made.err) == ({"path": str(path)}, "")
    path.write_text(_WHOLE)
    checked = cli(capsys, "policy", "check", path, "--json")
    assert json.loads(checked.out) == {
        "policy": read_policy(path).to_dict(),
        "labels_needed": {"0": 114, "1": 22},
    }


def test_check_says_everything_that_is_asked(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "p q.toml"
    assert f"policy check '{path}'" in cli(capsys, "policy", "init", path).err
    path.write_text(_WHOLE)
    said = cli(capsys, "policy", "check", path).out
    assert [line.split("  ")[0] for line in said.splitlines()] == [
        "objectionable",
        "acceptable",
        "prevalence",
        "uploads_per_day",
        "min_recall",
        "max_false_positive_rate",
        "review_budget_per_day",
    ]
    path.write_text("[costs]\nmiss = 50\nfalse_alarm = 5\nreview = 1")
    assert "miss 50, false_alarm 5, review 1" in cli(capsys, "policy", "check", path).out


def test_check_explains_a_typo_and_fails(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[demands]\nmin_recal = 0.9")
    done = cli(capsys, "policy", "check", path)
    assert (done.code, done.out) == (1, "")
    assert "line 2: [demands] min_recal is not a key" in done.err
    assert "Did you mean min_recall?" in done.err
