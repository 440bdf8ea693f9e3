"""A policy that a model recorded is read with care."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keshikaran.errors import BundleError
from keshikaran.policy import Costs, Policy, policy_of


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy("spam", "no spam", None, 0.02, 200, None, 0.01, 10_000, 0.9),
        Policy(min_recall=None, costs=Costs(50.0, 5.0, 1.0)),
    ],
)
def test_policy_survives_a_model_file(policy: Policy) -> None:
    assert policy_of(json.loads(json.dumps(policy.to_dict())), "m") == policy


def test_what_an_older_model_does_not_say_is_as_usual() -> None:
    assert policy_of({"objectionable": "spam"}, "m") == Policy("spam")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"min_recall": "all"}, "min_recall"),
        ({"objectionable": None}, "objectionable"),
        ({"confidence": 0.2}, "above 0.5"),
        ({"uploads_per_day": True}, "uploads_per_day"),
        ({"costs": [1, 2]}, "policy"),
        ({"costs": {"miss": 1.0}}, "policy"),
        ({"costs": {"miss": 1.0, "false_alarm": -1.0, "review": 0.0}}, "false_alarm"),
    ],
)
def test_nonsense_names_the_model(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        policy_of(raw, "20260101T000000Z-0123abcd")
    assert "20260101T000000Z-0123abcd" in str(caught.value)
