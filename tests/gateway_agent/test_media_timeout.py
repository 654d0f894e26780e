"""Dead media: shown, and the call ended where the line says so; not on hold, not while another stream lives."""

from __future__ import annotations

import json
from typing import Any

from gateway_agent.media.ports import Count, Counts, Notice, Pair, RelayPorts, Silent, Total
from gateway_agent.media_relay import AgentRelay
from tests.consoles import seen
from tests.gateway_agent.agent_fixture import SDP, SITE, AgentFixture

HOST = "127.0.0.11"
VIDEO = SDP + b"m=video 4002 RTP/AVP 31\r\na=sendrecv\r\n"


class Relayed:
    """An answered call through a relay that is played by hand."""

    def __init__(self, timeout: int = 30, body: bytes = SDP, ready: str = '{"is":"ready"}') -> None:
        self.ports = RelayPorts()
        self.ports.receive(ready)
        self.ports.offer(Pair(HOST, port) for port in range(20000, 20040, 2))
        more = f'media = "relay"\nmedia_timeout = {timeout}\n%s'
        self.fixture = AgentFixture(text=SITE.replace("%s", more), relay=AgentRelay(self.ports, HOST))
        fixture = self.fixture
        fixture.request("INVITE", lines=["Content-Type: application/sdp"], body=body)
        fixture.take(100)
        self.invite = fixture.m1.take("INVITE")
        fixture.m1.reply(self.invite, 200, body=body, lines=["Content-Type: application/sdp"])
        fixture.take(200)
        fixture.request("ACK", to_tag="srvtag", cseq=1)
        fixture.m1.take("ACK")
        self.said()

    def said(self, what: str = "") -> list[list[Any]]:
        """What the relay was told since the last time."""
        commands = [json.loads(line) for line in self.ports.to_send()]
        return [list(command.values())[1:] for command in commands if command["do"] == what]

    def hear(self, notice: Notice) -> None:
        self.fixture.core.relay_said(notice, self.fixture.now)
        self.fixture.pump()

    def counts(self, *spans: float | None) -> None:
        """So long ago came the last packet of each of the pairs in use."""
        pairs = [Pair(HOST, 20000 + 2 * index) for index in range(len(spans))]
        self.hear(Counts(tuple(Count(pair, 5, 860, 0, span) for pair, span in zip(pairs, spans, strict=True))))

    def silent(self, first: int = 20000) -> list[list[Any]]:
        self.hear(Silent((Pair(HOST, first), Pair(HOST, first + 2)), 30.0))
        return self.said("count")

    @property
    def page(self) -> Any:
        return seen(self.fixture.core, "calls", {}, self.fixture.now)["calls"][0]

    @property
    def status(self) -> Any:
        return seen(self.fixture.core, "status", {}, self.fixture.now)["relay"]


A, B = [HOST, 20000], [HOST, 20002]


def test_a_call_without_media_is_ended_on_both_sides() -> None:
    call = Relayed()
    call.fixture.run(31)
    assert call.silent() == [[[A, B]]]
    assert call.fixture.silent()
    call.counts(31.0, 30.5)
    reason = 'SIP;cause=408;text="No media for 30 s"'
    assert call.fixture.take("BYE").get("reason") == reason == call.fixture.m1.take("BYE").get("reason")
    assert not call.ports.in_use and call.fixture.core.counters["media timeout"] == 1


def test_one_that_never_had_media_is_ended_and_one_that_has_it_is_not() -> None:
    call = Relayed()
    call.fixture.run(31)
    call.silent()
    call.counts(None, 0.02)
    assert call.fixture.silent() and call.said("watch") == [[A, None], [A, 30.0]]
    other = Relayed()
    other.fixture.run(31)
    other.silent()
    other.counts(None, None)
    other.fixture.take("BYE")


def test_a_call_on_hold_is_not_ended_and_has_its_time_again_afterwards() -> None:
    call = Relayed()
    call.fixture.run(40)
    for word, cseq, at in (("sendonly", 2, 31.0), ("sendrecv", 3, 20.0)):
        held = SDP.replace(b"sendrecv", word.encode()).replace(b"- 1 1", b"- 1 %d" % cseq)
        call.fixture.request("INVITE", to_tag="srvtag", cseq=cseq, body=held, lines=["Content-Type: application/sdp"])
        call.fixture.take(100)
        call.fixture.m1.reply(call.fixture.m1.take("INVITE"), 200, body=SDP, lines=["Content-Type: application/sdp"])
        call.fixture.take(200)
        call.fixture.request("ACK", to_tag="srvtag", cseq=cseq)
        call.fixture.m1.take("ACK")
        call.fixture.run(at)
        call.silent()
        call.counts(100.0, 100.0)
        assert call.fixture.silent() and len(call.fixture.core.calls) == 1
    call.fixture.run(11)
    call.counts(111.0, 111.0)  # the relay counts all pairs from time to time
    call.fixture.take("BYE")


def test_one_stream_that_lives_is_enough() -> None:
    call = Relayed(body=VIDEO)
    call.fixture.run(31)
    assert call.silent() == [[[A, B, [HOST, 20004], [HOST, 20006]]]]
    call.counts(31.0, 31.0, 0.02, None)
    assert call.fixture.silent()
    call.fixture.run(31)
    call.counts(62.0, 62.0)  # a part of the call says nothing of the rest
    assert call.fixture.silent()
    call.counts(62.0, 62.0, 31.0, None)
    call.fixture.take("BYE")


def test_without_a_timeout_it_is_shown_only() -> None:
    call = Relayed(timeout=0)
    assert not call.said("watch")
    call.fixture.run(45)
    call.counts(45.0, None)
    assert call.fixture.silent()
    assert call.page["silent_s"] == 45.0 and call.status["silent"] == 1
    call.counts(0.5, None)
    assert call.page["silent_s"] == 0.5 and call.status["silent"] == 0


def test_sums_outlive_streams_and_processes() -> None:
    call = Relayed()
    call.ports.receive('{"is":"total","packets":10,"octets":1720,"dropped":3}')
    assert (call.status["packets"], call.status["size"], call.status["dropped"]) == (10, 1720, 3)
    call.ports.lost()
    call.ports.receive('{"is":"ready"}')
    call.ports.receive('{"is":"total","packets":5,"octets":860,"dropped":0}')
    assert call.ports.total == Total(15, 2580, 3)


def test_a_notice_of_a_call_that_is_over_is_passed_over() -> None:
    call = Relayed()
    call.fixture.request("BYE", to_tag="srvtag", cseq=2)
    call.fixture.take(200)
    assert not call.silent()
    call.counts(31.0, 31.0)
    relay = call.fixture.core.relays["relay"]
    assert relay is not None and not relay.owners


def test_a_call_that_changed_to_fax_is_not_dead() -> None:
    call = Relayed()
    fixture = call.fixture
    fixture.run(5)
    fax = SDP.replace(b"m=audio 4000 RTP/AVP 0", b"m=image 4002 udptl t38").replace(b"- 1 1", b"- 1 2")
    fixture.request("INVITE", to_tag="srvtag", cseq=2, body=fax)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    assert b"m=image 20002 udptl" in invite.body
    fixture.m1.reply(invite, 200, body=fax, lines=["Content-Type: application/sdp"])
    assert b"m=image 20000 udptl" in fixture.take(200).body
    fixture.request("ACK", to_tag="srvtag", cseq=2)
    fixture.m1.take("ACK")
    fixture.run(31)
    call.silent()
    call.counts(36.0, 36.0)
    assert fixture.silent() and len(fixture.core.calls) == 1
