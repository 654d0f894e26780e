"""``b2bua``'s commands against two processes that speak the real API over real sockets, with pages made up."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest
from click.testing import CliRunner

from b2bua import api
from b2bua.cdr import Cdr
from b2bua.cdr_store import CdrStore
from b2bua.cli import main
from heartbeat.console_view import Refused
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


if __name__ == "__main__":
    import sys
    from pathlib import Path

    shown = Pair(Path(sys.argv[1]))
    shown.m1.on_command = lambda verb, params: shown.loop.call_later(1.5, shown.take_over)
    shown.m1.progress = [progress("switchover", "running", "waiting for the votes")]
    for i in range(100000):
        time.sleep(1)
