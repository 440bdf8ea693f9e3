"""What is objectionable under the operator's policy, in the terms a model needs.

`policy.toml` is the operator's word: what must not be shown, how common it is, and what is asked
of the model. docs/policy.md explains every key.
"""

from keshikaran.policy.model import (
    AS_IN_LABELS,
    DEFAULT_MIN_RECALL,
    Costs,
    Policy,
    labels_needed,
)
from keshikaran.policy.reading import parse_policy, read_policy
from keshikaran.policy.recorded import policy_of
from keshikaran.policy.template import POLICY_TEMPLATE, write_policy_template

__all__ = [
    "AS_IN_LABELS",
    "DEFAULT_MIN_RECALL",
    "POLICY_TEMPLATE",
    "Costs",
    "Policy",
    "labels_needed",
    "parse_policy",
    "policy_of",
    "read_policy",
    "write_policy_template",
]
