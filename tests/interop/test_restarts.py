"""A server's process is killed and started again: what it knew before is still told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from examples.softphone_call import Policy
from tests.interop.phones import Phone, ended, talking
from tests.interop.programs import PASSWORDS, Site, network, phone_line, until

pytestmark = pytest.mark.interop


def told(site: Site, *words: str) -> Any:
    """What a command of ``b2bua`` says as JSON."""
    done = site.command(*words, "--node", "m1", "--format", "json")
    assert done.returncode in (0, 1), done.stderr.decode()
    return json.loads(done.stdout)


def test_history_and_stories_survive_the_death_of_the_process(tmp_path: Path) -> None:
    net = network()
    site = Site(tmp_path, net, phone_line("alice", "gw1") + phone_line("bob", "gw2"), passwords=PASSWORDS)
    alices, bobs = Phone(f"{net}51:5060"), Phone(f"{net}52:5060")
    try:
        site.start()
        alice = alices.line("alice", f"{net}11:5060", PASSWORDS["alice"])
        bobs.line("bob", f"{net}12:5060", PASSWORDS["bob"], Policy(ring_after=0, answer_after=0.05))
        call = alices.call(alice, "5002")
        until(lambda: talking(call), 8, site.words)
        alices.ask(alices.core.bye, call)
        until(lambda: ended(call), 5, site.words)
        [record] = until(site.records, 8, "no record is written")
        state = tmp_path / "state" / "m1"
        file = next(iter(sorted(tmp_path.rglob("calls.jsonl"))), state / "calls.jsonl")
        until(file.exists, 8, "no story is written")
        before, story = told(site, "history")["decisions"], told(site, "explain", record["call_id"])
        site["m1"].die()
        until(lambda: site["m2"].view().get("state") == "active", 10, site.words)
        until(lambda: not site["m1"].alive, 10, site.words)
        site["m1"].start()
        until(lambda: site["m1"].view().get("state") == "standby", 15, site.words)
        after = told(site, "history")["decisions"]
        known = {(round(row["at"], 1), row["because"]) for row in after}
        assert {(round(row["at"], 1), row["because"]) for row in before} <= known and len(after) > len(before)
        again = told(site, "explain", record["call_id"])
        assert [each["text"] for each in again["sentences"]] == [each["text"] for each in story["sentences"]]
        assert any("bob answered" in each["text"] for each in again["sentences"])
        assert not site.bugs()
    finally:
        alices.close()
        bobs.close()
        site.stop()
