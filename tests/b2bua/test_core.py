"""The core: who is believed, what is answered outside of calls, and a reload."""

from __future__ import annotations

import pytest

from sip.actions import Flow
from sip.wire.message import Response
from tests.b2bua.fake import Peer, site_of
from tests.b2bua.fake_agent import AGENTS, FakeAgent, ServerFixture


def test_a_connection_that_has_not_proved_itself_gets_403_and_is_closed() -> None:
    fixture = ServerFixture()
    bench = fixture.bench
    flow = Flow("tcp", "127.0.0.1:5161#9", ("127.0.0.66", 6))
    stranger = Peer(bench, "stranger", "127.0.0.66", 6)
    stranger.flow = flow
    bench.core.flow_changed(flow, "open", bench.now)
    stranger.transport = "TCP"
    side = stranger.call("1002", lines=("Line: alice",))  # and its ACK
    assert side.statuses == [403] and flow not in bench.closed
    assert stranger.call("1002").statuses == [403]
    assert flow in bench.closed and not bench.core.calls


def test_the_wrong_key_is_turned_away_at_the_opening() -> None:
    fixture = ServerFixture()
    bench = fixture.bench
    bad = FakeAgent(bench, "gw1", "alice", port=47000)
    bad.keys = (b"another key, 16+",)
    with pytest.raises(AssertionError):
        bad.connect()
    assert not bad.connected and bad.flow in bench.closed
    assert bench.core.agents.connections["gw1"].flow == fixture.gw1.flow
    assert bench.core.stack.counters["refused openings"] == 1


def test_options_and_methods_outside_dialogs() -> None:
    fixture = ServerFixture()
    bench = fixture.bench
    trunk = Peer(bench, "trunk", port=5080)
    text = (
        "OPTIONS sip:m1 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bK{0}\nFrom: <sip:x@y>;tag=1\n"
        "To: <sip:m1>\nCall-ID: o{0}\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n"
    )
    trunk.send(text.format(1))
    bench.core.leave(bench.now)
    bench.pump()
    trunk.send(text.format(2))
    answers = [each for each in trunk.others if isinstance(each, Response)]
    assert [each.status for each in answers] == [200, 503] and answers[1].get("retry-after") == "2"
    assert answers[0].get("allow") == "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, PRACK, UPDATE"
    a = trunk.call("1002")
    assert a.statuses == [503]


def test_the_address_for_beats_tells_a_stranger_nothing_of_who_leads() -> None:
    bench = ServerFixture().bench
    stranger = Peer(bench, "stranger", "127.0.0.66", 6)
    stranger.flow = Flow("udp", bench.core.beats.local, ("127.0.0.66", 6))
    text = (
        "OPTIONS sip:m1 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.66:6;branch=z9hG4bK{0}\nFrom: <sip:x@y>;tag=1\n"
        "To: <sip:m1>\nCall-ID: o{0}\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n"
    )
    stranger.send(text.format(1))
    bench.core.leave(bench.now)
    bench.pump()
    stranger.send(text.format(2))
    leads, stands_by = [each for each in stranger.others if isinstance(each, Response)]
    assert leads.status == stands_by.status == 200 and stands_by.names == leads.names


def test_a_reload_keeps_calls_and_takes_new_lines() -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    more = AGENTS.replace('numbers = ["1003"]', 'numbers = ["1003", "1005"]')
    fixture.bench.core.reload(site_of(more), fixture.bench.now)
    fixture.bench.pump()
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    assert a.statuses == [200]
    fixture.gw1.call("1005")
    assert fixture.gw2.called.take("INVITE").uri.endswith("line=carol")
