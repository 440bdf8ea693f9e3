"""Commands about the policy file: policy init, policy check."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from keshikaran.cli.console import printable, result, say
from keshikaran.cli.options import JsonOption
from keshikaran.policy import (
    AS_IN_LABELS,
    Policy,
    labels_needed,
    read_policy,
    write_policy_template,
)

DEFAULT_POLICY_FILE = Path("policy.toml")

policy_app = typer.Typer(
    help="Write and check policy.toml: what is objectionable, and what is asked.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PolicyFile = Annotated[Path, typer.Argument(metavar="[FILE]", help="The policy file.")]


@policy_app.command("init")
def init_command(file: PolicyFile = DEFAULT_POLICY_FILE, as_json: JsonOption = False) -> None:
    """Write a commented policy file to start from; never over another file."""
    write_policy_template(file)
    if as_json:
        result(json.dumps({"path": str(file)}))
        return
    result(printable(str(file)))
    say(f"Edit it, then: keshikaran policy check{_named(file)}")


@policy_app.command("check")
def check_command(file: PolicyFile = DEFAULT_POLICY_FILE, as_json: JsonOption = False) -> None:
    """Read a policy file, and say what it asks for and how many labels that takes."""
    policy = read_policy(file)
    needed = _labels(policy)
    if as_json:
        result(json.dumps({"policy": policy.to_dict(), "labels_needed": needed}))
        return
    for name, words in _meaning(policy):
        result(f"{name:<24} {printable(words)}")
    for label, least in needed.items():
        kind = policy.objectionable if label == "1" else policy.acceptable
        say(
            f"To promise this at {policy.confidence:.0%} confidence takes at least {least:,}"
            f" labelled images of “{printable(kind)}” that no model was fitted on."
        )
    say(f"Next: keshikaran train --policy {printable(shlex.quote(str(file)))}")


def _labels(policy: Policy) -> dict[str, int]:
    """Label as text → the least number of images that can carry what is promised of that class."""
    rates = {
        "0": policy.max_false_positive_rate,
        "1": None if policy.min_recall is None else 1 - policy.min_recall,
    }
    return {
        label: labels_needed(rate, policy.confidence)
        for label, rate in rates.items()
        if rate is not None
    }


def _meaning(policy: Policy) -> list[tuple[str, str]]:
    """Each thing the policy says, with its name and in words."""
    said = [("objectionable", policy.objectionable), ("acceptable", policy.acceptable)]
    share = AS_IN_LABELS if policy.prevalence is None else f"{_percent(policy.prevalence)}"
    said.append(("prevalence", share))
    if policy.uploads_per_day is not None:
        said.append(("uploads_per_day", f"{policy.uploads_per_day:,}"))
    if policy.min_recall is not None:
        said.append(("min_recall", f"{_percent(policy.min_recall)} blocked or reviewed"))
    if policy.max_false_positive_rate is not None:
        words = f"{_percent(policy.max_false_positive_rate)} of acceptable images blocked at most"
        said.append(("max_false_positive_rate", words))
    if policy.review_budget_per_day is not None:
        said.append(("review_budget_per_day", f"{policy.review_budget_per_day:,} images at most"))
    if policy.costs is not None:
        costs = policy.costs.miss, policy.costs.false_alarm, policy.costs.review
        words = "miss {:g}, false_alarm {:g}, review {:g}".format(*costs)
        said.append(("costs", words))
    return said


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _named(file: Path) -> str:
    """What a suggested command needs to find the same file."""
    return "" if file == DEFAULT_POLICY_FILE else f" {printable(shlex.quote(str(file)))}"
