"""The guide is followed from nothing to a site that was upgraded, on four emulated machines: see `guide`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from examples.demo_processes import ROOT
from tests.interop import asterisk, machines
from tests.interop.watched import PROGRAM

_NEEDED = ("dpkg-deb", "make", "git", "nsenter", "jq", "curl")


def missing() -> str:
    """Why the guide cannot be followed here; ``""`` when it can."""
    if because := machines.impossible():
        return because
    if lacking := [each for each in _NEEDED if shutil.which(each) is None]:
        return f"the guide is followed on Debian with {', '.join(lacking)}: apt-get install them"
    if PROGRAM is None:
        return "Prometheus is not here: tools/setup.sh promtool"
    return asterisk.missing()


@pytest.mark.namespaces
def test_a_reader_gets_from_nothing_to_a_site_in_which_an_alert_fires_and_clears() -> None:
    if because := missing():
        pytest.skip(because)
    done = subprocess.run(
        [sys.executable, "-m", "tests.interop.guide"],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
