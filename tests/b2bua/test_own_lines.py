"""Lines that the servers own, by trunks: names, connections, OPTIONS to peers, sources."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from sip.location import Place
from sip.wire.message import Request, Response
from tests.b2bua.fake import Bench, Peer, site_of
from tests.b2bua.trunk_fixture import TrunkFixture
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


FIRST = "sip:first.example.net"
BOTH = [Place("udp", "127.0.0.1", 5081), Place("udp", "127.0.0.1", 5082)]


def bench(**names: list[Place]) -> Bench:
    """``first`` is what the name of the first peer stands for, ``second`` the second's."""
    known = {FIRST: names.get("first", []), "sip:second.example.net;transport=tcp": names.get("second", [])}
    return Bench(site_of(TEXT), names=known).serve()


def test_names_are_asked_for_at_start_and_again_and_an_empty_answer_changes_nothing() -> None:
    b = bench(first=[Place("udp", "127.0.0.1", 5081)])
    uri = FIRST
    left = Peer(b, "left", port=5090)
    peer = Peer(b, "peer", port=5081)
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
    b = bench(second=[Place("tcp", "127.0.0.1", 5083)])
    core = b.core
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
    b = bench(first=BOTH)
    first, second = Peer(b, "first", port=5081), Peer(b, "second", port=5082)
    left = Peer(b, "left", port=5090)
    a = left.call("1")
    if how == "503":
        first.called.accept(503, b"")
    else:
        b.after(4.1)
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
    b = bench(first=BOTH)
    first, second = Peer(b, "first", port=5081), Peer(b, "second", port=5082)
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
        assert bye.method == "BYE" and bye.get("reason") == 'Q.850;cause=31;text="Longest call"'
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
    assert b.core.own_lines.senders.line_of(Flow("udp", "127.0.0.1:5060", ("127.0.0.4", 1))) == ""


def test_a_reload_asks_for_new_names_and_keeps_known_addresses() -> None:
    b = bench(first=[Place("udp", "127.0.0.1", 5081)])
    core = b.core
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


def test_a_silent_address_is_remembered_and_what_it_still_says_is_ended() -> None:
    b = bench(first=BOTH)
    first, second = Peer(b, "first", port=5081), Peer(b, "second", port=5082)
    left = Peer(b, "left", port=5090)
    a = left.call("1")
    given_up = first.called
    b.after(4.1)
    second.called.accept()
    a.ack()
    assert a.statuses == [100, 200]
    given_up.ring()
    assert given_up.asked[-1].method == "CANCEL"
    given_up.accept()
    assert [one.method for one in given_up.asked[-2:]] == ["ACK", "BYE"]
    calls = len(first.sides)
    left.call("1")
    assert len(first.sides) == calls and len(second.sides) == 2  # the dead one is tried last for a while
    b.after(31)
    left.call("1")
    assert len(first.sides) == calls + 2  # also the second address was silent just now


def test_icmp_of_all_addresses_is_503() -> None:
    b = bench(first=BOTH)
    first, second = Peer(b, "first", port=5081), Peer(b, "second", port=5082)
    a = Peer(b, "left", port=5090).call("1")
    for peer in (first, second):
        assert peer.called.asked
        b.core.flow_changed(Flow("udp", "127.0.0.1:5060", ("127.0.0.1", peer.port)), "unreachable", b.now)
        b.pump()
    assert a.statuses == [100, 500] and not b.core.calls  # RFC 3261 section 16.7: a 503 is not passed on


def test_both_peers_are_probed_and_one_is_enough() -> None:
    text = TEXT.replace('peer = "sip:127.0.0.1:5085"', 'peer = ["sip:127.0.0.1:5087", "sip:127.0.0.1:5085"]')
    b = Bench(site_of(text))
    well = Probed(b, "well", port=5085)
    b.peers["127.0.0.1", 5085] = well
    well.flow = Flow("udp", "127.0.0.1:5060", ("127.0.0.1", 5085))
    dead = Peer(b, "dead", port=5087)
    b.serve()
    b.after(60)
    assert dead.others and not any("out of service" in each for each in b.decisions)
    Peer(b, "left", port=5090).call("2")
    assert well.called.asked and not dead.sides


def test_only_the_server_that_leads_is_registered() -> None:
    account = 'register = { registrar = "sip:127.0.0.1:5088", user = "u", password = { env = "KEY" } }'
    text = TEXT.replace("options = { interval = 10, misses = 2 }", account)
    b = Bench(site_of(text))
    registrar = Peer(b, "registrar", port=5088)
    registrar.flow = Flow("udp", "127.0.0.1:5060", ("127.0.0.1", 5088))
    b.serve()
    [request] = {one.cseq: one for one in registrar.others if isinstance(one, Request)}.values()
    assert request.method == "REGISTER" and request.get("contact") == "<sip:u@127.0.0.1:5060>"
    left, probed = Peer(b, "left", port=5090), Peer(b, "peer", port=5085)
    first = left.call("2")
    assert first.statuses == [100] and not probed.sides  # it waits for the registrar's first answer
    registrar.send(
        f"SIP/2.0 200 OK\nVia: {request.get('via')}\nFrom: {request.get('from')}\nTo: {request.get('to')};tag=x\n"
        f"Call-ID: {request.call_id}\nCSeq: {request.get('cseq')}\nContact: {request.get('contact')};expires=600\n"
        "Content-Length: 0\n\n"
    )
    probed.called.accept()
    assert first.statuses == [200]


def test_a_call_waits_four_seconds_for_a_registrar_that_is_silent() -> None:
    account = 'register = { registrar = "sip:127.0.0.1:5088", user = "u", password = { env = "KEY" } }'
    b = Bench(site_of(TEXT.replace("options = { interval = 10, misses = 2 }", account))).serve()
    left = Peer(b, "left", port=5090)
    call = left.call("2")
    b.after(3.9)
    assert call.statuses == [100]
    b.after(0.2)
    assert call.statuses == [500]  # a 503 would speak of ours (RFC 3261 section 16.7)
    assert any("probed is out of service" in each and "has not answered yet" in each for each in b.decisions)
    assert left.call("2").statuses[-1] == 503


def test_a_carrier_s_challenge_is_answered_here() -> None:
    account = 'register = { registrar = "sip:127.0.0.1:5088", user = "u", password = { env = "KEY" } }'
    b = Bench(site_of(TEXT.replace("options = { interval = 10, misses = 2 }", account)))
    registrar, peer = Peer(b, "registrar", port=5088), Peer(b, "peer", port=5085)
    b.serve()
    request = next(one for one in registrar.others if isinstance(one, Request))
    registrar.send(
        f"SIP/2.0 200 OK\nVia: {request.get('via')}\nFrom: {request.get('from')}\nTo: {request.get('to')};tag=x\n"
        f"Call-ID: {request.call_id}\nCSeq: {request.get('cseq')}\nContact: {request.get('contact')};expires=600\n"
        "Content-Length: 0\n\n"
    )
    a = Peer(b, "left", port=5090).call("2")
    first = peer.called.take("INVITE")
    assert "proxy-authorization" not in first
    peer.called.accept(407, b"", lines=('Proxy-Authenticate: Digest realm="c", nonce="n", qop="auth"',))
    assert peer.called.take("ACK")
    again = peer.called.take("INVITE")
    assert 'username="u"' in (again.get("proxy-authorization") or "") and again.cseq == first.cseq + 1
    assert (again.call_id, again.from_tag) == (first.call_id, first.from_tag)
    peer.called.accept()
    a.ack()
    assert a.statuses == [100, 200]
    assert "proxy-authorization" in peer.called.take("ACK")


def test_a_trunk_that_is_busied_out_refuses_calls_both_ways_and_keeps_what_it_has() -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    fixture.bench.core.own_lines.busy_out("in", True, fixture.bench.now)
    assert fixture.left.call("1002").statuses == [503]
    fixture.bench.core.own_lines.busy_out("in", False, fixture.bench.now)
    fixture.bench.core.own_lines.busy_out("out", True, fixture.bench.now)
    assert fixture.left.call("1003").statuses[-1] == 503
    fixture.hang_up(a, b)


def test_a_trunk_of_the_servers_own_is_tested_with_a_call() -> None:
    site = TrunkFixture()
    core, now = site.bench.core, site.bench.now
    order = core.line_tests.order({"line": "out", "call": "1001"}, now)
    site.bench.pump()
    asked = site.right.others.pop()
    assert isinstance(asked, Request) and (asked.method, asked.uri) == ("OPTIONS", "sip:127.0.0.1:5080")
    site.right.send(
        f"SIP/2.0 200 OK\nVia: {asked.get('via')}\nFrom: {asked.get('from')}\nTo: {asked.get('to')};tag=x\n"
        f"Call-ID: {asked.call_id}\nCSeq: {asked.get('cseq')}\nContent-Length: 0\n\n"
    )
    called = site.right.called
    invite = called.invite
    assert invite is not None and invite.uri == "sip:1001@127.0.0.1:5080" and b"m=audio 9" in invite.body
    called.ring()
    called.accept()
    called.take("INVITE")
    called.take("ACK")
    called.answer(called.take("BYE"), 200)
    trial = core.line_tests.view({"id": order.id})
    assert (trial.state, [step.name for step in trial.steps]) == ("done", ["names", "options", "call", "end"])
    assert not core.calls and not core.records.ended
