"""Trunks that the servers own: names, connections, OPTIONS to peers, sources."""

from __future__ import annotations

import pytest

from sip.actions import Flow, Resolve
from sip.location import Place
from sip.wire.message import Request, Response
from tests.b2bua.fake import Bench, Peer, site_of
from tests.consoles import seen

TEXT = """
[site]
name = "paris"
key = { env = "KEY" }
[servers.m1]
sip = ["udp:127.0.0.1:5060"]
[lines.in]
kind = "trunk"
peer = "sip:127.0.0.1:5090"
from = ["127.0.0.1:5090"]
channels = 10
[lines.named]
kind = "trunk"
peer = ["sip:first.example.net", "sip:second.example.net;transport=tcp"]
from = ["127.0.0.3"]
channels = 10
[lines.probed]
kind = "trunk"
peer = "sip:127.0.0.1:5085"
from = ["127.0.0.1:5085"]
channels = 10
options = { interval = 10, misses = 2 }
[[routes]]
match = "1*"
to = ["named"]
[[routes]]
match = "2*"
to = ["probed"]
"""


class Probed(Peer):
    """A peer that may answer OPTIONS."""

    status = 200

    def receive(self, data: bytes) -> None:
        super().receive(data)
        if self.others and isinstance(self.others[-1], Request) and self.status:
            request = self.others.pop()
            assert isinstance(request, Request) and request.method == "OPTIONS"
            self.send(
                f"SIP/2.0 {self.status} Said\nVia: {request.get('via')}\nFrom: {request.get('from')}\n"
                f"To: {request.get('to')};tag=x\nCall-ID: {request.call_id}\nCSeq: {request.get('cseq')}\n"
                "Content-Length: 0\n\n"
            )


def bench() -> Bench:
    return Bench(site_of(TEXT)).serve()


def test_names_are_asked_for_at_start_and_again_and_an_empty_answer_changes_nothing() -> None:
    b = bench()
    core = b.core
    uri = "sip:first.example.net"
    left = Peer(b, "left", port=5090)
    peer = Peer(b, "peer", port=5081)
    core.done(Resolve(uri), [Place("udp", "127.0.0.1", 5081)], b.now)
    left.call("1")
    invite = peer.called.take("INVITE")
    assert invite.uri == "sip:1@first.example.net"
    b.names[uri] = []
    b.after(61)
    left.call("1")
    assert peer.called.asked[-1].method == "INVITE"
    b.names[uri] = [Place("udp", "127.0.0.1", 5082)]
    other = Peer(b, "other", port=5082)
    b.after(61)
    left.call("1")
    assert other.called.asked


def test_a_peer_over_tcp_is_connected_ahead_and_after_a_loss() -> None:
    b = bench()
    core = b.core
    uri = "sip:second.example.net;transport=tcp"
    core.done(Resolve(uri), [Place("tcp", "127.0.0.1", 5083)], b.now)
    b.pump()
    [flow] = b.opened
    assert flow.transport == "tcp" and flow.remote == ("127.0.0.1", 5083)
    core.flow_changed(flow, "open", b.now)
    peer = Peer(b, "peer", port=5083)
    peer.transport, peer.flow = "TCP", flow
    left = Peer(b, "left", port=5090)
    a = left.call("1")
    invite = peer.called.take("INVITE")
    assert "SIP/2.0/TCP" in str(invite.get("via")) and ";transport=tcp" in str(invite.get("contact"))
    peer.called.accept()
    assert a.statuses == [100, 200]
    core.flow_changed(flow, "lost", b.now)
    left.call("1")
    assert len(b.opened) == 2 and b.opened[1] != flow


@pytest.mark.parametrize("how", ["silence", "503"])
def test_the_next_address_of_a_trunk_is_tried_when_the_first_cannot_be_reached(how: str) -> None:
    b = bench()
    first, second = Peer(b, "first", port=5081), Peer(b, "second", port=5082)
    targets = [Place("udp", "127.0.0.1", 5081), Place("udp", "127.0.0.1", 5082)]
    b.core.done(Resolve("sip:first.example.net"), targets, b.now)
    left = Peer(b, "left", port=5090)
    a = left.call("1")
    if how == "503":
        first.called.accept(503, b"")
    else:
        b.after(33)
    second.called.take("INVITE")
    assert a.statuses == [100] and b.core.lines.loads["named"].busy == 1
    if how == "503":
        second.called.accept(503, b"")
        assert a.statuses == [500] and b.core.lines.loads["named"].busy == 0
    else:
        second.called.accept()
        a.ack()
        assert a.statuses == [200]
    assert all(cdr.attempts == 1 for cdr in b.cdrs)


def test_a_refusal_or_a_phone_that_rings_too_long_is_no_reason_for_the_next_address() -> None:
    b = bench()
    first, second = Peer(b, "first", port=5081), Peer(b, "second", port=5082)
    targets = [Place("udp", "127.0.0.1", 5081), Place("udp", "127.0.0.1", 5082)]
    b.core.done(Resolve("sip:first.example.net"), targets, b.now)
    left = Peer(b, "left", port=5090)
    a = left.call("1")
    first.called.accept(486, b"")
    assert a.statuses == [100, 486]
    c = left.call("1")
    first.called.ring()
    b.after(181)
    first.called.accept(487, b"")
    assert c.statuses == [100, 180, 408] and not second.sides


def test_a_trunk_s_longest_call() -> None:
    b = Bench(site_of(TEXT.replace("misses = 2 }", "misses = 2 }\nlongest_call = 600"))).serve()
    peer = Peer(b, "peer", port=5085)
    left = Peer(b, "left", port=5090)
    a = left.call("2")
    peer.called.accept()
    a.ack()
    b.after(599)
    assert not a.asked
    b.after(2)
    for side in (a, peer.called):
        bye = side.asked[-1]
        assert bye.method == "BYE" and bye.get("reason") == 'SIP;cause=480;text="longest call"'
        side.answer(bye, 200)
    assert [(cdr.result, cdr.ended_by) for cdr in b.cdrs] == [("answered", "server")]


def test_without_an_address_a_trunk_takes_no_call() -> None:
    b = bench()
    left = Peer(b, "left", port=5090)
    assert left.call("1").statuses == [100, 500]
    assert "the callee" not in str(b.cdrs[0].reason)


def test_options_take_a_trunk_out_of_service_and_back() -> None:
    b = Bench(site_of(TEXT))
    peer = Probed(b, "peer", port=5085)
    b.peers["127.0.0.1", 5085] = peer
    peer.flow = Flow("udp", "127.0.0.1:5060", ("127.0.0.1", 5085))
    b.serve()
    left = Peer(b, "left", port=5090)
    b.after(60)
    assert left.call("2").statuses == [100] and peer.called.asked
    peer.status = 0
    b.after(120)
    assert any("probed is out of service" in each for each in b.decisions)
    refused = left.call("2")
    assert refused.heard[-1].status == 503 and refused.heard[-1].get("retry-after")
    [page] = seen(b.core, "lines", {"line": "probed"}, b.now)["lines"]
    assert page["state"] == "out of service"
    peer.status = 200
    b.after(60)
    assert any("probed is in service" in each for each in b.decisions)
    assert left.call("2").statuses == [100]


def test_requests_belong_to_the_trunk_of_their_source() -> None:
    b = bench()
    Peer(b, "probed", port=5085)
    for host, port, line in (("127.0.0.1", 5090, "in"), ("127.0.0.3", 9999, "named"), ("127.0.0.1", 5085, "probed")):
        caller = Peer(b, f"x{port}", host, port)
        caller.call("2")
        assert list(b.core.calls.values())[-1].state.caller_line == line
    assert b.core.trunks.line_of(Flow("udp", "127.0.0.1:5060", ("127.0.0.4", 1))) == ""


def test_a_reload_asks_for_new_names_and_keeps_known_addresses() -> None:
    b = bench()
    core = b.core
    core.done(Resolve("sip:first.example.net"), [Place("udp", "127.0.0.1", 5081)], b.now)
    peer = Peer(b, "peer", port=5081)
    left = Peer(b, "left", port=5090)
    b.names["sip:third.example.net"] = [Place("udp", "127.0.0.1", 5086)]
    third = Peer(b, "third", port=5086)
    core.reload(site_of(TEXT.replace("sip:127.0.0.1:5085", "sip:third.example.net")), b.now)
    b.pump()
    left.call("1")
    assert peer.called.asked
    left.call("2")
    assert third.called.asked
    b.after(200)
    heard = [each for each in third.others if isinstance(each, Request)]
    assert heard and not any(isinstance(each, Response) for each in third.others)
