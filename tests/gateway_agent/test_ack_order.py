"""A re-INVITE keeps behind the ACK of the INVITE before it, wherever that is (RFC 3261 section 14.1)."""

from __future__ import annotations

import pytest

from tests.gateway_agent.agent_fixture import SDP, AgentFixture

TYPE = ["Content-Type: application/sdp"]
HOLD = SDP.replace(b"sendrecv", b"sendonly")


def called_out(fixture: AgentFixture) -> str:
    """A server's call that the device has answered and nobody acknowledged: the To-tag."""
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", body=SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 200, TYPE, SDP)
    tag: str = fixture.m1.take(200).to_tag
    return tag


def change(fixture: AgentFixture, tag: str) -> str:
    branch = fixture.m1.request("INVITE", "sip:gw1", body=HOLD, call_id="s-1", to_tag=tag, cseq=2, origin="gw2;r;1")
    fixture.m1.take(100)
    return branch


def test_an_invite_of_a_server_whose_ack_was_lost_with_its_connection_waits_for_it() -> None:
    fixture = AgentFixture()
    tag = called_out(fixture)
    change(fixture, tag)
    fixture.run(0.2)
    assert fixture.silent()
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=tag, cseq=1)
    fixture.take("ACK")
    assert fixture.silent()
    fixture.run(0.1)
    fixture.reply(fixture.take("INVITE"), 200, TYPE, SDP)
    fixture.m1.take(200)


def test_it_goes_on_behind_the_ack_that_the_agent_gives_alone() -> None:
    fixture = AgentFixture()
    tag = called_out(fixture)
    change(fixture, tag)
    fixture.run(17)
    fixture.take("ACK")
    fixture.take("INVITE")


@pytest.mark.parametrize("ends", ["CANCEL", "BYE"])
def test_what_a_server_gives_up_as_it_waits_never_reaches_the_device(ends: str) -> None:
    fixture = AgentFixture()
    tag = called_out(fixture)
    branch = change(fixture, tag)
    if ends == "CANCEL":
        fixture.m1.request("CANCEL", "sip:gw1", branch=branch, call_id="s-1", to_tag=tag, cseq=2)
        fixture.m1.take(200)
        fixture.m1.take(487)
        fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag=tag, cseq=1)
    else:
        fixture.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag=tag, cseq=3)
        fixture.m1.take(487)
    fixture.take("ACK")
    fixture.run(0.1)
    if ends == "BYE":
        fixture.reply(fixture.take("BYE"), 200)
        fixture.m1.take(200)
    fixture.run(1)
    assert fixture.silent() and len(fixture.core.calls) == (ends == "CANCEL")


def test_an_invite_of_the_device_whose_ack_was_lost_waits_for_it() -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=TYPE)
    fixture.take(200)
    fixture.request("INVITE", body=HOLD, to_tag="srvtag", cseq=2)
    fixture.take(100)
    fixture.run(0.6)
    fixture.take(200)  # the answer again, as it was not acknowledged
    assert not fixture.m1.inbox
    fixture.request("ACK", to_tag="srvtag", cseq=1)
    fixture.m1.take("ACK")
    fixture.run(0.1)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=TYPE)
    fixture.take(200)


def test_a_device_may_give_up_what_waits_for_its_ack() -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    fixture.m1.reply(fixture.m1.take("INVITE"), 200, body=SDP, lines=TYPE)
    fixture.take(200)
    branch = fixture.request("INVITE", body=HOLD, to_tag="srvtag", cseq=2)
    fixture.take(100)
    fixture.request("CANCEL", branch=branch, to_tag="srvtag", cseq=2)
    fixture.take(200)
    fixture.take(487)
    fixture.request("ACK", to_tag="srvtag", cseq=1)
    fixture.m1.take("ACK")
    fixture.run(0.3)
    assert not fixture.m1.inbox and len(fixture.core.calls) == 1
