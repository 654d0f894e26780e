"""Offers that cross the agent: refused ones roll back on both sides, refreshes say what is agreed."""

from __future__ import annotations

import pytest

from gateway_agent.media.ports import Pair, RelayPorts
from gateway_agent.media_relay import AgentRelay
from sip.wire.message import Request
from tests.gateway_agent.agent_fixture import CARRIER, SDP, SITE, AgentFixture
from tests.gateway_agent.test_media_timeout import Relayed

TYPE = ["Content-Type: application/sdp"]
TIMER = "session_timer = { expires = %d, min_se = 90 }"
FAX = SDP.replace(b"m=audio 4000 RTP/AVP 0", b"m=image 4000 udptl t38")
HOLD = SDP.replace(b"sendrecv", b"sendonly")


def refused(fixture: AgentFixture, body: bytes, status: int = 488) -> Request:
    """The far side asks the called device for a change; the device refuses. Its first INVITE."""
    invite, ok = fixture.answered_out()
    fixture.m1.request(
        "INVITE", "sip:gw1", body=body, call_id="s-1", to_tag=ok.to_tag, cseq=2, origin="gw2;z9hG4bKt;1"
    )
    fixture.reply(fixture.take("INVITE"), status)
    fixture.m1.take(100)
    fixture.m1.take(status)
    fixture.take("ACK")
    return invite


def from_callee(fixture: AgentFixture, invite: Request, lines: list[str], body: bytes) -> None:
    fixture.request(
        "INVITE", "sip:x@127.0.0.11", lines, body, call_id=invite.call_id, from_tag="devtag", to_tag=invite.from_tag,
        sender=invite.to_untagged, recipient=invite.from_untagged,
    )  # fmt: skip


@pytest.mark.parametrize("body", [FAX, HOLD])
def test_a_refresh_after_a_refused_offer_offers_what_is_agreed(body: bytes) -> None:
    fixture = AgentFixture(TIMER % 100)
    refused(fixture, body)
    fixture.run(51)
    assert fixture.take("INVITE").body == SDP


@pytest.mark.parametrize("body", [FAX, HOLD])
def test_a_device_s_refresh_after_its_refusal_is_answered_with_what_is_agreed(body: bytes) -> None:
    fixture = AgentFixture(TIMER % 1800)
    invite = refused(fixture, body, 491)
    from_callee(fixture, invite, ["Supported: timer", "Session-Expires: 1800;refresher=uac"], SDP)
    assert fixture.take(200).body == SDP and not fixture.m1.inbox


def test_an_offer_that_the_far_side_refuses_is_no_part_of_the_session() -> None:
    fixture = AgentFixture(TIMER % 1800)
    fixture.answered_in()
    fixture.request("INVITE", to_tag="srvtag", cseq=2, body=FAX)
    fixture.take(100)
    fixture.m1.reply(fixture.m1.take("INVITE"), 488)
    fixture.m1.take("ACK")
    fixture.take(488)
    [call] = fixture.core.calls.values()
    assert call.description.device.remote == SDP and call.description.held == "none"
    fixture.request("ACK", to_tag="srvtag", cseq=2)
    fixture.request("INVITE", lines=["Supported: timer"], to_tag="srvtag", cseq=3, body=SDP)
    fixture.take(200)  # of a refresh no server hears
    assert not fixture.m1.inbox


def test_a_description_in_an_info_is_nobody_s_offer() -> None:
    fixture = AgentFixture(TIMER % 1800)
    _, ok = fixture.answered_out()
    body = HOLD.replace(b"o=- 1 1", b"o=x 7 7")
    fixture.m1.request(
        "INFO", "sip:gw1", TYPE, body, call_id="s-1", to_tag=ok.to_tag, cseq=2, origin="gw2;z9hG4bKt;1"
    )
    assert fixture.take("INFO").body == body
    [call] = fixture.core.calls.values()
    assert call.description.server.last_remote == SDP


def test_a_refused_offer_leads_media_where_it_went_before() -> None:
    call = Relayed()
    fixture = call.fixture
    moved = SDP.replace(b"m=audio 4000", b"m=audio 4444")
    fixture.m1.request(
        "INVITE", "sip:gw1", body=moved, call_id=call.invite.call_id, from_tag="srvtag", to_tag=call.invite.from_tag,
        origin="gw2;z9hG4bKt;1",
    )  # fmt: skip
    asked = fixture.take("INVITE")
    ports = [remote[1] for _, remote, *_ in call.said("remote")]
    fixture.reply(asked, 488)
    assert ports == [4444] and [remote[1] for _, remote, *_ in call.said("remote")] == [4000, 4000]


MSRP = SDP.replace(b"m=audio 4000 RTP/AVP 0", b"m=message 2855 TCP/MSRP *")


def relayed_bed() -> AgentFixture:
    """A trunk that is relayed, and a relay with ports."""
    ports = RelayPorts()
    ports.receive('{"is": "ready"}')
    ports.offer(Pair("127.0.0.11", port) for port in range(20000, 20040, 2))
    return AgentFixture(text=SITE.replace("%s", 'media = "relay"\n%s'), relay=AgentRelay(ports, "127.0.0.11"))


def test_an_offer_of_which_nothing_can_be_relayed_is_refused_with_488() -> None:
    fixture = relayed_bed()
    fixture.request("INVITE", body=MSRP)
    fixture.take(100)
    fixture.take(488)
    assert not fixture.core.calls and not fixture.m1.inbox
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=MSRP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    fixture.m1.take(488)
    assert not fixture.core.calls and not any(isinstance(one, Request) for one in fixture.inbox[CARRIER])
    assert fixture.core.relays["relay"].ports.in_use == 0
    assert fixture.core.lines["trunk1"].busy == 0


def test_a_description_that_was_cut_off_before_its_media_crosses() -> None:
    fixture = relayed_bed()
    fixture.request("INVITE", body=SDP[:20])
    fixture.take(100)
    assert fixture.m1.take("INVITE").body == SDP[:20]


def test_a_change_to_what_cannot_be_relayed_is_refused_and_the_call_stands() -> None:
    fixture = relayed_bed()
    invite, _ = fixture.answered_in()
    fixture.request("INVITE", body=MSRP, to_tag="srvtag", cseq=2)
    fixture.take(100)
    fixture.take(488)
    fixture.m1.request(
        "INVITE",
        "sip:gw1",
        body=MSRP,
        call_id=invite.call_id,
        from_tag="srvtag",
        to_tag=invite.from_tag,
        origin="gw2;z9hG4bKt;1",
    )
    fixture.m1.take(100)
    fixture.m1.take(488)
    fixture.request("INVITE", body=SDP, to_tag="srvtag", cseq=3)
    fixture.take(100)
    assert b"c=IN IP4 127.0.0.11" in fixture.m1.take("INVITE").body


def test_an_answer_that_cannot_be_relayed_gets_ack_and_bye_and_the_caller_488() -> None:
    fixture = relayed_bed()
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 200, TYPE, SDP.replace(b"IP4 127.0.0.21", b"IP6 ::1"))
    fixture.take("ACK")
    bye = fixture.take("BYE")
    fixture.reply(bye, 200)
    fixture.m1.take(488)
    assert not fixture.core.calls
