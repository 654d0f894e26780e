"""Faults of machines under 20 calls a second: no call is lost, and never two servers are obeyed.

Each runs in network namespaces of its own (``faults``; as a command for longer runs), so they need root.
"""

from __future__ import annotations

import subprocess

import pytest

from examples.demo_processes import ROOT
from tests.interop import machines
from tests.interop.faults import FAULTS

WHY_NOT = machines.impossible()

SECONDS = 4.0
"""How long calls are dialled after the fault, at least."""


@pytest.mark.namespaces
@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "they can be made")
@pytest.mark.parametrize("fault", FAULTS)
def test_no_call_is_lost(fault: str) -> None:
    command = machines.enter("tests.interop.faults", fault, "--seconds", str(SECONDS))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
