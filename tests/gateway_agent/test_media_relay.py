"""Media by rtpengine in a call's descriptions: whose ports are told to whom, and what rtpengine is told."""

from __future__ import annotations

import pytest

from gateway_agent.media_anchor import MediaAnchor
from gateway_agent.media_relay import EngineRelay
from sip.rate_limited_logger import RateLimitedLogger
from sip.wire.sdp import SdpError
from tests.gateway_agent.engines import Daemon, Site, described

OFFER = b"v=0\r\no=- 1 1 IN IP4 192.0.2.5\r\ns=-\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
ANSWER = OFFER.replace(b"192.0.2.5", b"192.0.2.6").replace(b"4000", b"5000")


def anchor_of(relay: EngineRelay, behind_nat: bool = False) -> MediaAnchor:
    return MediaAnchor(relay, 7, behind_nat, RateLimitedLogger(), 0.0)


def test_each_side_is_told_the_ports_towards_it() -> None:
    site = Site()
    relay = EngineRelay(site.sessions)
    anchor = anchor_of(relay)
    offered = anchor.from_device(OFFER + b"a=sendonly\r\n", "192.0.2.5", 0.0).decode()
    answered = anchor.from_server(ANSWER + b"a=recvonly\r\n", 0.0).decode()
    ((here, there),) = anchor.export(0.0).pairs  # type: ignore[union-attr]
    assert f"m=audio {there.port} " in offered and f"m=audio {here.port} " in answered
    assert "c=IN IP4 198.51.100.1" in offered and "c=IN IP4 198.51.100.1" in answered
    assert relay.owners == {here: 7, there: 7}
    site.pump()
    call = next(one for one in site.daemons[0].calls.values() if one["ports"]["here"] == here.port)
    assert described(call["sdp"]["here"]) == ["192.0.2.5", "audio 4000", "sendonly"]
    assert described(call["sdp"]["there"]) == ["192.0.2.6", "audio 5000", "recvonly"]
    anchor.release()
    assert not relay.owners and not site.sessions.in_use


def test_a_call_goes_on_with_its_session_after_a_restart_of_the_agent() -> None:
    site = Site()
    anchor = anchor_of(EngineRelay(site.sessions))
    anchor.from_device(OFFER, "192.0.2.5", 0.0)
    anchor.from_server(ANSWER, 0.0)
    site.pump()
    known = anchor.export(0.0)
    assert known is not None and known.cookies == (site.sessions.cookie(known.pairs[0][0]),)
    site.begin()
    again = anchor_of(EngineRelay(site.sessions))
    again.resume(known, 0.0)
    site.run(0.5)
    site.sessions.audit()
    site.run(0.5)
    told = again.from_device(OFFER.replace(b"4000", b"4010"), "192.0.2.5", 1.0).decode()
    assert f"m=audio {known.pairs[0][1].port} " in told
    site.pump()
    assert any("m=audio 4010 " in call["sdp"]["here"] for call in site.daemons[0].calls.values())
    assert not site.troubles()


def test_a_device_that_is_called_on_ipv6_gets_a_session_with_it() -> None:
    site = Site(Daemon("198.51.100.1", "2001:db8::61"), ahead=4)
    relay = EngineRelay(site.sessions)
    anchor = anchor_of(relay)
    assert anchor.reserve() == ""
    anchor.device_at("2001:db8::5")
    told = anchor.from_server(ANSWER, 0.0).decode()
    assert "c=IN IP6 2001:db8::61" in told
    assert site.sessions.in_use == 2 and len(relay.owners) == 2, "the first session was given back"


def test_a_call_is_refused_where_no_daemon_has_a_session() -> None:
    site = Site()
    site.sessions.refused(0, site.now)
    anchor = anchor_of(EngineRelay(site.sessions))
    assert anchor.reserve() == "no rtpengine answers at 198.51.100.1:2223"
    with pytest.raises(SdpError, match="no rtpengine answers"):
        anchor.from_device(OFFER, "192.0.2.5", 0.0)


def test_the_media_gateway_beside_is_told_the_ports_towards_the_servers() -> None:
    site = Site()
    anchor = anchor_of(EngineRelay(site.sessions))
    anchor.from_device(OFFER, "192.0.2.5", 0.0, to_gateway=True)
    ((_, there),) = anchor.export(0.0).pairs  # type: ignore[union-attr]
    assert f"m=audio {there.port} " in anchor.to_gateway(OFFER).decode()
    assert "c=IN IP4 198.51.100.1" in anchor.to_gateway(OFFER).decode()
