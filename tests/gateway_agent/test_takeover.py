"""The active server dies in the middle of something: the next one gets all from the records, devices see nothing."""

from typing import Any

from sip.wire.message import Request, parse
from tests.gateway_agent.bed import SDP, Bed, Server


def taken_over(bed: Bed) -> list[dict[str, Any]]:
    """m1 dies, m2 takes over; the records of dialogs."""
    bed.kill(bed.m1)
    assert bed.m2.subscribe(epoch=2) == 200
    assert bed.m2.heads[-1]["complete"] is True
    return [record for record in bed.m2.list if "call-id" in record]


def replayed(server: Server, record: dict[str, Any], index: int = 0) -> Request:
    """What stands in ``sent``, as the server feeds it to itself."""
    request = parse(record["sent"][index]["request"].encode("latin-1"))
    assert isinstance(request, Request)
    return request


def test_a_talking_call_goes_on() -> None:
    bed = Bed()
    invite, tag = bed.answered_in()
    [record] = taken_over(bed)
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
    bed.request("BYE", to_tag=tag, cseq=2)
    bed.take(200)
    assert not bed.m1.inbox
    assert bed.m2.take("BYE").uri == "sip:m2;transport=tcp"
    assert bed.silent()


def test_an_invite_in_the_gap_is_held_and_goes_through_the_next_server() -> None:
    bed = Bed()
    bed.kill(bed.m1)
    bed.request("INVITE", body=SDP)
    bed.take(100)
    bed.run(3)
    [record] = taken_over(bed)
    assert (record["state"], record["call-state"], record["local-tag"]) == ("trying", "", "")
    invite = replayed(bed.m2, record)
    bed.run(6)  # longer than hold_attempt after its coming
    bed.m2.reply(invite, 180)
    assert bed.take(503)
    # too late for this device: what was begun is cleaned up
    bed.m2.take("CANCEL")


def test_an_invite_with_an_answer_of_a_server_waits_on() -> None:
    bed = Bed()
    bed.request("INVITE", body=SDP)
    bed.take(100)
    bed.m1.reply(bed.m1.take("INVITE"), 100)
    bed.kill(bed.m1)
    bed.run(20)
    assert bed.silent()
    [record] = taken_over(bed)
    invite = replayed(bed.m2, record)
    bed.m2.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    bed.take(200)


def test_no_server_at_all_is_said_in_time() -> None:
    bed = Bed()
    bed.kill(bed.m1)
    bed.request("INVITE", body=SDP)
    bed.take(100)
    bed.run(8.1)
    assert bed.take(503).get("retry-after") == "5"
    assert not bed.core.calls


def test_a_repeat_of_a_ringing_invite_rings_once() -> None:
    bed = Bed()
    uri = "sip:+33166@gw1;line=trunk1"
    key = "gw2;z9hG4bKo;1"
    bed.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin=key)
    bed.m1.take(100)
    invite = bed.take("INVITE")
    bed.reply(invite, 183, ["Content-Type: application/sdp"], SDP, tag="far")
    bed.m1.take(183)
    bed.reply(invite, 180, tag="far")
    bed.m1.take(180)
    [record] = taken_over(bed)
    assert (record["state"], record["direction"], record["origin"]) == ("early", "initiator", key)
    assert len(record["early"][0]["responses"]) == 2
    assert record["received"][0]["origin"] == key
    assert record["received"][0]["response"].startswith("SIP/2.0 180")
    bed.m2.request("INVITE", uri, body=SDP, call_id="t-9", from_tag="new", origin=key)
    bed.m2.take(100)
    assert [bed.m2.take(183).get("call-origin"), bed.m2.take(180).get("call-origin")] == [f"{key};n=1", f"{key};n=2"]
    assert bed.silent()
    bed.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    ok = bed.m2.take(200)
    assert (ok.call_id, ok.from_tag, ok.to_tag) == ("t-9", "new", "far")
    bed.m2.request("ACK", "sip:gw1", call_id="t-9", from_tag="new", to_tag="far")
    bed.take("ACK")
    bed.m2.request("BYE", "sip:gw1", call_id="t-9", from_tag="new", to_tag="far", cseq=2, origin="m2;b;0")
    bed.take("BYE")


def test_a_repeat_of_an_answered_invite_gets_the_answer_and_awaits_its_ack_anew() -> None:
    bed = Bed()
    uri, key = "sip:+33166@gw1;line=trunk1", "gw2;z9hG4bKo;1"
    bed.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin=key)
    bed.m1.take(100)
    invite = bed.take("INVITE")
    bed.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    bed.m1.take(200)
    [record] = taken_over(bed)
    assert (record["state"], record["ack"], record["ack-cseq"]) == ("confirmed", "awaited", 1)
    bed.m2.request("INVITE", uri, body=SDP, call_id="s-1", from_tag="srv", cseq=1, origin=key)
    ok = bed.m2.take(200)
    assert ok.body == SDP
    assert ok.get("call-origin") == f"{key};n=1"
    bed.m2.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    bed.take("ACK")
    bed.m2.request("INVITE", uri, body=SDP, call_id="s-1", from_tag="srv", cseq=1, origin=key)
    bed.m2.take(200)
    bed.m2.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    assert bed.silent()


def test_a_repeat_of_a_failed_invite_fails_alike() -> None:
    bed = Bed()
    uri, key = "sip:+33166@gw1;line=trunk1", "gw2;z9hG4bKo;1"
    bed.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin=key)
    bed.m1.take(100)
    bed.reply(bed.take("INVITE"), 486, ["X-Why: no"], tag="far")
    bed.take("ACK")
    assert bed.m1.take(486).get("x-why") == "no"
    [record] = taken_over(bed)
    assert record["state"] == "terminated"
    assert record["ended"]["status"] == 486
    bed.m2.request("INVITE", uri, body=SDP, call_id="x-1", origin=key)
    assert bed.m2.take(486).get("x-why") == "no"
    assert bed.silent()


def test_a_bye_under_way_is_in_the_record() -> None:
    bed = Bed()
    _, tag = bed.answered_in()
    bed.request("BYE", to_tag=tag, cseq=2)
    bed.take(200)
    bed.m1.take("BYE")
    [record] = taken_over(bed)
    assert record["state"] == "terminated"
    assert record["ended"]["by"] == "device"
    assert record["cseq"]["remote"] == 1
    bye = replayed(bed.m2, record)
    bed.m2.reply(bye, 200)
    assert not bed.core.calls
    assert bed.silent()


def test_a_cancel_under_way_is_in_the_record() -> None:
    bed = Bed()
    branch = bed.request("INVITE", body=SDP)
    bed.take(100)
    bed.m1.reply(bed.m1.take("INVITE"), 180)
    bed.take(180)
    bed.request("CANCEL", branch=branch)
    bed.take(200)
    bed.take(487)
    bed.request("ACK", branch=branch, to_tag="srvtag")
    [record] = taken_over(bed)
    assert record["sent"][0]["cancelled"] is True
    bed.m2.reply(replayed(bed.m2, record), 487)
    assert not bed.core.calls
    assert not bed.core.stack.clients.keys() - {key for key in bed.core.stack.clients if not key.endswith("C")}


def test_a_re_invite_under_way_from_the_far_side_reaches_the_device_once() -> None:
    bed = Bed()
    bed.answered_out()
    hold = SDP.replace(b"sendrecv", b"sendonly")
    key = "gw2;z9hG4bKh;1"
    bed.m1.request("INVITE", "sip:gw1", body=hold, call_id="s-1", to_tag="devtag", cseq=2, origin=key)
    invite = bed.take("INVITE")
    [record] = taken_over(bed)
    assert record["received"][0]["origin"] == key
    assert record["cseq"]["local"] == 2
    bed.m2.request("INVITE", "sip:gw1", body=hold, call_id="s-1", to_tag="devtag", cseq=3, origin=key)
    bed.m2.take(100)
    assert bed.silent()
    bed.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    assert bed.m2.take(200).cseq == 3
    bed.m2.request("ACK", "sip:gw1", call_id="s-1", to_tag="devtag", cseq=3)
    bed.take("ACK")


def test_provisional_responses_are_not_heard_twice() -> None:
    bed = Bed()
    bed.request("INVITE", body=SDP)
    bed.take(100)
    invite = bed.m1.take("INVITE")
    bed.m1.reply(invite, 183, ["Call-Origin: gw1;b;1;n=1"], tag="far")
    bed.take(183)
    bed.m1.reply(invite, 180, ["Call-Origin: gw1;b;1;n=2"], tag="far")
    bed.take(180)
    [record] = taken_over(bed)
    invite = replayed(bed.m2, record)
    bed.m2.reply(invite, 183, ["Call-Origin: gw1;b;1;n=1"], tag="far")
    bed.m2.reply(invite, 180, ["Call-Origin: gw1;b;1;n=2"], tag="far")
    assert bed.silent()
    bed.m2.reply(invite, 180, ["Call-Origin: gw1;b;2;n=1"], tag="other")
    assert bed.take(180).to_tag == "other"


def test_what_ended_is_told_until_a_server_knows() -> None:
    bed = Bed()
    _, tag = bed.answered_in()
    bed.request("BYE", to_tag=tag, cseq=2)
    bed.m1.reply(bed.m1.take("BYE"), 200)
    assert len(bed.core.gone) == 1
    bed.m1.beat()
    bed.run(33)
    assert len(bed.core.gone) == 1
    bed.m1.beat()
    assert not bed.core.gone
    [*_] = taken_over(bed)


def test_a_stale_server_is_fenced() -> None:
    bed = Bed()
    _, tag = bed.answered_in()
    assert bed.m2.subscribe(epoch=2) == 200
    bed.m1.inbox.clear()
    [call] = bed.core.calls.values()
    server = call.server
    assert server is not None
    bed.m1.request(
        "BYE", "sip:gw1", call_id=server.dialog.call_id, from_tag=tag, to_tag=server.dialog.local_tag, origin="m1;b;0"
    )
    refusal = bed.m1.take(403)
    assert "holder=m2" in (refusal.get("heartbeat") or "")
    assert bed.core.calls
    assert bed.m1.subscribe(epoch=1) == 403
    bed.request("INFO", to_tag=tag, cseq=2)
    info = bed.m2.take("INFO")
    bed.m1.reply(info, 200)
    assert bed.silent()
    bed.m2.reply(info, 200)
    assert bed.take(200).cseq_method == "INFO"


def test_the_connection_to_the_same_server_is_made_anew() -> None:
    bed = Bed()
    uri, key = "sip:+33166@gw1;line=trunk1", "gw2;z9hG4bKo;1"
    branch = bed.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin=key)
    invite = bed.take("INVITE")
    bed.kill(bed.m1)
    bed.reply(invite, 200, ["Content-Type: application/sdp"], SDP, tag="far")
    bed.m1.up = True
    bed.m1.inbox.clear()
    bed.run(1)
    assert bed.m1.flow is not None
    bed.m1.request("INVITE", uri, body=SDP, call_id="s-1", origin=key, branch=branch)
    assert bed.m1.take(200).to_tag == "far"
    assert bed.m1.subscribe() == 200
    bed.m1.request("ACK", "sip:gw1", call_id="s-1", to_tag="far")
    bed.take("ACK")
