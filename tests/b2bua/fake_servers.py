"""Two call servers that are made up, for the tests of ``b2bua``'s commands."""

from __future__ import annotations

import time

from b2bua import api
from b2bua.cli import main
from heartbeat.console.contract import Refused
from tests.consoles import VITALS, Offered, line, peer


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
                peer(other, state="standby" if active else "active"),
                peer("gw1"),
                peer("gw2", heard_ago=0.31),
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
            "process": dict(VITALS),
        }
        self.pages = {
            "calls": {
                "calls": [self.call(1, "talking"), self.call(2, "ringing"), self.call(3, "held")],
                "matched": 812,
            },
            "lines": {"lines": [line("carrier"), line("alice", kind="phone", channels=1, registered=True)]},
            "agents": {"agents": self.status["peers"][1:]},
            "history": {
                "decisions": [
                    {
                        "at": now - (5 if active else 4),
                        "what": "m2 is suspect",
                        "because": "no heartbeat for 1.5 s",
                        "code": "suspect",
                    },
                    {
                        "at": now - (9 if active else 8),
                        "what": "no action",
                        "because": f"I am {node}",
                        "code": "none",
                    },
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


class FakeServers(Offered):
    """Both servers of the site."""

    def __init__(self, directory):
        now = time.monotonic()
        self.m1, self.m2 = Server("m1", "m2", now), Server("m2", "m1", now)
        super().__init__(directory, main, api.serve, {"m1": self.m1, "m2": self.m2})

    def take_over(self):
        """What both show once m2 leads."""
        self.m1.status |= {"state": "standby", "active": "m2", "epoch": 8, "lease_left": None}
        self.m2.status |= {"state": "active", "active": "m2", "epoch": 8, "lease_left": 1.9}
        self.m1.status["peers"][0] |= {"state": "active", "epoch": 8}
        self.m2.status["peers"][0] |= {"state": "standby", "epoch": 8}
        for server in (self.m1, self.m2):
            for agent in server.status["peers"][1:]:
                agent |= {"obeys": "m2", "epoch": 8}
