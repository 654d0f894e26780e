"""A server with two trunks of its own, and a device at each: the smallest site with calls."""

from __future__ import annotations

from tests.b2bua.fake import SDP, Bench, Peer, Side, site_of

OWN = """
[site]
name = "paris"
key = { env = "KEY" }
[servers.m1]
sip = ["udp:127.0.0.1:5060"]
capacity = 4
reserve = 0.25
[lines.in]
kind = "trunk"
peer = "sip:127.0.0.1:5090"
from = ["127.0.0.1:5090"]
channels = 100
[lines.out]
kind = "trunk"
peer = "sip:127.0.0.1:5080"
from = ["127.0.0.1:5080"]
channels = 100
[[routes]]
match = "*"
to = ["out"]
ring = 60
"""
SITE = site_of(OWN)


class TrunkFixture:
    """A caller's device, a callee's device and the server between them."""

    def __init__(self, text: str = OWN) -> None:
        self.bench = Bench(SITE if text == OWN else site_of(text)).serve()
        self.left = Peer(self.bench, "left", port=5090)
        self.right = Peer(self.bench, "right", port=5080)

    def ring(self, body: bytes = SDP, lines: tuple[str, ...] = ()) -> tuple[Side, Side]:
        a = self.left.call("1001", body, lines)
        b = self.right.called
        b.ring()
        assert a.statuses == [100, 180]
        return a, b

    def talk(self, body: bytes = SDP) -> tuple[Side, Side]:
        a, b = self.ring(body)
        b.accept()
        assert a.statuses == [200]
        b.take("INVITE")
        a.ack()
        b.take("ACK")
        self.bench.after(0.02)  # over UDP a re-INVITE keeps its distance from the ACK before it
        return a, b

    def hang_up(self, by: Side, other: Side) -> None:
        by.say("BYE")
        other.answer(other.take("BYE"), 200)
        assert by.statuses == [200]

    def nothing_left(self) -> None:
        self.bench.after(200)
        sizes = self.bench.stack_sizes
        assert sizes.pop("deadlines") <= 2  # names are asked for again, agents waited for
        assert set(sizes.values()) == {0}, sizes
