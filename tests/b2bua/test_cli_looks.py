"""``b2bua rehearse`` and ``audit``, and the switchover that is rehearsed first, with processes that are made up."""

from __future__ import annotations

import json
import time

import pytest

from b2bua.cdr import Cdr
from b2bua.cdr_store import CdrStore
from heartbeat.site.load import load
from tests.b2bua.fake_servers import progress


def rehearsal(now, **more):
    return {
        "at": now,
        "node": "m2",
        "active": "m1",
        "kept": 811,
        "lost": 0,
        "waiting": 0,
        "verdicts": {"kept": 790, "replayed": 21},
        "decision": 0.9,
        "took": 0.19,
        "agents": [
            {"agent": "gw1", "asked_at": now, "complete_at": now + 0.18, "parts": 21, "size": 600_000, "calls": 812},
            {"agent": "gw2", "asked_at": now, "complete_at": None, "parts": 2, "size": 9_000, "calls": 11},
        ],
        "obstacles": [],
        "calls": [],
        **more,
    }


def audit(now, **more):
    return {
        "at": now,
        "node": "m1",
        "calls": 812,
        "dialogs": 1623,
        "ended": 4,
        "took": 2.2,
        "not_checked": [],
        "faults": [],
        "matched": 0,
        "unrecorded": [],
        **more,
    }


LOST = {
    "lost": 1,
    "verdicts": {"kept": 811, "reset": 1},
    "calls": [{"id": "c9", "verdict": "reset", "state": "talking", "because": "old is cold: its calls are dropped"}],
}


@pytest.fixture
def looking(fake_servers):
    for server in (fake_servers.m1, fake_servers.m2):
        server.progress = [
            progress("look", "running", "0 of 2 agents have told what they have", 0, 2),
            progress("look", "done", "it is done"),
        ]
        server.pages["rehearsal"] = rehearsal(server.now)
        server.pages["audit"] = audit(server.now)
    return fake_servers


def test_the_stand_by_rehearses(looking):
    output = looking.cli("rehearse")
    assert "Had m2 taken over from m1" in output and "811 of 811 calls kept, 0 lost" in output
    assert "790 kept  21 replayed" in output and "not told" in output
    assert ("rehearse", {}) in looking.m2.asked and ("rehearse", {}) not in looking.m1.asked
    assert "c9" not in output


def test_calls_without_agents_have_a_line_of_their_own(looking):
    assert "No agent" not in looking.cli("rehearse")
    looking.m2.pages["rehearsal"]["without_agents"] = "m1 has 2 calls between lines without agents: ..."
    assert "No agent  m1 has 2 calls between lines without agents" in looking.cli("rehearse")
    assert "without agents" not in looking.cli("audit")
    looking.m1.pages["audit"]["without_agents"] = 2
    assert "812 calls of m1, 1,623 dialogs of its agents; 2 calls between lines without agents" in looking.cli(
        "audit"
    )


def test_what_would_be_lost_is_named_and_is_an_exit_code(looking):
    looking.m2.pages["rehearsal"] |= LOST
    assert "811 of 812 calls kept, 1 lost" in looking.cli("rehearse", code=1)
    output = looking.cli("rehearse", "--calls", code=1)
    assert "c9" in output and "old is cold" in output


@pytest.mark.parametrize(
    "more", [{"waiting": 3}, {"obstacles": ["m2 takes nothing over by itself: it is paused"]}, LOST]
)
def test_it_is_good_when_nothing_would_be_lost_and_nothing_stands_against_it(looking, more):
    looking.m2.pages["rehearsal"] |= more
    output = looking.cli("rehearse", "--format", "json", code=1)
    assert json.loads(output)["kept"] == 811


def test_another_server_may_be_asked(looking):
    looking.m1.pages["rehearsal"] |= {"node": "m1"}
    assert "Had m1 taken over" in looking.cli("rehearse", "--node", "m1")


def test_a_silent_stand_by_cannot_rehearse(looking):
    looking.stop("m2")
    assert "m2 cannot be reached" in looking.cli("rehearse", code=3)


def test_one_that_does_not_end_is_given_up(looking):
    looking.m2.progress = looking.m2.progress[:1]
    output = looking.cli("rehearse", "--timeout", "0.3", code=1)
    assert "is not true yet: 0 of 2 agents have told what they have" in output


@pytest.mark.parametrize(
    ("most", "more", "said"),
    [
        ("0", LOST, "Nothing was done: 1 call would be lost."),
        ("1", {**LOST, "waiting": 1}, "Nothing was done: 2 calls would be lost."),
        ("9", {"obstacles": ["m2 is out of voters"]}, "Nothing was done: m2 is out of voters."),
    ],
)
def test_a_switchover_that_would_lose_too_much_is_not_begun(looking, most, more, said):
    looking.m2.pages["rehearsal"] |= more
    assert said in looking.cli("switchover", "--max-loss", most, "--yes", code=1)
    assert ("rehearse", {}) in looking.m2.asked and not any(verb == "switchover" for verb, _ in looking.m1.asked)


@pytest.mark.parametrize(("options", "rehearsed"), [(("--max-loss", "1"), True), ((), False)])
def test_one_that_loses_no_more_than_it_may_is(looking, options, rehearsed):
    looking.m2.pages["rehearsal"] |= LOST
    looking.m1.on_command = lambda verb, params: looking.take_over()
    output = looking.cli("switchover", *options, "--yes")
    assert "Done in" in output and ("switchover", {"to": "m2"}) in looking.m1.asked
    assert (("rehearse", {}) in looking.m2.asked) is rehearsed


def test_an_audit_asks_the_active_server(looking):
    output = looking.cli("audit")
    assert "812 calls of m1, 1,623 dialogs of its agents" in output and "all agree" in output
    assert ("audit", {}) in looking.m1.asked and ("audit", {}) not in looking.m2.asked


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"matched": 1, "faults": [{"id": "c9", "agent": "gw2", "what": "orphan", "because": "no such call"}]},
            "orphan",
        ),
        ({"not_checked": ["gw2"]}, "gw2 did not tell what they have."),
    ],
)
def test_what_does_not_agree_is_an_exit_code(looking, more, said):
    looking.m1.pages["audit"] |= more
    assert said in looking.cli("audit", code=1)


def test_ended_calls_are_looked_for_in_the_records_on_disk(looking, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    looking.m1.pages["audit"] |= {"unrecorded": ["there", "nowhere"]}
    directory = load(looking.path).servers["m2"].cdr_dir
    directory.mkdir(parents=True)
    store = CdrStore(directory, "m2")
    store.write(Cdr("there", started=time.time() - 5.0, ended=time.time()))
    store.close()
    value = json.loads(looking.cli("audit", "--format", "json", code=1))
    assert value["unrecorded"] == ["nowhere"] and value["matched"] == 1
    assert [(fault["id"], fault["what"]) for fault in value["faults"]] == [("nowhere", "unrecorded")]


def test_where_a_call_would_go(looking):
    step = {"line": "carrier", "agent": "gw1", "number": "+331", "ring_for": 180.0, "because": "routes[1] (+*)"}
    trial = {"line": "alice", "called": "+331", "steps": [step], "status": 0, "because": ""}
    looking.m1.pages["route"] = trial
    output = looking.cli("route", "alice", "+331")
    assert "A call from alice to +331 would go to" in output and "routes[1] (+*)" in output
    assert ("route", {"from": "alice", "to": "+331"}) in looking.m1.asked
    looking.m1.pages["route"] = {**trial, "steps": [], "status": 404, "because": "no route leads there"}
    assert "would be refused with 404: no route leads there" in looking.cli("route", "alice", "+331", code=1)
