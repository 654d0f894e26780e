"""The guide is followed from nothing to a site that was upgraded, on four emulated machines: see `guide`; and with
Ansible on three: see `guide_rollout`; certbot, nginx and fail2ban beside it: see `guide_beside`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from examples.demo_processes import ROOT
from tests.interop import asterisk, machines, microphone
from tests.interop.watched import PROGRAM

_NEEDED = ("dpkg-deb", "make", "git", "nsenter", "jq", "curl", "openssl", "npm", "tshark", "sqlite3")


def missing() -> str:
    """Why the guide cannot be followed here; ``""`` when it can."""
    if because := machines.impossible():
        return because
    if lacking := [each for each in _NEEDED if shutil.which(each) is None]:
        return f"the guide is followed on Debian with {', '.join(lacking)}: apt-get install them"
    if PROGRAM is None:
        return "Prometheus is not here: tools/setup.sh promtool"
    return asterisk.missing() or microphone.missing()


@pytest.mark.namespaces
def test_a_reader_gets_from_nothing_to_a_site_in_which_an_alert_fires_and_clears() -> None:
    if because := missing():
        pytest.skip(because)
    follow("tests.interop.guide", 1200)


@pytest.mark.namespaces
def test_what_the_docs_put_beside_a_site_works() -> None:
    """certbot, nginx and fail2ban: see `guide_beside`."""
    if because := machines.impossible():
        pytest.skip(because)
    if lacking := [each for each in ("apt-get", "openssl", "nsenter") if shutil.which(each) is None]:
        pytest.skip(f"it needs Debian with {', '.join(lacking)}")
    follow("tests.interop.guide_beside", 600)


@pytest.mark.namespaces
@pytest.mark.wide
@pytest.mark.row("Ansible", "a site on three machines; another version under a call, and back", "calm")
def test_ansible_sets_a_site_up_and_upgrades_it_under_a_call_and_goes_back() -> None:
    because = missing() or (
        "" if (ROOT / ".venv/bin/ansible-playbook").exists() else "there is no Ansible: make setup"
    )
    if because:
        pytest.skip(because)
    follow("tests.interop.guide_rollout", 900)


def follow(module: str, seconds: float) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
