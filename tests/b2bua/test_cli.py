"""``b2bua``'s commands against two processes that speak the real API over real sockets, with pages made up."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from b2bua import api
from b2bua.cdr import Cdr
from b2bua.cdr_store import CdrStore
from b2bua.cli import main
from heartbeat.console_view import Refused
from heartbeat.keeping import kept_of
from heartbeat.proof import VoterList
from heartbeat.site_words import Api

SITE = """
[site]
name = "paris"
key = { env = "PARIS_KEY" }
[servers.m1]
role = "main"
listen = "tcp:127.0.0.1:5161"
beat = "udp:127.0.0.1:5162"
[servers.m2]
role = "standby"
listen = "tcp:127.0.0.2:5161"
beat = "udp:127.0.0.2:5162"
[agents.gw1]
sip = "udp:127.0.0.11:5060"
[agents.gw2]
sip = "udp:127.0.0.12:5060"
[lines.carrier]
kind = "trunk"
agent = "gw1"
peer = "sip:127.0.0.21:5060"
channels = 30
[lines.alice]
kind = "phone"
agent = "gw2"
numbers = ["1001"]
password = { env = "ALICE_PASSWORD" }
[[routes]]
match = "+*"
to = ["carrier"]
"""


def peer(name, kind, **changes):
    value = {
        "name": name,
        "kind": kind,
        "role": {"m1": "main", "m2": "standby"}.get(name, ""),
        "state": "serving" if kind == "agent" else "standby",
        "reached": True,
        "heard_ago": 0.12,
        "judged": "alive",
        "boot": 41,
        "epoch": 7,
        "obeys": "m1" if kind == "agent" else "",
        "config": "9c41d0aa",
        "drift": False,
        "voter": kind == "agent",
        "calls": 406 if kind == "agent" else 0,
        "capacity": 5000,
        "address": "127.0.0.11:5161",
    }
    return {**value, **changes}


class Server:
    """A server process, as far as the API can see it."""

    def __init__(self, node, other, now):
        self.now = now
        active = node == "m1"
        self.asked = []
        self.progress = []
        self.refuses = {}
        self.on_command = lambda verb, params: None
        self.status = {
            "kind": "server",
            "version": "0.1.0",
            "site": "paris",
            "node": node,
            "role": "main" if active else "standby",
            "state": "active" if active else "standby",
            "active": "m1",
            "epoch": 7,
            "boot": 41,
            "config": "9c41d0aa",
            "since_at": now - 7500,
            "started_at": now - 7600,
            "lease_left": 1.71 if active else None,
            "paused": False,
            "voters": {"names": ["gw1", "gw2", "m2"], "generation": 1, "quorum": 2, "answering": 3},
            "peers": [
                peer(other, "server", state="standby" if active else "active"),
                peer("gw1", "agent"),
                peer("gw2", "agent", heard_ago=0.31),
            ],
            "calls": {"total": 812, "talking": 640, "held": 82, "ringing": 81, "dialing": 9, "ending": 0},
            "capacity": 5000,
            "load": 0.31,
            "rates": {"calls_per_s": 12.3, "messages_per_s": 172.0},
            "lines": {"total": 1000, "in_service": 998, "out_of_service": 2, "busy": 812},
            "last_takeover": {
                "at": now - 7500,
                "kind": "takeover",
                "old": "m2",
                "new": "m1",
                "epoch": 7,
                "because": "m2 was silent for 1.5 s at all 3 voters",
                "took": 0.21,
                "kept": 640,
                "lost": 0,
            },
            "warnings": [],
        }
        self.pages = {
            "calls": {
                "calls": [self.call(1, "talking"), self.call(2, "ringing"), self.call(3, "held")],
                "matched": 812,
            },
            "lines": {"lines": [self.line("carrier"), self.line("alice", kind="phone", channels=1, registered=True)]},
            "agents": {"agents": self.status["peers"][1:]},
            "history": {
                "decisions": [
                    {"at": now - 5, "what": "m2 is suspect", "because": "no heartbeat for 1.5 s", "code": "suspect"},
                    {"at": now - 9, "what": "no action", "because": f"I am {node}", "code": "none"},
                ],
                "total": 2,
            },
            "explain": {
                "about": "call c1",
                "sentences": [
                    {"at": now - 60, "text": "INVITE from carrier/7 for 1001."},
                    {"at": None, "text": "Kept by the takeover to epoch 7, because both agents listed it."},
                ],
            },
            "report": self.report(),
        }

    def call(self, number, state):
        return {
            "id": f"m1-7-{number:04x}c0ffee",
            "session_id": "",
            "state": state,
            "caller": "+33612345678",
            "callee": f"100{number}",
            "caller_line": "carrier/7",
            "callee_line": "alice" if state != "ringing" else "",
            "caller_agent": "gw1",
            "callee_agent": "gw2",
            "started_at": self.now - 75,
            "answered_at": self.now - 65 if state != "ringing" else None,
            "epochs": [6, 7] if number == 1 else [7],
            "priority": 0,
        }

    def line(self, name, **changes):
        value = {
            "name": name,
            "agent": "gw1",
            "kind": "trunk",
            "state": "active",
            "in_service": True,
            "why": "",
            "channels": 30,
            "busy": 1,
            "address": "127.0.0.21:5060",
            "registered": None,
            "contacts": 1,
            "forward": {},
            "priority": 0,
            "recovery": "hot",
        }
        return {**value, **changes}

    def report(self):
        now = self.now - 7500
        return {
            "epoch": 7,
            "kind": "takeover",
            "old": "m2",
            "new": "m1",
            "suspected_at": now - 1.0,
            "decided_at": now,
            "granted_at": now + 0.004,
            "active_at": now + 0.21,
            "because": "m2 was silent for 1.5 s at all 3 voters",
            "evidence": [{"at": now - 0.9, "by": "gw1", "text": "heard m2 1.6 s ago"}],
            "grants": ["gw1", "gw2"],
            "agents": [
                {
                    "agent": "gw1",
                    "asked_at": now + 0.005,
                    "complete_at": now + 0.2,
                    "parts": 12,
                    "size": 700_000,
                    "calls": 320,
                },
                {"agent": "gw2", "asked_at": now + 0.005, "complete_at": None, "parts": 3, "size": 1000, "calls": 3},
            ],
            "not_reached": [],
            "messages": 34,
            "replayed": 5,
            "verdicts": {"kept": 640, "replayed": 5, "released": 1},
            "calls": [{"id": "m1-6-1", "verdict": "kept", "state": "talking", "because": "both agents listed it"}],
        }

    def view(self, name, params, now):
        self.asked.append((name, dict(params)))
        if name in self.refuses:
            raise Refused(*self.refuses[name])
        if name == "status":
            return self.status
        if name == "progress":
            return self.progress.pop(0) if len(self.progress) > 1 else self.progress[0]
        return self.pages[name]

    def command(self, name, params, now):
        self.asked.append((name, dict(params)))
        if name in self.refuses:
            raise Refused(*self.refuses[name])
        self.on_command(name, params)
        return self.progress[0]


def progress(verb, state, sentence, done=0, total=0):
    return {"id": "p1", "verb": verb, "state": state, "sentence": sentence, "done": done, "total": total}


class Pair:
    """Both servers of the site, each at its socket, in a loop of its own thread."""

    def __init__(self, directory):
        self.directory = directory
        self.path = directory / "site.toml"
        self.path.write_text(SITE)
        now = time.monotonic()
        self.m1, self.m2 = Server("m1", "m2", now), Server("m2", "m1", now)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.served = {node: self.run(self.serve(node)) for node in ("m1", "m2")}

    async def serve(self, node):
        where = Api(path=str(self.directory / "state" / node / f"{node}.sock"))
        return await api.serve(getattr(self, node), where, None, time.monotonic)

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(5)

    def stop(self, node):
        self.run(self.served.pop(node).close())

    def close(self):
        for node in list(self.served):
            self.stop(node)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def b2bua(self, *words, code=0, stdin=None):
        result = CliRunner().invoke(main, [*words, "--site", str(self.path)], input=stdin)
        assert result.exit_code == code, result.output
        return result.output

    def json(self, *words, code=0):
        return json.loads(self.b2bua(*words, "--format", "json", code=code))

    def take_over(self):
        """What both show once m2 leads."""
        self.m1.status |= {"state": "standby", "active": "m2", "epoch": 8, "lease_left": None}
        self.m2.status |= {"state": "active", "active": "m2", "epoch": 8, "lease_left": 1.9}
        self.m1.status["peers"][0] |= {"state": "active", "epoch": 8}
        self.m2.status["peers"][0] |= {"state": "standby", "epoch": 8}
        for server in (self.m1, self.m2):
            for agent in server.status["peers"][1:]:
                agent |= {"obeys": "m2", "epoch": 8}


@pytest.fixture
def pair(tmp_path):
    pair = Pair(tmp_path)
    yield pair
    pair.close()


def test_status_shows_the_site(pair):
    output = pair.b2bua("status")
    assert "paris   epoch 7   ● m1 active   healthy" in output
    for words in (
        "● standby",
        "812 of 5,000",
        "640 talking",
        "gw1, gw2, m2: 3 of 3 answer",
        "640 calls kept, 0 lost",
    ):
        assert words in output
    assert not any(line != line.rstrip() for line in output.splitlines())
    assert "\x1b" not in output


def test_status_as_json(pair):
    page = pair.json("status")
    assert (page["active"], page["healthy"], page["epoch"]) == ("m1", True, 7)
    assert abs(page["servers"]["m1"]["since_at"] - (time.time() - 7500)) < 60
    assert pair.json("status", "--node", "m2")["state"] == "standby"


def test_a_dead_stand_by_is_degraded(pair):
    pair.stop("m2")
    pair.m1.status["peers"][0] |= {"reached": False, "judged": "dead", "heard_ago": 12.0}
    pair.m1.status["warnings"] = ["There is no stand-by: the next failure ends the service."]
    output = pair.b2bua("status", code=1)
    assert "● dead" in output
    assert "! m2 cannot be reached" in output
    assert "! There is no stand-by" in output


def test_a_server_on_another_machine_is_believed_to_be_there(pair):
    pair.stop("m2")
    assert "healthy" in pair.b2bua("status")


def test_the_active_server_on_another_machine_is_named(pair):
    pair.stop("m1")
    assert "● m1 active" in pair.b2bua("status")
    assert "m1 is active, but" in pair.b2bua("calls", code=3)


@pytest.mark.parametrize(
    ("state", "words"), [("holding", "has no lease"), ("taking-over", "is taking over"), ("standby", "")]
)
def test_without_an_active_server_the_code_is_2(pair, state, words):
    pair.m1.status["state"] = state
    pair.m2.status["peers"][0]["state"] = state
    output = pair.b2bua("status", code=2)
    assert "! No server is active" in output
    assert words in output
    assert "No server is active" in pair.b2bua("calls", code=2)
    assert "talking" in pair.b2bua("calls", "--node", "m1")


def test_drift_pause_and_agents_that_are_not_reached_are_warnings(pair):
    pair.m1.status["paused"] = True
    pair.m1.status["peers"][1]["reached"] = False
    pair.m1.status["peers"][2] |= {"drift": True, "config": "0badc0de"}
    output = pair.b2bua("status", code=1)
    assert "m1 is paused" in output
    assert "m1 does not reach gw1." in output
    assert "gw2 runs from another site file than m1 (9c41d0aa)." in output
    assert "0badc0de drift" in output


def test_nobody_answers(pair):
    pair.stop("m1")
    pair.stop("m2")
    output = pair.b2bua("status", code=3)
    assert "No server of the site answers." in output
    assert output.count("is not running here") == 2


def test_calls(pair):
    output = pair.b2bua("calls", "--state", "talking", "--number", "1001", "--limit", "3")
    assert pair.m1.asked[-1] == ("calls", {"limit": "3", "state": "talking", "number": "1001"})
    assert "carrier/7 → alice" in output
    assert "6→7" in output
    assert "3 of 812 calls" in output
    assert len(pair.json("calls")["calls"]) == 3


def test_lines_out_of_service_are_degraded(pair):
    assert "1/30" in pair.b2bua("lines")
    pair.m1.pages["lines"]["lines"][0] |= {
        "in_service": False,
        "why": "3 OPTIONS unanswered",
        "forward": {"no_answer": "7"},
    }
    output = pair.b2bua("lines", code=1)
    assert "● out of service" in output
    assert "3 OPTIONS unanswered" in output
    assert "no answer 7" in output


def test_agents(pair):
    assert "● serving" in pair.b2bua("agents")
    pair.m1.pages["agents"]["agents"][0]["reached"] = False
    pair.b2bua("agents", code=1)


def test_history_is_one_of_both_servers_in_the_order_of_time(pair):
    lines = pair.b2bua("history").splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["m1", "m2", "m1", "m2"]
    assert "m2 is suspect   no heartbeat for 1.5 s" in lines[-1]
    assert [row["node"] for row in pair.json("history", "--node", "m2")["decisions"]] == ["m2", "m2"]


def test_explain_a_call_and_ask_the_other_server_when_the_first_knows_nothing(pair):
    assert "Kept by the takeover" in pair.b2bua("explain", "m1-7")
    pair.m1.refuses["explain"] = ("No call begins with m1-7.", 404)
    assert "Kept by the takeover" in pair.b2bua("explain", "m1-7")
    pair.m2.refuses["explain"] = ("No call begins with m1-7.", 404)
    assert pair.b2bua("explain", "m1-7", code=3) == "m1: No call begins with m1-7.\n"


def test_the_takeover_report(pair):
    output = pair.b2bua("explain", "takeover", "--calls")
    for words in ("heard m2 1.6 s ago", "epoch 7 granted by gw1 and gw2", "684 KB", "not yet", "640 kept", "m1-6-1"):
        assert words in output
    assert "m1-6-1" not in pair.b2bua("explain")
    assert pair.json("explain", "7")["epoch"] == 7
    assert ("report", {"limit": "200", "epoch": "7"}) in pair.m1.asked


def test_a_switchover_shows_asks_waits_and_shows(pair):
    pair.m1.on_command = lambda verb, params: pair.take_over()
    pair.m1.progress = [progress("switchover", "running", "waiting for the votes")]
    output = pair.b2bua("switchover", stdin="y\n")
    assert ("switchover", {"to": "m2"}) in pair.m1.asked
    for words in ("m1 → m2", "7 → 8", "812 calls carried over: 640 talking", "2 of 2 agents reached by m2", "[y/N]"):
        assert words in output
    assert "m2 is active in epoch 8, and 2 agents obey it." in output
    before, after = output.split("After")
    assert "m1       main      ● active" in before
    assert "m2       standby   ● active" in after


def test_a_switchover_waits_for_agents_and_gives_up_with_what_is_missing(pair):
    def act(verb, params):
        pair.take_over()
        pair.m2.status["peers"][1]["obeys"] = "m1"

    pair.m1.on_command = act
    pair.m1.progress = [progress("switchover", "running", "moving")]
    output = pair.b2bua("switchover", "--yes", "--timeout", "0.1", code=1)
    assert "the switchover to m2 is not true yet: m2 is active; 1 agent still to come: gw1" in output


def test_a_switchover_that_fails_says_why(pair):
    pair.m1.progress = [progress("switchover", "failed", "gw1 and gw2 did not grant it")]
    assert "It failed: gw1 and gw2 did not grant it" in pair.b2bua("switchover", "-y", code=1)
    pair.m1.refuses["switchover"] = ("a takeover is under way", 409)
    assert "m1: a takeover is under way" in pair.b2bua("switchover", "-y", code=1)


def test_no_is_no(pair):
    assert "Nothing was done." in pair.b2bua("switchover", stdin="n\n", code=1)
    assert "say --yes" in pair.b2bua("switchover", stdin="", code=3)
    assert not any(name == "switchover" for name, _ in pair.m1.asked)


def test_force_goes_to_the_server_that_shall_lead(pair):
    pair.stop("m1")
    pair.m2.status["peers"][0] |= {"reached": False, "judged": "dead"}
    pair.m2.on_command = lambda verb, params: pair.take_over()
    pair.m2.progress = [progress("switchover", "running", "taking the agents that are reached")]
    assert "say --force" in pair.b2bua("switchover", "-y", code=2)
    output = pair.b2bua("switchover", "--force", "-y", code=1)
    assert ("switchover", {"to": "m2", "force": "yes"}) in pair.m2.asked
    assert "Forced: no quorum is asked" in output
    assert "none → m2" in output


def test_switching_to_where_it_is_does_nothing(pair):
    assert "active already" in pair.b2bua("switchover", "--to", "m1")
    assert "no server 'm9'" in pair.b2bua("switchover", "--to", "m9", code=3)


def test_reset_says_what_it_costs(pair):
    pair.m1.progress = [
        progress("reset", "running", "resetting", 1, 2),
        progress("reset", "running", "resetting", 1, 2),
        progress("reset", "done", "2 lines are idle", 2, 2),
    ]
    output = pair.b2bua("reset", "carrier", "alice", stdin="y\n")
    assert "carrier and alice become idle; 1,624 calls will end." in output
    assert "Done in" in output and "2 lines are idle (2 of 2)" in output
    assert ("reset", {"lines": "carrier,alice", "state": "idle"}) in pair.m1.asked
    assert "has no line nowhere" in pair.b2bua("reset", "nowhere", code=3)


def test_pause_and_resume_at_both(pair):
    for server in (pair.m1, pair.m2):
        server.progress = [progress("pause", "done", "No automatic takeover until resume.")]
    assert pair.b2bua("pause").splitlines() == [f"{n}: No automatic takeover until resume." for n in ("m1", "m2")]
    pair.stop("m2")
    assert "m2 cannot be reached" in pair.b2bua("resume", code=1)
    assert "m2 cannot be reached" in pair.b2bua("resume", "--node", "m2", code=3)


def test_readmit(pair):
    pair.m1.progress = [progress("readmit", "done", "gw2 votes again, generation 2.")]
    assert "gw2 votes again, generation 2." in pair.b2bua("readmit", "gw2", "--yes")
    assert ("readmit", {"agent": "gw2"}) in pair.m1.asked
    assert "no agent 'gw9'" in pair.b2bua("readmit", "gw9", "--yes", code=3)


def test_readmit_by_force_needs_no_active_server(pair):
    pair.m1.status["state"] = "holding"
    pair.m2.status["peers"][0]["state"] = "holding"
    pair.m1.progress = [progress("readmit", "done", "m2 votes again")]
    pair.b2bua("readmit", "m2", "--yes", code=2)
    assert "you vouch" in pair.b2bua("readmit", "m2", "--yes", "--force")
    assert ("readmit", {"agent": "m2", "force": "yes"}) in pair.m1.asked


def write_cdrs(pair, node, *records):
    store = CdrStore(pair.directory / "state" / node / "cdr", node)
    for record in records:
        store.write(record)
    store.close()


def test_call_records_of_both_servers_are_one_a_call(pair):
    now = time.time()
    cdr = Cdr(
        "m1-7-1", node="m1", caller="+33612345678", callee="1001", started=now - 90, answered=now - 80, ended=now - 20
    )
    cdr = replace(cdr, result="answered", status=200, ended_by="caller", caller_line="carrier/7")
    busy = Cdr(
        "m1-7-2", node="m1", caller="22", callee="1001", started=now - 3600 * 3, ended=now, result="busy", status=486
    )
    write_cdrs(pair, "m1", cdr, busy)
    assert "m2 has no call records here" in pair.b2bua("cdrs", code=1)
    write_cdrs(pair, "m2", replace(cdr, node="m2", epoch=8, ended=now - 19, ended_by="server"))
    output = pair.b2bua("cdrs")
    assert "m1 and m2" in output
    assert "1:00" in output
    assert "busy 486" in output
    assert "2 calls, 1 answered, 1 written by both servers." in output
    page = pair.json("cdrs", "--since", "2h")
    assert [record["writers"] for record in page["cdrs"]] == [["m1", "m2"]]
    assert page["cdrs"][0]["ended_by"] == "caller"
    there = [str(pair.directory / "state" / node / "cdr") for node in ("m1", "m2")]
    assert pair.json("cdrs", "--dir", there[0], "--dir", there[1])["matched"] == 2
    assert pair.json("cdrs", "--dir", there[1])["matched"] == 1
    assert pair.json("cdrs", "--from", "22", "--result", "busy")["matched"] == 1
    assert pair.json("cdrs", "--until", "2020-01-31")["matched"] == 0
    assert "the last 1 are shown" in pair.b2bua("cdrs", "--limit", "1")
    assert "is no time" in pair.b2bua("cdrs", "--since", "yesterday", code=3)


def test_no_call_records_at_all(pair):
    assert pair.b2bua("cdrs", code=3).count("has no call records here") == 2


def test_check_says_what_the_site_survives(pair, monkeypatch):
    monkeypatch.delenv("PARIS_KEY", raising=False)
    output = pair.b2bua("check")
    assert "What the site survives" in output
    assert "m1 and one of gw1, gw2" in output
    assert pair.json("check")["failures"]
    assert "PARIS_KEY" in pair.b2bua("check", "--node", "m1", code=3)


def test_a_site_is_begun_once(pair):
    file = pair.directory / "state" / "m1" / "epochs.json"
    output = pair.b2bua("init")
    assert output.startswith(f"The site paris may start for the first time, at m1 ({file}).\n")
    assert "gw1, gw2 and m2" in output
    begun = file.read_text()
    kept = kept_of(begun)
    assert (kept.first, kept.mute, kept.voters) == (True, False, VoterList(1, ("gw1", "gw2", "m2"), 1))
    for words in ([], ["--node", "m1"], ["--node", "m2"]):
        assert "has been started before" in pair.b2bua("init", *words, code=3)
    assert file.read_text() == begun
    assert "no server 'm9'" in pair.b2bua("init", "--node", "m9", code=3)


def test_a_file_with_errors_gives_a_sentence_for_each(pair):
    pair.path.write_text(SITE.replace('role = "main"', 'role = "boss"').replace("channels = 30", "channels = -1"))
    output = pair.b2bua("check", code=3)
    assert "servers.m1.role" in output
    assert "lines.carrier.channels" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("words", [["statu"], ["calls", "--limit", "0"], ["calls", "--frobnicate"], ["run"]])
def test_wrong_usage_is_3(words):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 3
    assert "Usage" in result.output


def test_which_site(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOLDFAST_SITE", raising=False)
    result = CliRunner().invoke(main, ["status"])
    assert (result.exit_code, "Which site?" in result.output) == (3, True)


def test_an_error_of_ours_is_one_sentence(pair, monkeypatch):
    monkeypatch.delenv("HOLDFAST_DEBUG", raising=False)
    del pair.m1.status["voters"]
    output = pair.b2bua("status", code=3)
    assert output.startswith("An error of ours: KeyError: 'voters'.")
    assert len(output.splitlines()) == 1
