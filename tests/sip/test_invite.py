"""What one leg does by itself: RFC 3261 sections 12 to 15, both ends."""

from __future__ import annotations

import pytest

from sip.actions import Flow, Send
from sip.dialog import DialogState
from sip.invite import InviteUsage
from sip.wire.message import Request, parse
from tests.sip.pair import SDP, TYPE, Pair


def test_a_plain_call() -> None:
    pair = Pair()
    pair.invite()
    assert pair.b.take() == ["INVITE"] and pair.b.last is not None and pair.b.last.body == SDP
    pair.b.leg.reply(pair.b.asked, 100, 0.0)
    pair.b.leg.reply(pair.b.asked, 180, 0.0)
    pair.settle()
    pair.answer()
    assert pair.a.take() == ["100", "180", "200"] and pair.b.take() == ["ACK"]
    pair.a.leg.send("BYE", (), b"", 0.0)
    pair.settle()
    assert pair.b.take() == ["BYE"] and pair.b.leg.ended
    pair.b.leg.reply(pair.b.asked, 200, 0.0)
    pair.settle()
    assert pair.a.take() == ["200"]
    pair.turn(100.0)
    for end in (pair.a, pair.b):
        assert not end.stack.legs and not end.stack.servers and not end.stack.clients and end.heard == []


def test_a_2xx_is_repeated_until_its_ack_comes() -> None:
    pair = Pair()
    pair.invite()
    pair.b.leg.reply(pair.b.asked, 200, 0.0, body=SDP)
    pair.turn(8.0)
    assert pair.sent("b", "200") == [0.0, 0.5, 1.5, 3.5, 7.5] and pair.b.leg.success.awaited
    assert pair.a.take() == ["200"] and pair.a.leg.ack.pending
    pair.a.leg.acknowledge((), b"", 8.0)
    pair.turn(100.0)
    assert len(pair.sent("b", "200")) == 5 and pair.b.take() == ["INVITE", "ACK"] and not pair.b.leg.success.awaited


def test_without_an_ack_the_owner_is_told_after_64_t1() -> None:
    pair = Pair()
    pair.invite()
    pair.b.leg.reply(pair.b.asked, 200, 0.0, body=SDP)
    pair.turn(31.9)
    assert "unacknowledged" not in pair.b.heard
    pair.turn(60.0)
    assert pair.b.heard[-1] == "unacknowledged"
    assert pair.sent("b", "200") == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


def test_a_repeated_2xx_is_acknowledged_again_in_the_same_words() -> None:
    pair = Pair()
    pair.invite()
    pair.b.leg.reply(pair.b.asked, 200, 0.0, body=SDP)
    pair.settle()
    success = next(message for _, who, message in pair.wire if who == "b")
    pair.a.leg.acknowledge(("X-Note: 1",), SDP, 0.0)
    pair.a.stack.receive(success.to_bytes(), pair.a.flow_to(pair.b), 0.0)
    pair.settle()
    acks = [message for _, who, message in pair.wire if isinstance(message, Request) and message.method == "ACK"]
    assert len(acks) == 2 and acks[0].to_bytes() == acks[1].to_bytes()
    assert acks[1].body == SDP and acks[1].get("x-note") == "1"
    assert pair.a.heard == ["200"] and pair.b.heard == ["INVITE", "ACK"]


def test_an_ack_that_may_be_lost_is_sent_again_for_that_invite_only() -> None:
    pair = Pair()
    pair.talk()
    pair.a.leg.ack.again(7)
    pair.a.leg.ack.again(1)
    pair.settle()
    assert len(pair.sent("a", "ACK")) == 2 and pair.b.take() == []


def test_an_ack_of_an_older_invite_does_not_stop_the_repetition() -> None:
    pair = Pair()
    pair.talk()
    ack = next(m for _, _, m in pair.wire if isinstance(m, Request) and m.method == "ACK")
    pair.a.leg.send("INVITE", (), b"", 0.0)
    pair.settle()
    pair.b.leg.reply(pair.b.asked, 200, 0.0, body=SDP)
    pair.settle()
    pair.b.stack.receive(ack.to_bytes(), pair.b.flow_to(pair.a), 0.0)
    assert pair.b.leg.success.awaited


def test_on_a_stream_to_a_device_a_2xx_is_repeated_like_over_udp() -> None:
    pair = Pair("tcp")
    pair.invite()
    pair.b.leg.reply(pair.b.asked, 200, 0.0, body=SDP)
    pair.turn(10.0)
    assert pair.sent("b", "200") == [0.0, 0.5, 1.5, 3.5, 7.5]
    pair.a.leg.acknowledge((), b"", 10.0)
    pair.turn(80.0)
    assert pair.sent("b", "200") == [0.0, 0.5, 1.5, 3.5, 7.5]
    assert pair.b.heard[-1] == "ACK"


def test_on_a_site_flow_a_2xx_is_sent_once_and_again_on_a_new_connection() -> None:
    pair = Pair("tcp")
    pair.b.stack.site_flows.add(pair.b.flow_to(pair.a))
    pair.invite()
    pair.b.leg.reply(pair.b.asked, 200, 0.0, body=SDP)
    pair.turn(20.0)
    assert pair.sent("b", "200") == [0.0]
    pair.b.leg.moved(pair.b.flow_to(pair.a))
    pair.settle()
    assert pair.sent("b", "200") == [0.0, 20.0]
    pair.turn(40.0)
    assert pair.b.heard[-1] == "unacknowledged"


def test_a_crossing_re_invite_gets_491() -> None:
    pair = Pair()
    pair.talk()
    pair.a.leg.send("INVITE", (TYPE,), SDP, 0.0)
    pair.b.leg.send("INVITE", (TYPE,), SDP, 0.0)
    pair.settle()
    assert pair.a.take() == ["491"] and pair.b.take() == ["491"]
    assert pair.a.leg.pending_client_invite is None and not pair.a.leg.ended


def test_a_second_invite_before_the_answer_to_the_first_gets_500() -> None:
    pair = Pair()
    pair.talk()
    pair.a.leg.send("INVITE", (), b"", 0.0)
    pair.settle()
    pair.a.leg.send("INVITE", (), b"", 0.0)
    pair.settle()
    assert pair.a.take() == ["500"] and pair.a.last is not None
    wait = pair.a.last.get("retry-after")
    assert wait is not None and 0 <= int(wait) <= 10  # section 14.2


def test_a_lower_cseq_gets_500_and_changes_nothing() -> None:
    pair = Pair()
    pair.talk()
    pair.a.leg.dialog.local_cseq = 0
    pair.a.leg.send("INFO", (), b"", 0.0)
    pair.settle()
    assert pair.a.take() == ["500"] and pair.b.take() == [] and pair.b.leg.dialog.remote_cseq == 1


def test_cancel_waits_for_a_provisional_response() -> None:
    pair = Pair()
    leg = pair.invite()
    leg.cancel(0.0, ("Reason: SIP;cause=200",))
    pair.turn(0.4)
    assert pair.sent("a", "CANCEL") == []
    pair.b.leg.reply(pair.b.asked, 180, 0.4)
    pair.settle()
    assert pair.sent("a", "CANCEL") == [0.4]
    invite, cancel = pair.wire[0][2], next(m for _, _, m in pair.wire if getattr(m, "method", "") == "CANCEL")
    assert isinstance(invite, Request) and isinstance(cancel, Request)
    assert cancel.branch == invite.branch and cancel.uri == invite.uri and cancel.cseq == invite.cseq
    assert cancel.get("to") == invite.get("to") and cancel.get("reason") == "SIP;cause=200"
    assert pair.b.take() == ["INVITE", "CANCEL"]
    pair.b.leg.reply(pair.b.leg.pending_server_invite or pair.b.asked, 487, 0.4)
    pair.turn(100.0)
    assert pair.a.take() == ["180", "487"] and leg.ended and not pair.a.stack.legs


def test_cancel_keeps_the_number_of_its_invite_when_requests_came_between() -> None:
    pair = Pair()
    leg = pair.invite()
    pair.b.leg.reply(pair.b.asked, 183, 0.0)
    pair.settle()
    leg.send("INFO", (), b"", 0.0)
    leg.cancel(0.0)
    pair.settle()
    cancel = next(m for _, _, m in pair.wire if getattr(m, "method", "") == "CANCEL")
    assert cancel.cseq == 1 and pair.b.take() == ["INVITE", "INFO", "CANCEL"]


def test_a_cancel_that_nobody_answers_ends_the_invite_after_64_t1() -> None:
    pair = Pair()
    leg = pair.invite()
    pair.b.leg.reply(pair.b.asked, 180, 0.0)
    pair.settle()
    pair.cut = True
    leg.cancel(1.0)
    pair.turn(120.0)
    assert pair.a.take() == ["180", "INVITE timed out"] and leg.ended and leg.pending_client_invite is None


def test_a_cancel_that_crosses_the_2xx_leaves_an_answered_call() -> None:
    pair = Pair()
    leg = pair.invite()
    pair.b.leg.reply(pair.b.asked, 180, 0.0)
    pair.settle()
    pair.b.leg.reply(pair.b.asked, 200, 0.0, body=SDP)
    leg.cancel(0.0)
    pair.settle()
    assert pair.a.take() == ["180", "200"] and pair.b.take() == ["INVITE"] and leg.established and leg.cancelling
    leg.acknowledge((), b"", 0.0)
    leg.send("BYE", (), b"", 0.0)
    pair.settle()
    assert pair.b.take() == ["ACK", "BYE"]


def test_a_cancel_asked_for_too_late_does_not_hit_the_next_invite() -> None:
    pair = Pair()
    leg = pair.invite()
    leg.cancel(0.0)  # no provisional response has come, none will
    pair.answer()
    leg.send("INVITE", (TYPE,), SDP, 1.0)
    pair.settle()
    pair.b.leg.reply(pair.b.asked, 100, 1.0)
    pair.settle()
    assert pair.sent("a", "CANCEL") == [] and not leg.cancelling


def test_a_re_invite_can_be_cancelled_and_the_call_stays() -> None:
    pair = Pair()
    pair.talk()
    for _ in range(2):
        pair.a.leg.send("INVITE", (TYPE,), SDP, 0.0)
        pair.settle()
        invite = pair.b.asked
        pair.b.leg.reply(invite, 100, 0.0)
        pair.settle()
        pair.a.leg.cancel(0.0)
        pair.settle()
        assert pair.b.take() == ["INVITE", "CANCEL"]
        pair.b.leg.reply(invite, 487, 0.0)
        pair.settle()
        assert pair.a.take() == ["100", "487"]
    pair.turn(100.0)
    assert not pair.a.leg.ended and not pair.b.leg.ended and pair.a.heard == []


def test_early_dialogs_are_kept_apart_and_the_answer_picks_one() -> None:
    pair = Pair()
    leg = pair.invite()
    for tag, status in (("t1", 183), ("t2", 180), ("t1", 180)):
        pair.b.leg.reply(pair.b.asked, status, 0.0, tag=tag)
    pair.settle()
    fork = leg.forks.find("t2")
    assert leg.dialog.remote_tag == "t1" and len(leg.forks) == 1
    assert fork is not None and fork.dialog.target == "sip:127.0.0.1:5002"
    assert {f"call@a {tag}" for tag in ("t1", "t2")} <= set(pair.b.stack.legs)
    pair.b.leg.reply(pair.b.asked, 200, 0.0, tag="t2", body=SDP)
    pair.settle()
    leg.acknowledge((), b"", 0.0)
    pair.settle()
    assert leg.dialog.remote_tag == "t2" == pair.b.leg.dialog.local_tag and not leg.forks
    assert set(pair.b.stack.legs) == {"call@a t2"} and pair.b.heard[-1] == "ACK"


def test_a_2xx_of_another_branch_is_acknowledged_and_ended_once() -> None:
    pair = Pair()
    leg = pair.invite()
    other = pair.b.stack.response(pair.b.asked.request or Request("", "", [], []), 200, tag="fork")
    other = other.replace(b"Content-Length", b"Contact: <sip:c@127.0.0.1:5003>\r\nContent-Length")
    pair.answer()
    pair.a.take()
    for _ in range(2):
        pair.a.stack.receive(other, pair.a.flow_to(pair.b), 0.0)
    sent = [parse(action.data) for action in pair.a.stack.to_do() if isinstance(action, Send)]
    assert [m.method for m in sent if isinstance(m, Request)] == ["ACK", "BYE", "ACK"]
    assert all(isinstance(m, Request) and m.to_tag == "fork" and m.uri == "sip:c@127.0.0.1:5003" for m in sent)
    assert pair.a.heard == [] and leg.dialog.remote_tag != "fork" and not leg.ended


def test_the_answer_travels_in_the_ack_of_a_delayed_offer() -> None:
    pair = Pair()
    leg = pair.invite(body=b"")
    pair.b.leg.reply(pair.b.asked, 200, 0.0, lines=(TYPE,), body=SDP)
    pair.settle()
    assert pair.a.last is not None and pair.a.last.body == SDP and leg.ack.pending
    leg.acknowledge((TYPE,), SDP + b"a=recvonly\r\n", 0.0)
    pair.settle()
    assert pair.b.last is not None and pair.b.last.body == SDP + b"a=recvonly\r\n"
    assert not leg.ack.pending and pair.b.heard[-1] == "ACK"


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_leg_goes_on_in_another_process(side: str) -> None:
    pair = Pair()
    pair.talk()
    old = pair.a if side == "a" else pair.b
    other = pair.b if side == "a" else pair.a
    state = old.leg.dialog.export()
    fresh = Pair()
    new = fresh.a if side == "a" else fresh.b
    if side == "a":
        pair.a = new
    else:
        pair.b = new
    leg = InviteUsage(new.stack, new, new.flow_to(other), state, established=True)
    new.legs.append(leg)
    assert leg.dialog.export() == state
    leg.send("INFO", (), b"5", 0.0)
    pair.settle()
    assert other.take() == ["INFO"]
    other.leg.reply(other.asked, 200, 0.0)
    other.leg.send("INVITE", (TYPE,), SDP, 0.0)
    pair.settle()
    assert new.take() == ["200", "INVITE"]
    leg.reply(new.asked, 200, 0.0, body=SDP)
    pair.settle()
    other.leg.acknowledge((), b"", 0.0)
    other.leg.send("BYE", (), b"", 0.0)
    pair.settle()
    assert new.take() == ["ACK", "BYE"] and leg.ended


def test_a_leg_taken_over_pays_and_takes_the_acks_of_its_predecessor() -> None:
    pair = Pair()
    pair.talk()
    pair.a.leg.ack.expect(1)
    assert pair.a.leg.ack.pending
    pair.b.leg.success.expect()
    pair.a.leg.acknowledge((), b"", 0.0)
    pair.settle()
    assert pair.b.take() == ["ACK"] and not pair.b.leg.success.awaited and not pair.a.leg.ack.pending


def test_byes_from_both_sides_cross() -> None:
    pair = Pair()
    pair.talk()
    pair.a.leg.send("BYE", (), b"", 0.0)
    pair.b.leg.send("BYE", (), b"", 0.0)
    pair.settle()
    assert pair.a.take() == ["200"] and pair.b.take() == ["200"]
    pair.turn(100.0)
    assert not pair.a.stack.legs and not pair.b.stack.legs


def test_a_bye_answers_an_open_re_invite_with_487() -> None:
    pair = Pair()
    pair.talk()
    pair.a.leg.send("INVITE", (TYPE,), SDP, 0.0)
    pair.settle()
    pair.a.leg.send("BYE", (), b"", 0.0)
    pair.settle()
    pair.b.leg.reply(pair.b.asked, 200, 0.0)
    pair.settle()
    assert pair.b.take() == ["INVITE", "BYE"] and pair.a.take() == ["487", "200"]


def test_a_request_with_a_foreign_tag_gets_481() -> None:
    pair = Pair()
    pair.talk()
    pair.a.leg.dialog.local_tag = "other"
    pair.a.leg.send("INFO", (), b"", 0.0)
    pair.settle()
    assert pair.a.take() == ["481"] and pair.b.take() == []


def test_a_patient_leg_waits_for_ever() -> None:
    pair = Pair("tcp")
    leg = InviteUsage(
        pair.a.stack, pair.a, pair.a.flow_to(pair.b), DialogState("c", "t", "", "<sip:a@x>", "<sip:b@x>")
    )
    leg.no_timeout = True
    pair.cut = True
    leg.call("sip:b@x", (), b"", 0.0)
    pair.turn(1000.0)
    assert pair.a.heard == [] and pair.sent("a", "INVITE") == [0.0]
    pair.cut = False
    assert leg.pending_client_invite is not None
    leg.pending_client_invite.resend(Flow("tcp", "again", ("127.0.0.1", 5002)))
    pair.settle()
    assert pair.b.take() == ["INVITE"]
