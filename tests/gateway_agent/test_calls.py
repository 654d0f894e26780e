"""Calls through an agent: what crosses, what is answered here."""

import pytest

from sip.actions import Flow
from sip.wire.message import Request
from tests.gateway_agent.agent_fixture import CARRIER, SDP, AgentFixture, dialog_lines, message, response_to


def test_a_call_of_a_device_goes_to_the_server_and_back() -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", body=SDP, lines=["X-Odd :  1", "Line: evil", "Heartbeat: evil", "Call-State: evil"])
    assert fixture.take(100).to_tag == ""
    invite = fixture.m1.take("INVITE")
    assert invite.uri == "sip:+33166@m1"
    assert invite.all("line") == ["trunk1/1"]
    assert "X-Odd :  1" in invite.lines
    assert "heartbeat" not in invite
    assert "call-state" not in invite
    assert invite.body == SDP
    assert (invite.get("from") or "").startswith("<sip:+33155@paris>;tag=")
    fixture.m1.reply(invite, 100, ["Call-State: 1.1.c.p.m"])
    assert fixture.silent()
    fixture.m1.reply(invite, 180, tag="far")
    ringing = fixture.take(180)
    assert ringing.to_tag == "far"
    fixture.m1.reply(invite, 200, ["Content-Type: application/sdp", "Call-State: 1.2.c.p.m"], SDP, tag="far")
    ok = fixture.take(200)
    assert ok.to_tag == "far"
    assert ok.body == SDP
    assert "call-state" not in ok
    fixture.request("ACK", to_tag="far", cseq=1)
    ack = fixture.m1.take("ACK")
    assert ack.uri == "sip:m1;transport=tcp"
    [call] = fixture.core.calls.values()
    assert call.bridge.phase == "talking"
    assert call.server_side.token == "1.2.c.p.m"
    fixture.request("BYE", to_tag="far", cseq=2)
    fixture.take(200)
    bye = fixture.m1.take("BYE")
    fixture.m1.reply(bye, 200)
    assert not fixture.core.calls
    assert fixture.core.lines["trunk1"].busy == 0
    fixture.run(40)
    assert not fixture.core.stack.legs.keys() - {sub.key for sub in fixture.core.handover.subscriptions}


def test_a_call_of_a_server_goes_to_the_device_and_back() -> None:
    fixture = AgentFixture()
    uri = "sip:+33166@gw1;line=trunk1"
    fixture.m1.request("INVITE", uri, ["Call-State: 1.1.c.p.m"], SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    assert invite.uri == "sip:+33166@127.0.0.21:5060"
    assert not {"heartbeat", "call-state", "call-origin", "line"} & set(invite.names)
    fixture.reply(invite, 100)
    fixture.reply(invite, 180, tag="far")
    ringing = fixture.m1.take(180)
    assert ringing.to_tag == "far"
    assert ringing.get("line") == "trunk1/1"
    assert ringing.get("call-origin") == "gw2;z9hG4bKo;1;n=1"
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    ok = fixture.m1.take(200)
    assert ok.get("call-origin") == "gw2;z9hG4bKo;1;n=2"
    assert "line" not in ok
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    ack = fixture.take("ACK")
    assert "heartbeat" not in ack
    fixture.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag="far", cseq=2, origin="gw2;z9hG4bKb;1")
    bye = fixture.take("BYE")
    fixture.reply(bye, 200)
    assert fixture.m1.take(200).get("call-origin") == "gw2;z9hG4bKb;1;n=1"
    assert not fixture.core.calls
    fixture.run(40)
    assert fixture.silent(CARRIER)


def test_a_cancel_is_answered_here_and_cleaned_up() -> None:
    fixture = AgentFixture()
    branch = fixture.request("INVITE", body=SDP)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    fixture.m1.reply(invite, 180)
    fixture.take(180)
    fixture.request("CANCEL", branch=branch)
    fixture.take(200)
    fixture.take(487)
    fixture.request("ACK", branch=branch, to_tag="srvtag")
    cancel = fixture.m1.take("CANCEL")
    assert cancel.branch == invite.branch
    fixture.m1.reply(invite, 200, body=SDP)
    fixture.m1.take("ACK")
    bye = fixture.m1.take("BYE")
    fixture.m1.reply(cancel, 200)
    fixture.m1.reply(bye, 200)
    assert not fixture.core.calls
    assert fixture.silent()


def test_hold_and_info_cross_both_ways() -> None:
    fixture = AgentFixture()
    invite, tag = fixture.answered_in()
    hold = SDP.replace(b"sendrecv", b"sendonly")
    fixture.request("INVITE", to_tag=tag, cseq=2, body=hold)
    fixture.take(100)
    again = fixture.m1.take("INVITE")
    assert again.body == hold
    fixture.m1.reply(again, 200, ["Content-Type: application/sdp"], SDP.replace(b"sendrecv", b"recvonly"))
    ok = fixture.take(200)
    assert b"o=- 1 2 IN" in ok.body
    fixture.request("ACK", to_tag=tag, cseq=2)
    fixture.m1.take("ACK")
    [call] = fixture.core.calls.values()
    assert call.description.held == "remote"
    fixture.m1.request(
        "INFO", "sip:gw1", ["Content-Type: text/plain"], b"5", call_id=invite.call_id, from_tag=tag,
        to_tag=invite.from_tag, origin="gw2;i;1",
    )  # fmt: skip
    info = fixture.take("INFO")
    assert info.body == b"5"
    fixture.reply(info, 200)
    assert fixture.m1.take(200).get("call-origin") == "gw2;i;1;n=1"


@pytest.mark.parametrize("method", ["INFO", "INVITE", "MESSAGE", "OPTIONS", "BYE"])
def test_an_extension_that_is_not_there_is_refused_in_a_dialog_too(method: str) -> None:
    fixture = AgentFixture()
    fixture.answered_in()
    fixture.request(method, lines=["Require: foo"], to_tag="srvtag", cseq=2, body=SDP if method == "INVITE" else b"")
    assert fixture.take(420).get("unsupported") == "foo"
    assert not fixture.m1.inbox and len(fixture.core.calls) == 1
    fixture.request("INFO", to_tag="srvtag", cseq=3)
    fixture.m1.take("INFO")


STREAM = Flow("tcp", "127.0.0.11:5060#1", ("127.0.0.21", 40000))


def called_by_stream() -> tuple[AgentFixture, Request]:
    """A carrier calls over a stream that it opened; its sent-by is where it listens."""
    fixture = AgentFixture()
    fixture.core.flow_changed(STREAM, "open", fixture.now)
    fixture.opened.append(STREAM)
    head = [
        "INVITE sip:+33166@127.0.0.11 SIP/2.0",
        "Via: SIP/2.0/TCP 10.1.1.1:5070;branch=z9hG4bKs1",
        *dialog_lines("<sip:+33155@127.0.0.21>", "dev", "<sip:+33166@127.0.0.11>", ""),
        "Call-ID: s-1",
        "CSeq: 1 INVITE",
        "Contact: <sip:gw@127.0.0.21:5070;transport=tcp>",
        "Content-Type: application/sdp",
    ]
    fixture.say(message(head, SDP), STREAM)
    fixture.take(100, STREAM)
    return fixture, fixture.m1.take("INVITE")


def lost(fixture: AgentFixture) -> None:
    fixture.opened.remove(STREAM)
    fixture.core.flow_changed(STREAM, "lost", fixture.now)
    fixture.pump()


def anew(fixture: AgentFixture, count: int) -> Flow:
    """The stream that was opened to the carrier, the ``count``-th one."""
    found = [flow for flow in fixture.opened if flow.remote[0] == "127.0.0.21"]
    assert [flow.remote for flow in found] == [("127.0.0.21", 5070)] * count
    return found[-1]


def test_a_2xx_is_repeated_on_a_stream_too_until_its_ack() -> None:
    fixture, invite = called_by_stream()
    fixture.m1.reply(invite, 200, body=SDP, lines=["Content-Type: application/sdp"])
    fixture.run(4)
    for _ in range(4):  # at 0, 0.5, 1.5 and 3.5 s
        fixture.take(200, STREAM)
    assert fixture.silent(STREAM)
    fixture.request("ACK", to_tag="srvtag", call_id="s-1", flow=STREAM)
    fixture.m1.take("ACK")
    fixture.run(40)
    assert fixture.silent(STREAM) and len(fixture.core.calls) == 1


@pytest.mark.parametrize("status", [180, 200, 486])
def test_an_answer_goes_over_a_new_stream_to_the_sent_by_where_its_own_broke(status: int) -> None:
    fixture, invite = called_by_stream()
    lost(fixture)
    assert not [flow for flow in fixture.opened if flow.remote[0] == "127.0.0.21"]
    fixture.m1.reply(invite, status, body=SDP if status == 200 else b"", lines=["Content-Type: application/sdp"])
    there = anew(fixture, 1)
    answer = fixture.take(status, there)
    assert status == 486 or answer.get("contact") == "<sip:127.0.0.11:5060;transport=tcp>"


def test_a_2xx_is_repeated_over_a_new_stream_where_its_own_broke() -> None:

    fixture, invite = called_by_stream()
    fixture.m1.reply(invite, 200, body=SDP, lines=["Content-Type: application/sdp"])
    fixture.take(200, STREAM)
    lost(fixture)
    fixture.run(0.6)
    there = anew(fixture, 1)
    fixture.take(200, there)
    fixture.request("ACK", to_tag="srvtag", call_id="s-1", flow=there)
    fixture.m1.take("ACK")
    fixture.run(40)
    assert fixture.silent(there) and len(fixture.core.calls) == 1


@pytest.mark.parametrize(
    ("status", "contact", "told"),
    [
        (302, "<sip:+33177;rn=+1@10.0.0.1:5161;transport=tcp>;q=0.5", 302),
        (301, "<sip:+33177;rn=+1@m1>;q=0.5", 301),
        (302, "", 480),
        (302, "<sip:m1>", 480),
        (305, "<sip:+33177@m1>", 480),
    ],
)
def test_a_redirection_reaches_the_device_with_the_numbers_at_the_agents_address(
    status: int, contact: str, told: int
) -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    fixture.m1.send(response_to(invite, status, [f"Contact: {contact}"] if contact else [], b"", "srvtag"))
    shown = ["<sip:+33177;rn=+1@127.0.0.11:5060>;q=0.5"] if told == status else []
    assert fixture.take(told).all("contact") == shown
    assert not fixture.core.calls


def test_a_request_in_an_early_dialog_ends_with_its_call_and_holds_it_no_longer() -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    fixture.m1.reply(invite, 183)
    fixture.take(183)
    fixture.request("INFO", to_tag="srvtag", cseq=2)
    info = fixture.m1.take("INFO")
    fixture.m1.reply(invite, 486)
    fixture.m1.take("ACK")
    assert {fixture.take(481).cseq_method, fixture.take(486).cseq_method} == {"INFO", "INVITE"}
    assert not fixture.core.calls
    fixture.m1.reply(info, 200)
    assert fixture.silent()


def test_what_a_device_gave_up_with_its_call_is_a_cancelled_invite_and_no_other_request() -> None:
    fixture = AgentFixture()
    branch = fixture.request("INVITE", body=SDP)
    fixture.take(100)
    fixture.m1.reply(fixture.m1.take("INVITE"), 183)
    fixture.take(183)
    fixture.request("INFO", to_tag="srvtag", cseq=2)
    fixture.m1.take("INFO")
    fixture.request("CANCEL", branch=branch)
    [call] = fixture.core.calls.values()
    assert [(one.client.method, one.cancelled) for one in call.sent] == [("INVITE", True), ("INFO", False)]
