"""What status must warn of, provoked in a site of real processes: see `warned`."""

from __future__ import annotations

import subprocess

import pytest

from examples.demo_processes import ROOT
from tests.interop import machines

WHY_NOT = machines.impossible()


@pytest.mark.namespaces
@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "they can be made")
def test_each_fault_of_a_site_is_said_by_status_until_it_is_over() -> None:
    command = machines.enter("tests.interop.warned")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
