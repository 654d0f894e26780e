"""A takeover by hand: a main server whose death is followed by the stand-by, and what its agents tell."""

from __future__ import annotations

from typing import Any

from tests.b2bua.fake import KEY, Bench, Side
from tests.b2bua.fake_agent import ServerFixture, kept, record, text_of

SITE_KEY = KEY.encode()


class TakeoverFixture(ServerFixture):
    """A main server whose death is followed by the stand-by."""

    def standing(self, **more: Any) -> tuple[Side, Side]:
        """A talking call of which both agents tell."""
        a, b = self.talk()
        self.gw1.records.append(record(a, age={"answer": 5}, **more))
        self.gw2.records.append(record(b, age={"answer": 5}))
        return a, b

    def ringing(self, cancelled: bool = False) -> tuple[Side, Side]:
        """A ringing call of which both agents tell."""
        a = self.gw1.call("1002")
        b = self.gw2.called
        b.ring()
        assert a.statuses == [100, 180]
        self.gw1.records.append(record(a, "early", sent=[kept(a.sent, cancelled)]))
        self.gw2.records.append(self.attempt(b))
        return a, b

    @staticmethod
    def attempt(b: Side, state: str = "early") -> dict[str, Any]:
        """The record of an INVITE that rings at its agent."""
        invite = b.take("INVITE")
        origin = invite.get("call-origin")
        received = [{"request": text_of(invite), "origin": origin, "cancelled": False}]
        return record(b, state, local_tag=invite.from_tag, origin=origin, received=received)

    def in_order(self, order: str) -> Bench:
        """The stand-by takes over and gets the lists ``caller first``, ``caller last`` or ``together``."""
        self.gw1.silent = self.gw2.silent = order != "together"
        bench = self.succeed()
        if order != "together":
            agents = [self.gw1, self.gw2]
            for agent in agents if order == "caller first" else reversed(agents):
                agent.notify()
                bench.after(0.05)
        bench.after(0.05)
        return bench

    def gone(self) -> None:
        """Nothing is left, some time later."""
        self.bench.after(400)
        sizes = self.bench.stack_sizes
        assert sizes.pop("deadlines") <= 5 and sizes.pop("legs") <= 2, sizes  # the two subscriptions
        assert set(sizes.values()) == {0}, sizes


def origin(side: Side) -> str:
    assert side.sent is not None
    return f"{side.peer.name};{side.sent.branch};1"


def answered() -> tuple[TakeoverFixture, Side, Side]:
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1002", b"")
    b = fixture.gw2.called
    b.accept()
    assert a.statuses == [100, 200]
    b.take("INVITE")
    return fixture, a, b


def ended(side: Side, **fact: Any) -> dict[str, Any]:
    return record(side, "terminated", ended={"ago": 2.0, **fact})
