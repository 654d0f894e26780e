"""Devices and agents that do whatever they like, from seeds: nothing is raised, and nothing is left."""

from __future__ import annotations

import random

import pytest

from tests.b2bua.fake import HOLD, SDP, Peer, Side
from tests.b2bua.fake_agent import FakeAgent, ServerFixture, kept, record

STATUSES = (100, 180, 183, 200, 200, 200, 202, 302, 400, 403, 404, 408, 480, 481, 486, 487, 491, 500, 503, 600)
METHODS = ("INVITE", "INFO", "BYE", "MESSAGE", "OPTIONS", "UPDATE", "REFER", "PRACK", "NOTIFY", "FOO")


class Disorder:
    """A site in which every side is played by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.fixture = ServerFixture()
        self.trunk = Peer(self.fixture.bench, "trunk", port=5080)

    @property
    def peers(self) -> list[Peer]:
        return [self.fixture.gw1, self.fixture.gw2, self.trunk]

    def step(self) -> None:
        chance, bench = self.chance, self.fixture.bench
        sides = [side for peer in self.peers for side in peer.sides]
        act = chance.random()
        if act < 0.15 or not sides:
            caller = chance.choice(self.peers)
            number = chance.choice(["1001", "1002", "1003", "1004", "2000", "9123", "7", "x" * 80])
            caller.call(number, chance.choice([SDP, b""]), call_id=f"d{len(sides)}-{chance.random()}")
        elif act < 0.55:
            self.answer(chance.choice(sides))
        elif act < 0.8:
            self.say(chance.choice(sides))
        elif act < 0.85:
            agent = chance.choice([self.fixture.gw1, self.fixture.gw2])
            if agent.connected:
                agent.disconnect()
            else:
                self.fill(agent)
                agent.connect()
        else:
            bench.after(chance.choice([0.01, 0.3, 1, 5, 12, 33]))

    def answer(self, side: Side) -> None:
        if not side.asked:
            return
        request = self.chance.choice(side.asked[-3:])
        if request.method != "ACK":
            body = SDP if request.method == "INVITE" else b""
            tag = self.chance.choice(["", "", "", "fork"])
            status = self.chance.choice(STATUSES)
            side.answer(request, status, side.peer.line_lines(side) if status > 100 else (), body, tag)

    def say(self, side: Side) -> None:
        what = self.chance.random()
        if what < 0.3 and side.sent is not None and side.sent.method == "INVITE":
            side.ack(self.chance.choice([b"", SDP]))
        elif what < 0.45 and side.sent is not None and side.sent.method == "INVITE":
            side.cancel()
        elif side.other_tag:
            side.say(self.chance.choice(METHODS), body=self.chance.choice([b"", SDP, HOLD]))

    def fill(self, agent: FakeAgent) -> None:
        """Tell of some calls in some words when the list is asked for."""
        agent.records = []
        for side in agent.sides:
            if self.chance.random() < 0.6:
                state = self.chance.choice(["confirmed", "confirmed", "early", "trying", "terminated"])
                more: dict[str, object] = {}
                if self.chance.random() < 0.3 and side.sent is not None:
                    more["sent"] = [kept(side.sent, self.chance.random() < 0.3)]
                if self.chance.random() < 0.3:
                    more["ack"] = self.chance.choice(["owed", "awaited"])
                if state == "terminated":
                    more["ended"] = {"ago": 1, "by": self.chance.choice(["device", "server"]), "status": 200}
                agent.records.append(record(side, state, **more))

    def take_over(self) -> None:
        """The other server takes over in the middle of it."""
        fixture = self.fixture
        for agent in (fixture.gw1, fixture.gw2):
            if agent.connected:
                del fixture.bench.agents[agent.flow]
            self.fill(agent)
        fixture.die()
        fixture.succeed()
        self.trunk = Peer(fixture.bench, "trunk2", port=5080)

    def finish(self) -> None:
        """All agents are there, nobody says anything any more but that it has no calls."""
        bench = self.fixture.bench
        for agent in (self.fixture.gw1, self.fixture.gw2):
            agent.records = []
            if agent.connected:
                agent.disconnect()
        bench.after(40)
        for agent in (self.fixture.gw1, self.fixture.gw2):
            agent.connect()
        for _ in range(3):
            bench.after(100)
        for call in list(bench.core.calls.values()):
            call.bridge.release("SIP;cause=480", bench.now)
        bench.pump()
        bench.after(400)
        sizes = bench.stack_sizes
        assert sizes.pop("deadlines") <= 40 and sizes.pop("legs") <= 2, sizes
        assert set(sizes.values()) == {0}, sizes
        assert bench.cdrs


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_raised_and_nothing_is_left(seed: int) -> None:
    disorder = Disorder(seed)
    for _ in range(120):
        disorder.step()
    disorder.finish()


@pytest.mark.parametrize("seed", range(20))
def test_the_same_with_a_takeover_in_between(seed: int) -> None:
    disorder = Disorder(1000 + seed)
    for _ in range(60):
        disorder.step()
    disorder.take_over()
    for _ in range(60):
        disorder.step()
    disorder.finish()
