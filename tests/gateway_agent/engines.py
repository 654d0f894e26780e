"""rtpengine daemons as an agent sees them, and its sessions there."""

from __future__ import annotations

import re
from random import Random
from typing import Any

from gateway_agent.media.ports import Notice, Pair, Remote, Trouble
from gateway_agent.rtpengine import ng
from gateway_agent.rtpengine.sessions import EngineSessions

A = Remote("192.0.2.5", 4000, 4001, "192.0.2.5", True)
B = Remote("192.0.2.6", 5000, 5001, "192.0.2.6", True)
V4 = (False, False)


class Daemon:
    """What rtpengine does with port latching: a call's ports are those of its first offer and answer."""

    def __init__(self, address: str, six: str = "") -> None:
        self.places = {"IP4": address, **({"IP6": six} if six else {})}
        self.up = True
        self.calls: dict[str, dict[str, Any]] = {}
        self.heard: list[dict[str, Any]] = []
        self.answers: dict[bytes, dict[str, Any]] = {}
        """By cookie: what is asked again is answered again, and not done again."""
        self._port = 30_000

    def obey(self, data: bytes) -> bytes:
        cookie, _ = data.split(b" ", 1)
        if cookie not in self.answers:
            _, words = ng.parsed(data)
            if words["command"] != "ping":
                self.heard.append(words)
            self.answers[cookie] = self._obeyed(words)
        return ng.message(cookie.decode(), self.answers[cookie])

    def _obeyed(self, words: dict[str, Any]) -> dict[str, Any]:
        match words["command"]:
            case "ping":
                return {"result": "pong"}
            case "list":
                return {"result": "ok", "calls": list(self.calls)[: words["limit"]]}
            case "delete":
                self.calls.pop(words["call-id"], None)
                return {"result": "ok"}
            case "query":
                call = self.calls.get(words["call-id"])
                if call is None:
                    return {"result": "error", "error-reason": "Unknown call-id"}
                return {"result": "ok", "tags": {tag: _stats(call["packets"][tag]) for tag in ("here", "there")}}
        place = self.places.get(words["address family"])
        if place is None:
            return {"result": "error", "error-reason": "no such interface"}
        side = words["from-tag"] if words["command"] == "offer" else words["to-tag"]
        call = self.calls.setdefault(words["call-id"], {"ports": {}, "sdp": {}, "packets": {"here": 0, "there": 0}})
        call["sdp"][side] = words["sdp"]
        towards = "there" if side == "here" else "here"
        if towards not in call["ports"]:
            self._port += 2
            call["ports"][towards] = self._port
        zero = "c=IN IP4 0.0.0.0" in words["sdp"] or "c=IN IP6 ::" in words["sdp"].splitlines()
        connection = f"c=IN {words['address family']} {'0.0.0.0' if zero else place}"
        return {"result": "ok", "sdp": f"v=0\r\n{connection}\r\nm=audio {call['ports'][towards]} RTP/AVP 0\r\n"}


def _stats(packets: int) -> dict[str, Any]:
    stats = {"packets": packets, "bytes": packets * 172, "errors": 1}
    return {"medias": [{"streams": [{"stats": stats}, {"stats": {"packets": 0, "bytes": 0, "errors": 0}}]}]}


class Site:
    """An agent's sessions, and daemons that answer at once unless they are down."""

    def __init__(self, *daemons: Daemon, ahead: int = 3, seed: int = 1) -> None:
        self.daemons = daemons or (Daemon("198.51.100.1"),)
        self.now = 100.0
        self.notices: list[Notice] = []
        self.begin(ahead, seed)

    def begin(self, ahead: int = 3, seed: int = 2) -> None:
        """The agent starts, for the first time or again."""
        places = [(f"198.51.100.{number}", 2223) for number, _ in enumerate(self.daemons, 1)]
        self.sessions = EngineSessions(places, "holdfast/s/gw1/", Random(seed), ahead)
        self.run(0.5)

    def pump(self) -> None:
        while sent := self.sessions.to_send(self.now):
            for number, data in sent:
                if self.daemons[number].up:
                    self.sessions.receive(number, self.daemons[number].obey(data), self.now)
        self.notices += self.sessions.notices()

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.sessions.handle_timer(self.now)
            self.pump()
            self.now = round(self.now + 0.1, 3)

    def taken(self, six: tuple[bool, bool] = V4) -> tuple[Pair, Pair]:
        pairs = self.sessions.take(six)
        assert pairs is not None, self.sessions.shortage()
        return pairs

    def troubles(self) -> list[str]:
        return [one.sentence for one in self.notices if isinstance(one, Trouble)]


def described(sdp: str) -> list[str]:
    """Address, port and direction."""
    found = re.finditer(r"^(?:c=IN IP[46] (\S+)|m=(\S+ \d+)|a=(\S+))", sdp, re.MULTILINE)
    return [one[1] or one[2] or one[3] for one in found]
