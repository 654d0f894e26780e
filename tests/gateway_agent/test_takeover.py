"""The active server dies in the middle of something: the next one gets all from the records, devices see nothing."""

from typing import Any

from sip.wire.message import Request, parse
from tests.gateway_agent.agent_fixture import SDP, AgentFixture, Server


def taken_over(fixture: AgentFixture) -> list[dict[str, Any]]:
    """m1 dies, m2 takes over; the records of dialogs."""
    fixture.kill(fixture.m1)
    assert fixture.m2.subscribe(epoch=2) == 200
    assert fixture.m2.heads[-1]["complete"] is True
    return [record for record in fixture.m2.list if "call-id" in record]


def replayed(server: Server, record: dict[str, Any], index: int = 0) -> Request:
    """What stands in ``sent``, as the server feeds it to itself."""
    request = parse(record["sent"][index]["request"].encode("latin-1"))
    assert isinstance(request, Request)
    return request


def test_a_talking_call_goes_on() -> None:
    fixture = AgentFixture()
    invite, tag = fixture.answered_in()
    [record] = taken_over(fixture)
    assert record["call-id"] == invite.call_id
    assert (record["local-tag"], record["remote-tag"]) == (tag, invite.from_tag)
    assert record["state"] == "confirmed"
    assert record["direction"] == "recipient"
    assert record["cseq"] == {"local": 0, "remote": 1}
    assert record["line"] == "trunk1/1"
    assert record["sdp"]["sent"].encode() == SDP
    assert "message" in record["ack"]
    assert record["ack-cseq"] == 1
    assert "sent" not in record
    fixture.request("BYE", to_tag=tag, cseq=2)
    fixture.take(200)
    assert not fixture.m1.inbox
    assert fixture.m2.take("BYE").uri == "sip:m2;transport=tcp"
    assert fixture.silent()


def test_an_invite_in_the_gap_is_held_and_goes_through_the_next_server() -> None:
    fixture = AgentFixture()
    fixture.kill(fixture.m1)
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    fixture.run(3)
    [record] = taken_over(fixture)
    assert (record["state"], record["call-state"], record["local-tag"]) == ("trying", "", "")
    invite = replayed(fixture.m2, record)
    fixture.run(6)  # longer than hold_attempt after its coming
    fixture.m2.reply(invite, 180)
    assert fixture.take(503)
    # too late for this device: what was begun is cleaned up
    fixture.m2.take("CANCEL")


def test_an_invite_with_an_answer_of_a_server_waits_on() -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    fixture.m1.reply(fixture.m1.take("INVITE"), 100)
    fixture.kill(fixture.m1)
    fixture.run(20)
    assert fixture.silent()
    [record] = taken_over(fixture)
    invite = replayed(fixture.m2, record)
    fixture.m2.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    fixture.take(200)


def test_no_server_at_all_is_said_in_time() -> None:
    fixture = AgentFixture()
    fixture.kill(fixture.m1)
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    fixture.run(8.1)
    assert fixture.take(503).get("retry-after") == "5"
    assert not fixture.core.calls


def test_a_repeat_of_a_ringing_invite_rings_once() -> None:
    fixture = AgentFixture()
    uri = "sip:+33166@gw1;line=trunk1"
    key = "gw2;z9hG4bKo;1"
    fixture.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin=key)
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    fixture.reply(invite, 183, ["Content-Type: application/sdp"], SDP, tag="far")
    fixture.m1.take(183)
    fixture.reply(invite, 180, tag="far")
    fixture.m1.take(180)
    [record] = taken_over(fixture)
    assert (record["state"], record["direction"], record["origin"]) == ("early", "initiator", key)
    assert len(record["early"][0]["responses"]) == 2
    assert record["received"][0]["origin"] == key
    assert record["received"][0]["response"].startswith("SIP/2.0 180")
    fixture.m2.request("INVITE", uri, body=SDP, call_id="t-9", from_tag="new", origin=key)
    fixture.m2.take(100)
    assert [fixture.m2.take(183).get("call-origin"), fixture.m2.take(180).get("call-origin")] == [
        f"{key};n=1",
        f"{key};n=2",
    ]
    assert fixture.silent()
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    ok = fixture.m2.take(200)
    assert (ok.call_id, ok.from_tag, ok.to_tag) == ("t-9", "new", "far")
    fixture.m2.request("ACK", "sip:gw1", call_id="t-9", from_tag="new", to_tag="far")
    fixture.take("ACK")
    fixture.m2.request("BYE", "sip:gw1", call_id="t-9", from_tag="new", to_tag="far", cseq=2, origin="m2;b;0")
    fixture.take("BYE")


def test_a_repeat_of_an_answered_invite_gets_the_answer_and_awaits_its_ack_anew() -> None:
    fixture = AgentFixture()
    uri, key = "sip:+33166@gw1;line=trunk1", "gw2;z9hG4bKo;1"
    fixture.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin=key)
    fixture.m1.take(100)
    invite = fixture.take("INVITE")
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    fixture.m1.take(200)
    [record] = taken_over(fixture)
    assert (record["state"], record["ack"], record["ack-cseq"]) == ("confirmed", "awaited", 1)
    fixture.m2.request("INVITE", uri, body=SDP, call_id="s-1", from_tag="srv", cseq=1, origin=key)
    ok = fixture.m2.take(200)
    assert ok.body == SDP
    assert ok.get("call-origin") == f"{key};n=1"
    fixture.m2.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    fixture.take("ACK")
    fixture.m2.request("INVITE", uri, body=SDP, call_id="s-1", from_tag="srv", cseq=1, origin=key)
    fixture.m2.take(200)
    fixture.m2.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    assert fixture.silent()


def test_a_repeat_of_a_failed_invite_fails_alike() -> None:
    fixture = AgentFixture()
    uri, key = "sip:+33166@gw1;line=trunk1", "gw2;z9hG4bKo;1"
    fixture.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin=key)
    fixture.m1.take(100)
    fixture.reply(fixture.take("INVITE"), 486, ["X-Why: no"], tag="far")
    fixture.take("ACK")
    assert fixture.m1.take(486).get("x-why") == "no"
    [record] = taken_over(fixture)
    assert record["state"] == "terminated"
    assert record["ended"]["status"] == 486
    fixture.m2.request("INVITE", uri, body=SDP, call_id="x-1", origin=key)
    assert fixture.m2.take(486).get("x-why") == "no"
    assert fixture.silent()


def test_a_bye_under_way_is_in_the_record() -> None:
    fixture = AgentFixture()
    _, tag = fixture.answered_in()
    fixture.request("BYE", to_tag=tag, cseq=2)
    fixture.take(200)
    fixture.m1.take("BYE")
    [record] = taken_over(fixture)
    assert record["state"] == "terminated"
    assert record["ended"]["by"] == "device"
    assert record["cseq"]["remote"] == 1
    bye = replayed(fixture.m2, record)
    fixture.m2.reply(bye, 200)
    assert not fixture.core.calls
    assert fixture.silent()


def test_a_cancel_under_way_is_in_the_record() -> None:
    fixture = AgentFixture()
    branch = fixture.request("INVITE", body=SDP)
    fixture.take(100)
    fixture.m1.reply(fixture.m1.take("INVITE"), 180)
    fixture.take(180)
    fixture.request("CANCEL", branch=branch)
    fixture.take(200)
    fixture.take(487)
    fixture.request("ACK", branch=branch, to_tag="srvtag")
    [record] = taken_over(fixture)
    assert record["sent"][0]["cancelled"] is True
    fixture.m2.reply(replayed(fixture.m2, record), 487)
    assert not fixture.core.calls
    assert not fixture.core.stack.clients.keys() - {
        key for key in fixture.core.stack.clients if not key.endswith("C")
    }


def test_a_re_invite_under_way_from_the_far_side_reaches_the_device_once() -> None:
    fixture = AgentFixture()
    fixture.answered_out()
    hold = SDP.replace(b"sendrecv", b"sendonly")
    key = "gw2;z9hG4bKh;1"
    fixture.m1.request("INVITE", "sip:gw1", body=hold, call_id="s-1", to_tag="devtag", cseq=2, origin=key)
    invite = fixture.take("INVITE")
    [record] = taken_over(fixture)
    assert record["received"][0]["origin"] == key
    assert record["cseq"]["local"] == 2
    fixture.m2.request("INVITE", "sip:gw1", body=hold, call_id="s-1", to_tag="devtag", cseq=3, origin=key)
    fixture.m2.take(100)
    assert fixture.silent()
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    assert fixture.m2.take(200).cseq == 3
    fixture.m2.request("ACK", "sip:gw1", call_id="s-1", to_tag="devtag", cseq=3)
    fixture.take("ACK")


def test_provisional_responses_are_not_heard_twice() -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    fixture.m1.reply(invite, 183, ["Call-Origin: gw1;b;1;n=1"], tag="far")
    fixture.take(183)
    fixture.m1.reply(invite, 180, ["Call-Origin: gw1;b;1;n=2"], tag="far")
    fixture.take(180)
    [record] = taken_over(fixture)
    invite = replayed(fixture.m2, record)
    fixture.m2.reply(invite, 183, ["Call-Origin: gw1;b;1;n=1"], tag="far")
    fixture.m2.reply(invite, 180, ["Call-Origin: gw1;b;1;n=2"], tag="far")
    assert fixture.silent()
    fixture.m2.reply(invite, 180, ["Call-Origin: gw1;b;2;n=1"], tag="other")
    assert fixture.take(180).to_tag == "other"


def test_what_ended_is_told_until_a_server_knows() -> None:
    fixture = AgentFixture()
    _, tag = fixture.answered_in()
    fixture.request("BYE", to_tag=tag, cseq=2)
    fixture.m1.reply(fixture.m1.take("BYE"), 200)
    assert len(fixture.core.gone) == 1
    fixture.m1.beat()
    fixture.run(33)
    assert len(fixture.core.gone) == 1
    fixture.m1.beat()
    assert not fixture.core.gone
    [*_] = taken_over(fixture)


def test_a_stale_server_is_fenced() -> None:
    fixture = AgentFixture()
    _, tag = fixture.answered_in()
    assert fixture.m2.subscribe(epoch=2) == 200
    fixture.m1.inbox.clear()
    [call] = fixture.core.calls.values()
    server = call.server
    assert server is not None
    fixture.m1.request(
        "BYE", "sip:gw1", call_id=server.dialog.call_id, from_tag=tag, to_tag=server.dialog.local_tag, origin="m1;b;0"
    )
    refusal = fixture.m1.take(403)
    assert "holder=m2" in (refusal.get("heartbeat") or "")
    assert fixture.core.calls
    assert fixture.m1.subscribe(epoch=1) == 403
    fixture.request("INFO", to_tag=tag, cseq=2)
    info = fixture.m2.take("INFO")
    fixture.m1.reply(info, 200)
    assert fixture.silent()
    fixture.m2.reply(info, 200)
    assert fixture.take(200).cseq_method == "INFO"


def test_the_connection_to_the_same_server_is_made_anew() -> None:
    fixture = AgentFixture()
    uri, key = "sip:+33166@gw1;line=trunk1", "gw2;z9hG4bKo;1"
    branch = fixture.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin=key)
    invite = fixture.take("INVITE")
    fixture.kill(fixture.m1)
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    fixture.m1.up = True
    fixture.m1.inbox.clear()
    fixture.run(1)
    assert fixture.m1.flow is not None
    fixture.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin=key, branch=branch)
    assert fixture.m1.take(200).to_tag == "far"
    assert fixture.m1.subscribe() == 200
    fixture.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    fixture.take("ACK")
