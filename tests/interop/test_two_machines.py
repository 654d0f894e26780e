"""Two machines, each with the API of its own server alone: every command works from either of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.demo_processes import ROOT
from examples.softphone_call import Policy
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import PASSWORDS, Site, network, phone_line, until

pytestmark = pytest.mark.interop

OTHER = {"m1": "m2", "m2": "m1"}


class Machine:
    """What an operator has on the machine of one server: the UNIX socket of the other one is not there."""

    def __init__(self, site: Site, name: str) -> None:
        directory = site.path.parent / f"machine-{name}"
        directory.mkdir()
        text = site.path.read_text()
        elsewhere = f'api = "unix:{site.path.parent}/{OTHER[name]}.sock"'
        assert elsewhere in text
        self.path = directory / "site.toml"
        self.path.write_text(text.replace(elsewhere, f'api = "unix:{directory}/not/here/{OTHER[name]}.sock"'))
        for secret in site.path.parent.glob("*.secret"):
            shutil.copy(secret, directory)

    def run(self, *words: str, code: int = 0) -> str:
        """What ``b2bua`` says there."""
        program = [sys.executable, "-m", "b2bua.cli", words[0], "--site", str(self.path), *words[1:]]
        done = subprocess.run(program, capture_output=True, cwd=ROOT, timeout=40, check=False)
        assert done.returncode == code, (words, done.returncode, done.stdout.decode(), done.stderr.decode())
        return done.stdout.decode() + done.stderr.decode()

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--format", "json", code=code))


def test_every_command_works_from_either_machine(tmp_path: Path) -> None:
    net = network()
    site = Site(tmp_path, net, phone_line("alice", "gw1") + phone_line("bob", "gw2"), passwords=PASSWORDS)
    near, far = Machine(site, "m1"), Machine(site, "m2")
    alices, bobs = Phone(f"{net}51:5060"), Phone(f"{net}52:5060")
    try:
        site.start()
        alice = alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"], Policy(ring_after=0, answer_after=0.05))
        call = alices.call(alice, "5002")
        until(lambda: talking(call), 8, site.words)

        for machine in (near, far):
            shown = machine.json("status")
            assert {name: each["state"] for name, each in shown["servers"].items()} == {
                "m1": "active",
                "m2": "standby",
            }
            assert shown["healthy"] and not shown["warnings"], shown
            [one] = machine.json("calls")["calls"]
            assert one["state"] == "talking"
            assert one["id"] in machine.run("explain", one["id"])
            assert machine.json("history", "--node", "m2") != machine.json("history", "--node", "m1")
            assert machine.run("rehearse").startswith("Had m2 taken over")
            machine.run("audit")
            assert "5002" in machine.run("route", "alice", "5002")
            machine.run("log-level", "sip", "debug")
            machine.run("log-level", "sip", "default")

        # an order from the stand-by's machine, which says who gave it
        said = far.run("switchover", "--yes", "--max-loss", "0")
        assert "m2 is active" in said, said
        assert site.active == "m2" and talking(call)
        [noted] = [entry for entry in near.json("audit-log")["entries"] if entry["what"] == "switchover"]
        assert noted["host"] == "by m2" and noted["result"] in ("running", "done"), noted
        until(site.whole, 15, site.words)
        near.run("pause")
        assert site["m1"].view()["paused"] and site["m2"].view()["paused"]
        far.run("resume")
        near.run("busyout", "alice")
        near.run("busyout", "alice", "--end")
        near.run("hangup", "--yes", near.json("calls")["calls"][0]["id"])
        until(lambda: ended(call), 5, site.words)
        until(lambda: far.json("cdrs")["cdrs"] and near.json("cdrs")["cdrs"], 8, site.words)
        assert near.json("cdrs")["cdrs"] == far.json("cdrs")["cdrs"]
        assert "epoch" in near.run("explain", "takeover").lower()

        site["m2"].kill()
        until(lambda: site.active == "m1", 10, site.words)
        left = near.json("status", code=1)
        assert left["servers"]["m1"]["state"] == "active"
        assert "m2 does not answer what m1 passes on" in str(left["servers"]["m2"])
        assert any("m2" in warning for warning in left["warnings"])
        assert not site.bugs()
    finally:
        alices.close()
        bobs.close()
        site.stop()
