"""The targets of ``python -m tests.fuzz`` on good inputs and on damaged ones, for a moment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS
from tests.security.test_fuzz import PIECES

QUICK = [name for name in TARGETS if name not in ("agent", "server")]
"""Cores have their own test: tests/security/test_fuzz.py."""


@pytest.mark.parametrize("name", TARGETS)
def test_good_inputs(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", QUICK)
@given(data=st.data())
def test_damaged_inputs(name: str, data: Any) -> None:
    found = data.draw(st.sampled_from(TARGETS[name].seeds))
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(found)))
        found = found[:start] + data.draw(PIECES) + found[start + data.draw(st.integers(0, 12)) :]
    TARGETS[name].run(found)
