"""Real programs, of which each agent has its own key only: calls outlive a server and an agent that are killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo_processes import ROOT
from examples.softphone_call import Policy
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import PASSWORDS, Program, Site, network, phone_line, until

pytestmark = pytest.mark.interop


def with_own_keys(site: Site) -> None:
    """Each agent gets a directory with the same site file, its own key and what else it names."""
    for name in ("gw1", "gw2"):
        machine = site.path.parent / name
        machine.mkdir()
        for file in (site.path, *(site.path.parent / f"{phone}.secret" for phone in PASSWORDS)):
            shutil.copy(file, machine)
        made = site.command("agent-key", name, "--to", str(machine / "site.secret"))
        assert made.returncode == 0, made.stderr.decode()
        site.programs[name] = Program(site.processes, name, machine / site.path.name)


def run(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", module, *words], capture_output=True, cwd=ROOT, timeout=30, check=False
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_calls_outlive_servers_and_agents_that_have_keys_of_their_own(tmp_path: Path) -> None:
    net = network()
    site = Site(tmp_path, net, phone_line("alice", "gw1") + phone_line("bob", "gw2"), passwords=PASSWORDS)
    with_own_keys(site)
    alices, bobs = Phone(f"{net}51:5060"), Phone(f"{net}52:5060")
    try:
        site.start()
        alice = alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"], Policy(ring_after=0, answer_after=0.05))
        call = alices.call(alice, "5002")
        until(lambda: talking(call), 8, site.words)
        agents = json.loads(site.command("agents", "--format", "json").stdout)["agents"]
        assert {each["name"]: each["key"] for each in agents} == {"gw1": "own", "gw2": "own"}

        # the agent first: what it has is told to a new server within a second, one death at a time
        site["gw1"].kill()
        site["gw1"].start()
        until(lambda: site.obeys("gw1", "m1") and site.calls("gw1") == 1, 15, site.words)
        site["m1"].die()
        until(lambda: site["m2"].view().get("state") == "active", 10, site.words)
        until(lambda: site.obeys("gw1", "m2") and site.obeys("gw2", "m2"), 10, site.words)
        until(lambda: site.calls("m2") == 1, 10, site.words)
        assert talking(call)

        pinged = run("heartbeat.cli", "ping", "m2", "--site", str(tmp_path / "gw1" / "site.toml"), "-c", "1")
        assert pinged.returncode == 0 and "active" in pinged.stdout and "epoch" in pinged.stdout, pinged
        alices.ask(alices.core.bye, call)
        until(lambda: ended(call), 5, site.words)
        [record] = until(site.records, 8, "no record is written")
        assert record["result"] == "answered"
        assert not site.bugs()
    finally:
        alices.close()
        bobs.close()
        site.stop()


def test_who_has_a_key_that_is_not_its_own_does_not_start_and_says_what_to_do(tmp_path: Path) -> None:
    site = Site(tmp_path, network(), phone_line("alice", "gw1") + phone_line("bob", "gw2"), passwords=PASSWORDS)
    with_own_keys(site)
    stolen = str(tmp_path / "gw1" / "site.toml")
    server = run("b2bua.cli", "run", "--site", stolen, "--node", "m1")
    assert server.returncode != 0 and "a server needs the site key itself, put that there" in server.stderr, server
    agent = run("gateway_agent.cli", "run", "--site", stolen, "--agent", "gw2")
    assert agent.returncode != 0 and "`b2bua agent-key gw2` makes where the site key is" in agent.stderr, agent
    refused = run("b2bua.cli", "agent-key", "gw2", "--site", stolen)
    assert refused.returncode == 3 and "say it where a server is" in refused.stderr, refused
