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

NODES = ("m1", "m2", "gw1", "gw2")


class Machine:
    """What an operator has on the machine of one node: the UNIX sockets of the others are not there."""

    def __init__(self, site: Site, name: str) -> None:
        directory = site.path.parent / f"machine-{name}"
        directory.mkdir()
        text = site.path.read_text()
        for other in NODES:
            if other != name:
                elsewhere = f'api = "unix:{site.path.parent}/{other}.sock"'
                assert elsewhere in text
                text = text.replace(elsewhere, f'api = "unix:{directory}/not/here/{other}.sock"')
        self.path = directory / "site.toml"
        self.path.write_text(text)
        for secret in site.path.parent.glob("*.secret"):
            shutil.copy(secret, directory)

    def run(self, *words: str, code: int = 0, program: str = "b2bua") -> str:
        """What ``b2bua``, or another program, says there."""
        command = [sys.executable, "-m", f"{program}.cli", words[0], "--site", str(self.path), *words[1:]]
        done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=40, check=False)
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
        assert near.json("audit-log")["elsewhere"] == []
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


def test_agents_on_machines_of_their_own_are_asked_by_either_server(tmp_path: Path) -> None:
    net = network()
    lines = phone_line("alice", "gw1") + phone_line("bob", "gw2")
    site = Site(tmp_path, net, lines, passwords=PASSWORDS)
    near, far, agents = Machine(site, "m1"), Machine(site, "m2"), Machine(site, "gw1")
    alices, bobs = Phone(f"{net}51:5060"), Phone(f"{net}52:5060")
    try:
        site.start()
        alice = alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"], Policy(ring_after=0, answer_after=0.05))
        call = alices.call(alice, "5002")
        until(lambda: talking(call), 8, site.words)

        def looks(machine: Machine, servers: set[str], code: int) -> None:
            """All that is asked of agents, at that machine."""
            [one] = machine.json("calls")["calls"]
            capture = machine.path.parent / "call.pcap"
            for about in (one["id"], "alice"):
                found = machine.json("trace", about, "--pcap", str(capture), code=code)
                assert not set(found["missing"]) - ({"m1", "m2"} - servers), found["missing"]
                hops = {(hop["source"], hop["target"]) for traced in found["calls"] for hop in traced["hops"]}
                assert {("alice", "gw1"), ("gw2", "bob"), ("bob", "gw2"), ("gw1", "alice")} <= hops, hops
            assert capture.stat().st_size > 1000
            assert {leg["node"] for leg in machine.json("explain", one["id"])["legs"]} >= {"gw1", "gw2"}
            for line, agent in (("alice", "gw1"), ("bob", "gw2")):
                tested = machine.json("test", line)
                assert (tested["node"], tested["state"]) == (agent, "done"), tested
                assert any(step["name"] == "options" and step["good"] for step in tested["steps"]), tested

        for machine in (near, far):  # one is active, the other one is not
            looks(machine, {"m1", "m2"}, 0)
        ordered = [entry for entry in near.json("audit-log")["entries"] if entry["what"] == "test"]
        assert {(entry["node"], entry["host"]) for entry in ordered} == {
            (agent, f"by {server}") for agent in ("gw1", "gw2") for server in ("m1", "m2")
        }
        assert "alice" in far.run("lines", "--agent", "gw1", program="gateway_agent")
        # what changes an agent is ordered on its machine, and there nobody passes anything on
        for words in (("resume", "--agent", "gw1"), ("unban", "all", "--agent", "gw1")):
            assert "there is no such socket" in far.run(
                *words, code=1 if "unban" in words else 3, program="gateway_agent"
            )
        assert "there is no such socket" in agents.run("test", "bob", code=3)

        site["m1"].kill()
        until(lambda: site.active == "m2", 10, site.words)
        until(lambda: len(far.json("calls")["calls"]) == 1, 10, site.words)
        looks(far, {"m2"}, 1)
        assert talking(call)

        site["gw1"].kill()
        until(lambda: any("gw1" in warning for warning in far.json("status", code=1)["warnings"]), 10, site.words)
        said = "gw1 is not connected to m2: ask on its machine."
        assert far.json("trace", "bob", code=1)["missing"]["gw1"] == f"m2: {said}"
        assert said in far.run("test", "alice", code=3)
        assert not site.bugs()
    finally:
        alices.close()
        bobs.close()
        site.stop()
