"""The ways of heartbeats between servers: which flow, when a stream is made anew, whose words are heard."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from b2bua.beat_paths import BeatPaths
from heartbeat.site.load import parse
from sip.actions import Close, Flow, Open
from sip.layer import Stack

SITE = """
[site]
name = "s"
key = { env = "KEY" }
ca = "ca.pem"
[servers.m1]
listen = "tcp:127.0.0.1:5161"
beat = "%s:127.0.0.1:5162"
tls = { certificate = "a.pem", key = "a.key" }
[servers.m2]
role = "standby"
listen = "tcp:127.0.0.2:5161"
beat = "%s:127.0.0.2:5162"
tls = { certificate = "a.pem", key = "a.key" }
[agents.a]
"""
BEAT = b"OPTIONS sip:m1 SIP/2.0\r\nContent-Length: 0\r\n\r\n"


class Paths:
    """Those of m1, and what they want."""

    def __init__(self, transport: str) -> None:
        self.heard: list[tuple[bytes, Flow]] = []
        listener: Any = None
        self.stack = Stack(listener, b"s" * 32, "m1")
        site = parse(SITE % (transport, transport), Path("/x/site.toml"), {"KEY": "k" * 16})
        self.beats = BeatPaths(
            self.stack, site, "m1", Random(1), lambda data, flow, now: self.heard.append((data, flow)), 0.0
        )
        self.now = 0.0

    def run(self, seconds: float) -> list[Any]:
        end = self.now + seconds
        while (at := self.stack.get_timer()) is not None and at <= end:
            self.now = max(self.now, at)
            self.stack.handle_timer(self.now)
        self.now = end
        return self.stack.to_do()

    def opens(self) -> Flow:
        """The stream that is opened now."""
        for _ in range(20):
            if found := [one for one in self.run(0.1) if isinstance(one, Open)]:
                return found[0].flow
        raise AssertionError("nothing is opened")


def test_datagrams_go_from_our_listener() -> None:
    paths = Paths("udp")
    flow = Flow("udp", "127.0.0.1:5162", ("127.0.0.2", 5162))
    assert paths.beats.flow_to("m2") == flow and paths.beats.flow_to("m3") is None
    assert paths.run(10) == [] and flow.local in paths.beats.locals
    assert paths.beats.flow_changed(flow, "unreachable", 0.0)  # the other server starts later
    assert paths.beats.flow_to("m2") == flow and flow.local in paths.beats.locals
    paths.beats.receive(BEAT, flow, 0.0)
    assert paths.heard == [(BEAT, flow)]


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_stream_is_opened_and_asked_by(transport: str) -> None:
    paths = Paths(transport)
    (asked,) = paths.run(0.0)
    flow = asked.flow
    assert (flow.transport, flow.remote, flow.local) == (transport, ("127.0.0.2", 5162), "m1>>m2#1@127.0.0.1")
    assert asked == (Open(flow, ("127.0.0.2", "m2"), "", "/x/ca.pem") if transport == "tls" else Open(flow))
    assert paths.beats.flow_to("m2") is None  # not yet
    assert paths.beats.flow_changed(flow, "open", paths.now)
    assert paths.beats.flow_to("m2") == flow and flow.local in paths.beats.locals
    paths.beats.receive(BEAT[:10], flow, paths.now)
    paths.beats.receive(BEAT[10:] + BEAT, flow, paths.now)
    assert paths.heard == [(BEAT, flow), (BEAT, flow)]


def test_a_stream_that_breaks_or_does_not_come_about_is_opened_anew() -> None:
    paths = Paths("tcp")
    first = paths.opens()
    assert paths.beats.flow_changed(first, "lost", paths.now)
    second = paths.opens()
    assert second != first and paths.beats.flow_to("m2") is None
    done = paths.run(1.05)
    assert Close(second) in done and paths.beats.flow_to("m2") is None
    third = paths.opens()
    paths.beats.flow_changed(third, "open", paths.now)
    assert paths.beats.flow_to("m2") == third
    assert not paths.beats.flow_changed(Flow("tcp", "127.0.0.1:5161#4", ("127.0.0.9", 1)), "open", paths.now)


def test_a_stream_that_does_not_answer_is_made_anew_and_one_that_does_is_kept() -> None:
    paths = Paths("tcp")
    flow = paths.opens()
    paths.beats.flow_changed(flow, "open", paths.now)
    for _ in range(20):
        paths.beats.flow_to("m2")
        paths.beats.receive(BEAT, flow, paths.now)
        assert paths.run(0.5) == []
    assert paths.run(60) == []  # nobody asks
    for _ in range(6):
        paths.beats.flow_to("m2")
        if paths.run(0.5):
            break
    assert paths.beats.flow_to("m2") is None
    assert paths.opens() != flow


def test_who_connects_to_us_is_heard_and_what_cannot_be_read_is_closed() -> None:
    paths = Paths("tcp")
    paths.opens()
    flow = Flow("tcp", "127.0.0.1:5162#1", ("127.0.0.2", 40000))
    assert paths.beats.flow_changed(flow, "open", paths.now)
    paths.beats.receive(BEAT + b"\r\n\r\n", flow, paths.now)
    assert paths.heard == [(BEAT, flow)]
    paths.beats.receive(b"OPTIONS sip:m1 SIP/2.0\r\nContent-Length: x\r\n\r\n", flow, paths.now)
    assert Close(flow, True) in paths.stack.to_do()
    assert paths.beats.flow_changed(flow, "lost", paths.now) and flow.local not in paths.beats.locals
