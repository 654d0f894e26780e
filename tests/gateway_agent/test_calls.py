"""Calls through an agent: what crosses, what is answered here."""

from tests.gateway_agent.bed import CARRIER, SDP, Bed


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
    assert call.phase == "talking"
    assert call.token == "1.2.c.p.m"
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
