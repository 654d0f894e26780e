"""Session-ID (RFC 7989) made for devices that say none."""

from __future__ import annotations

from sip.device.session_id import NIL
from tests.gateway_agent.agent_fixture import SDP, AgentFixture

MAKES = "session_id = true"
FAR, OTHER = "ab" * 16, "cd" * 16


def halves(value: str | None) -> tuple[str, str]:
    own, _, far = (value or "").partition(";remote=")
    return own, far


def test_nothing_is_made_where_nobody_asked_for_it() -> None:
    fixture = AgentFixture()
    invite, _ = fixture.answered_in()
    assert invite.get("session-id") is None


def test_a_call_of_the_device_has_one_and_learns_the_other_half() -> None:
    fixture = AgentFixture(MAKES)
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    own, far = halves(invite.get("session-id"))
    assert len(own) == 32 and own != NIL and far == NIL
    lines = ["Content-Type: application/sdp", f"Session-ID: {FAR};remote={own}"]
    fixture.m1.reply(invite, 200, lines, SDP)
    assert fixture.take(200).get("session-id") == f"{FAR};remote={own}"
    fixture.request("ACK", to_tag="srvtag")
    assert halves(fixture.m1.take("ACK").get("session-id")) == (own, FAR)
    fixture.request("INFO", to_tag="srvtag", cseq=2)
    assert halves(fixture.m1.take("INFO").get("session-id")) == (own, FAR)


def test_a_device_that_is_called_answers_with_one() -> None:
    fixture = AgentFixture(MAKES)
    lines = [f"Session-ID: {FAR};remote={NIL}"]
    fixture.m1.request("INVITE", "sip:+33166@gw1;line=trunk1", lines, SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    assert invite.get("session-id") == f"{FAR};remote={NIL}"
    fixture.reply(invite, 180)
    own, far = halves(fixture.m1.take(180).get("session-id"))
    assert own not in (NIL, FAR) and far == FAR
    fixture.reply(invite, 486)
    assert halves(fixture.m1.take(486).get("session-id")) == (own, FAR)


def test_what_a_device_says_itself_is_left_as_it_is() -> None:
    fixture = AgentFixture(MAKES)
    fixture.request("INVITE", lines=[f"Session-ID: {OTHER};remote={NIL}"], body=SDP)
    fixture.take(100)
    assert fixture.m1.take("INVITE").all("session-id") == [f"{OTHER};remote={NIL}"]


def test_a_half_that_is_none_teaches_nothing() -> None:
    fixture = AgentFixture(MAKES)
    fixture.m1.request(
        "INVITE", "sip:+33166@gw1;line=trunk1", ["Session-ID: x"], SDP, call_id="s-1", origin="gw2;z9hG4bKo;1"
    )
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 180)
    assert halves(fixture.m1.take(180).get("session-id"))[1] == NIL
