"""Every stress test at its small size; `make stress` runs the full ones."""

from __future__ import annotations

import importlib

import pytest
from stress.__main__ import questions


@pytest.mark.parametrize("name", questions())
def test_it_holds_at_the_small_size(name: str) -> None:
    finding = importlib.import_module(f"stress.{name}").run("quick")
    assert finding.failures == []
    assert finding.figures
