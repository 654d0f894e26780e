"""Calls through an agent: what crosses, what is answered here."""

import pytest

from sip.actions import Flow
from sip.wire.message import Request
from tests.gateway_agent.bed import CARRIER, SDP, Bed, dialog_lines, message


def test_a_call_of_a_device_goes_to_the_server_and_back() -> None:
    bed = Bed()
    bed.request("INVITE", body=SDP, lines=["X-Odd :  1", "Line: evil", "Heartbeat: evil", "Call-State: evil"])
    assert bed.take(100).to_tag == ""
    invite = bed.m1.take("INVITE")
    assert invite.uri == "sip:+33166@m1"
    assert invite.all("line") == ["trunk1/1"]
    assert "X-Odd :  1" in invite.lines
    assert "heartbeat" not in invite
    assert "call-state" not in invite
    assert invite.body == SDP
    assert (invite.get("from") or "").startswith("<sip:+33155@paris>;tag=")
    bed.m1.reply(invite, 100, ["Call-State: 1.1.c.p.m"])
    assert bed.silent()
    bed.m1.reply(invite, 180, tag="far")
    ringing = bed.take(180)
    assert ringing.to_tag == "far"
    bed.m1.reply(invite, 200, ["Content-Type: application/sdp", "Call-State: 1.2.c.p.m"], SDP, tag="far")
    ok = bed.take(200)
    assert ok.to_tag == "far"
    assert ok.body == SDP
    assert "call-state" not in ok
    bed.request("ACK", to_tag="far", cseq=1)
    ack = bed.m1.take("ACK")
    assert ack.uri == "sip:m1;transport=tcp"
    [call] = bed.core.calls.values()
    assert call.bridge.phase == "talking"
    assert call.server_side.token == "1.2.c.p.m"
    bed.request("BYE", to_tag="far", cseq=2)
    bed.take(200)
    bye = bed.m1.take("BYE")
    bed.m1.reply(bye, 200)
    assert not bed.core.calls
    assert bed.core.lines["trunk1"].busy == 0
    bed.run(40)
    assert not bed.core.stack.legs.keys() - {sub.key for sub in bed.core.handover.subscriptions}


def test_a_call_of_a_server_goes_to_the_device_and_back() -> None:
    bed = Bed()
    uri = "sip:+33166@gw1;line=trunk1"
    bed.m1.request("INVITE", uri, ["Call-State: 1.1.c.p.m"], SDP, call_id="s-1", origin="gw2;z9hG4bKo;1")
    bed.m1.take(100)
    invite = bed.take("INVITE")
    assert invite.uri == "sip:+33166@127.0.0.21:5060"
    assert not {"heartbeat", "call-state", "call-origin", "line"} & set(invite.names)
    bed.reply(invite, 100)
    bed.reply(invite, 180, tag="far")
    ringing = bed.m1.take(180)
    assert ringing.to_tag == "far"
    assert ringing.get("line") == "trunk1/1"
    assert ringing.get("call-origin") == "gw2;z9hG4bKo;1;n=1"
    bed.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    ok = bed.m1.take(200)
    assert ok.get("call-origin") == "gw2;z9hG4bKo;1;n=2"
    assert "line" not in ok
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    ack = bed.take("ACK")
    assert "heartbeat" not in ack
    bed.m1.request("BYE", "sip:gw1", call_id="s-1", to_tag="far", cseq=2, origin="gw2;z9hG4bKb;1")
    bye = bed.take("BYE")
    bed.reply(bye, 200)
    assert bed.m1.take(200).get("call-origin") == "gw2;z9hG4bKb;1;n=1"
    assert not bed.core.calls
    bed.run(40)
    assert bed.silent(CARRIER)


def test_a_cancel_is_answered_here_and_cleaned_up() -> None:
    bed = Bed()
    branch = bed.request("INVITE", body=SDP)
    bed.take(100)
    invite = bed.m1.take("INVITE")
    bed.m1.reply(invite, 180)
    bed.take(180)
    bed.request("CANCEL", branch=branch)
    bed.take(200)
    bed.take(487)
    bed.request("ACK", branch=branch, to_tag="srvtag")
    cancel = bed.m1.take("CANCEL")
    assert cancel.branch == invite.branch
    bed.m1.reply(invite, 200, body=SDP)
    bed.m1.take("ACK")
    bye = bed.m1.take("BYE")
    bed.m1.reply(cancel, 200)
    bed.m1.reply(bye, 200)
    assert not bed.core.calls
    assert bed.silent()


def test_hold_and_info_cross_both_ways() -> None:
    bed = Bed()
    invite, tag = bed.answered_in()
    hold = SDP.replace(b"sendrecv", b"sendonly")
    bed.request("INVITE", to_tag=tag, cseq=2, body=hold)
    bed.take(100)
    again = bed.m1.take("INVITE")
    assert again.body == hold
    bed.m1.reply(again, 200, ["Content-Type: application/sdp"], SDP.replace(b"sendrecv", b"recvonly"))
    ok = bed.take(200)
    assert b"o=- 1 2 IN" in ok.body
    bed.request("ACK", to_tag=tag, cseq=2)
    bed.m1.take("ACK")
    [call] = bed.core.calls.values()
    assert call.description.held == "remote"
    bed.m1.request(
        "INFO", "sip:gw1", ["Content-Type: text/plain"], b"5", call_id=invite.call_id, from_tag=tag,
        to_tag=invite.from_tag, origin="gw2;i;1",
    )  # fmt: skip
    info = bed.take("INFO")
    assert info.body == b"5"
    bed.reply(info, 200)
    assert bed.m1.take(200).get("call-origin") == "gw2;i;1;n=1"


@pytest.mark.parametrize("method", ["INFO", "INVITE", "MESSAGE", "OPTIONS", "BYE"])
def test_an_extension_that_is_not_there_is_refused_in_a_dialog_too(method: str) -> None:
    bed = Bed()
    bed.answered_in()
    bed.request(method, lines=["Require: foo"], to_tag="srvtag", cseq=2, body=SDP if method == "INVITE" else b"")
    assert bed.take(420).get("unsupported") == "foo"
    assert not bed.m1.inbox and len(bed.core.calls) == 1
    bed.request("INFO", to_tag="srvtag", cseq=3)
    bed.m1.take("INFO")


STREAM = Flow("tcp", "127.0.0.11:5060#1", ("127.0.0.21", 40000))


def called_by_stream() -> tuple[Bed, Request]:
    """A carrier calls over a stream that it opened; its sent-by is where it listens."""
    bed = Bed()
    bed.core.flow_changed(STREAM, "open", bed.now)
    bed.opened.append(STREAM)
    head = [
        "INVITE sip:+33166@127.0.0.11 SIP/2.0",
        "Via: SIP/2.0/TCP 10.1.1.1:5070;branch=z9hG4bKs1",
        *dialog_lines("<sip:+33155@127.0.0.21>", "dev", "<sip:+33166@127.0.0.11>", ""),
        "Call-ID: s-1",
        "CSeq: 1 INVITE",
        "Contact: <sip:gw@127.0.0.21:5070;transport=tcp>",
        "Content-Type: application/sdp",
    ]
    bed.say(message(head, SDP), STREAM)
    bed.take(100, STREAM)
    return bed, bed.m1.take("INVITE")


def lost(bed: Bed) -> None:
    bed.opened.remove(STREAM)
    bed.core.flow_changed(STREAM, "lost", bed.now)
    bed.pump()


def anew(bed: Bed, count: int) -> Flow:
    """The stream that was opened to the carrier, the ``count``-th one."""
    found = [flow for flow in bed.opened if flow.remote[0] == "127.0.0.21"]
    assert [flow.remote for flow in found] == [("127.0.0.21", 5070)] * count
    return found[-1]


def test_a_2xx_is_repeated_on_a_stream_too_until_its_ack() -> None:
    bed, invite = called_by_stream()
    bed.m1.reply(invite, 200, body=SDP, lines=["Content-Type: application/sdp"])
    bed.run(4)
    for _ in range(4):  # at 0, 0.5, 1.5 and 3.5 s
        bed.take(200, STREAM)
    assert bed.silent(STREAM)
    bed.request("ACK", to_tag="srvtag", call_id="s-1", flow=STREAM)
    bed.m1.take("ACK")
    bed.run(40)
    assert bed.silent(STREAM) and len(bed.core.calls) == 1


@pytest.mark.parametrize("status", [180, 200, 486])
def test_an_answer_goes_over_a_new_stream_to_the_sent_by_where_its_own_broke(status: int) -> None:
    bed, invite = called_by_stream()
    lost(bed)
    assert not [flow for flow in bed.opened if flow.remote[0] == "127.0.0.21"]
    bed.m1.reply(invite, status, body=SDP if status == 200 else b"", lines=["Content-Type: application/sdp"])
    there = anew(bed, 1)
    answer = bed.take(status, there)
    assert status == 486 or answer.get("contact") == "<sip:127.0.0.11:5060;transport=tcp>"


def test_a_2xx_is_repeated_over_a_new_stream_where_its_own_broke() -> None:
    bed, invite = called_by_stream()
    bed.m1.reply(invite, 200, body=SDP, lines=["Content-Type: application/sdp"])
    bed.take(200, STREAM)
    lost(bed)
    bed.run(0.6)
    there = anew(bed, 1)
    bed.take(200, there)
    bed.request("ACK", to_tag="srvtag", call_id="s-1", flow=there)
    bed.m1.take("ACK")
    bed.run(40)
    assert bed.silent(there) and len(bed.core.calls) == 1
