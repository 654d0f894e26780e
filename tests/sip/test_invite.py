"""What one leg does by itself: RFC 3261 sections 12 to 15, both ends."""

from __future__ import annotations

import pytest

from sip.actions import Flow, Send
from sip.dialog import DialogState
from sip.invite import InviteUsage
from sip.wire.message import Request, parse
from tests.sip.two_stacks import SDP, TYPE, TwoStacks


def test_a_plain_call() -> None:
    stacks = TwoStacks()
    stacks.invite()
    assert stacks.b.take() == ["INVITE"] and stacks.b.last is not None and stacks.b.last.body == SDP
    stacks.b.leg.reply(stacks.b.asked, 100, 0.0)
    stacks.b.leg.reply(stacks.b.asked, 180, 0.0)
    stacks.settle()
    stacks.answer()
    assert stacks.a.take() == ["100", "180", "200"] and stacks.b.take() == ["ACK"]
    stacks.a.leg.send("BYE", (), b"", 0.0)
    stacks.settle()
    assert stacks.b.take() == ["BYE"] and stacks.b.leg.ended
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0)
    stacks.settle()
    assert stacks.a.take() == ["200"]
    stacks.turn(100.0)
    for end in (stacks.a, stacks.b):
        assert not end.stack.legs and not end.stack.servers and not end.stack.clients and end.heard == []


def test_a_2xx_is_repeated_until_its_ack_comes() -> None:
    stacks = TwoStacks()
    stacks.invite()
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0, body=SDP)
    stacks.turn(8.0)
    assert stacks.sent("b", "200") == [0.0, 0.5, 1.5, 3.5, 7.5] and stacks.b.leg.server_invite.awaits_ack
    assert stacks.a.take() == ["200"] and stacks.a.leg.ack.pending
    stacks.a.leg.acknowledge((), b"", 8.0)
    stacks.turn(100.0)
    assert (
        len(stacks.sent("b", "200")) == 5
        and stacks.b.take() == ["INVITE", "ACK"]
        and not stacks.b.leg.server_invite.awaits_ack
    )


def test_without_an_ack_the_owner_is_told_after_64_t1() -> None:
    stacks = TwoStacks()
    stacks.invite()
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0, body=SDP)
    stacks.turn(31.9)
    assert "unacknowledged" not in stacks.b.heard
    stacks.turn(60.0)
    assert stacks.b.heard[-1] == "unacknowledged"
    assert stacks.sent("b", "200") == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


def test_a_repeated_2xx_is_acknowledged_again_in_the_same_words() -> None:
    stacks = TwoStacks()
    stacks.invite()
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0, body=SDP)
    stacks.settle()
    success = next(message for _, who, message in stacks.wire if who == "b")
    stacks.a.leg.acknowledge(("X-Note: 1",), SDP, 0.0)
    stacks.a.stack.receive(success.to_bytes(), stacks.a.flow_to(stacks.b), 0.0)
    stacks.settle()
    acks = [message for _, who, message in stacks.wire if isinstance(message, Request) and message.method == "ACK"]
    assert len(acks) == 2 and acks[0].to_bytes() == acks[1].to_bytes()
    assert acks[1].body == SDP and acks[1].get("x-note") == "1"
    assert stacks.a.heard == ["200"] and stacks.b.heard == ["INVITE", "ACK"]


def test_an_ack_that_may_be_lost_is_sent_again_for_that_invite_only() -> None:
    stacks = TwoStacks()
    stacks.talk()
    stacks.a.leg.ack.again(7)
    stacks.a.leg.ack.again(1)
    stacks.settle()
    assert len(stacks.sent("a", "ACK")) == 2 and stacks.b.take() == []


def test_an_ack_of_an_older_invite_does_not_stop_the_repetition() -> None:
    stacks = TwoStacks()
    stacks.talk()
    ack = next(m for _, _, m in stacks.wire if isinstance(m, Request) and m.method == "ACK")
    stacks.a.leg.send("INVITE", (), b"", 0.0)
    stacks.settle()
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0, body=SDP)
    stacks.settle()
    stacks.b.stack.receive(ack.to_bytes(), stacks.b.flow_to(stacks.a), 0.0)
    assert stacks.b.leg.server_invite.awaits_ack


def test_on_a_stream_to_a_device_a_2xx_is_repeated_like_over_udp() -> None:
    stacks = TwoStacks("tcp")
    stacks.invite()
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0, body=SDP)
    stacks.turn(10.0)
    assert stacks.sent("b", "200") == [0.0, 0.5, 1.5, 3.5, 7.5]
    stacks.a.leg.acknowledge((), b"", 10.0)
    stacks.turn(80.0)
    assert stacks.sent("b", "200") == [0.0, 0.5, 1.5, 3.5, 7.5]
    assert stacks.b.heard[-1] == "ACK"


def test_on_a_site_flow_a_2xx_is_sent_once_and_again_on_a_new_connection() -> None:
    stacks = TwoStacks("tcp")
    stacks.b.stack.site_flows.add(stacks.b.flow_to(stacks.a))
    stacks.invite()
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0, body=SDP)
    stacks.turn(20.0)
    assert stacks.sent("b", "200") == [0.0]
    stacks.b.leg.moved(stacks.b.flow_to(stacks.a))
    stacks.settle()
    assert stacks.sent("b", "200") == [0.0, 20.0]
    stacks.turn(40.0)
    assert stacks.b.heard[-1] == "unacknowledged"


def test_a_crossing_re_invite_gets_491() -> None:
    stacks = TwoStacks()
    stacks.talk()
    stacks.a.leg.send("INVITE", (TYPE,), SDP, 0.0)
    stacks.b.leg.send("INVITE", (TYPE,), SDP, 0.0)
    stacks.settle()
    assert stacks.a.take() == ["491"] and stacks.b.take() == ["491"]
    assert stacks.a.leg.client_invite.pending is None and not stacks.a.leg.ended


def test_a_second_invite_before_the_answer_to_the_first_gets_500() -> None:
    stacks = TwoStacks()
    stacks.talk()
    stacks.a.leg.send("INVITE", (), b"", 0.0)
    stacks.settle()
    stacks.a.leg.send("INVITE", (), b"", 0.0)
    stacks.settle()
    assert stacks.a.take() == ["500"] and stacks.a.last is not None
    wait = stacks.a.last.get("retry-after")
    assert wait is not None and 0 <= int(wait) <= 10  # section 14.2


def test_a_lower_cseq_gets_500_and_changes_nothing() -> None:
    stacks = TwoStacks()
    stacks.talk()
    stacks.a.leg.dialog.local_cseq = 0
    stacks.a.leg.send("INFO", (), b"", 0.0)
    stacks.settle()
    assert stacks.a.take() == ["500"] and stacks.b.take() == [] and stacks.b.leg.dialog.remote_cseq == 1


def test_cancel_waits_for_a_provisional_response() -> None:
    stacks = TwoStacks()
    leg = stacks.invite()
    leg.cancel(0.0, ("Reason: SIP;cause=200",))
    stacks.turn(0.4)
    assert stacks.sent("a", "CANCEL") == []
    stacks.b.leg.reply(stacks.b.asked, 180, 0.4)
    stacks.settle()
    assert stacks.sent("a", "CANCEL") == [0.4]
    invite, cancel = stacks.wire[0][2], next(m for _, _, m in stacks.wire if getattr(m, "method", "") == "CANCEL")
    assert isinstance(invite, Request) and isinstance(cancel, Request)
    assert cancel.branch == invite.branch and cancel.uri == invite.uri and cancel.cseq == invite.cseq
    assert cancel.get("to") == invite.get("to") and cancel.get("reason") == "SIP;cause=200"
    assert stacks.b.take() == ["INVITE", "CANCEL"]
    stacks.b.leg.reply(stacks.b.leg.server_invite.pending or stacks.b.asked, 487, 0.4)
    stacks.turn(100.0)
    assert stacks.a.take() == ["180", "487"] and leg.ended and not stacks.a.stack.legs


def test_cancel_keeps_the_number_of_its_invite_when_requests_came_between() -> None:
    stacks = TwoStacks()
    leg = stacks.invite()
    stacks.b.leg.reply(stacks.b.asked, 183, 0.0)
    stacks.settle()
    leg.send("INFO", (), b"", 0.0)
    leg.cancel(0.0)
    stacks.settle()
    cancel = next(m for _, _, m in stacks.wire if getattr(m, "method", "") == "CANCEL")
    assert cancel.cseq == 1 and stacks.b.take() == ["INVITE", "INFO", "CANCEL"]


def test_a_cancel_that_nobody_answers_ends_the_invite_after_64_t1() -> None:
    stacks = TwoStacks()
    leg = stacks.invite()
    stacks.b.leg.reply(stacks.b.asked, 180, 0.0)
    stacks.settle()
    stacks.cut = True
    leg.cancel(1.0)
    stacks.turn(120.0)
    assert stacks.a.take() == ["180", "INVITE timed out"] and leg.ended and leg.client_invite.pending is None


def test_a_cancel_that_crosses_the_2xx_leaves_an_answered_call() -> None:
    stacks = TwoStacks()
    leg = stacks.invite()
    stacks.b.leg.reply(stacks.b.asked, 180, 0.0)
    stacks.settle()
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0, body=SDP)
    leg.cancel(0.0)
    stacks.settle()
    assert (
        stacks.a.take() == ["180", "200"]
        and stacks.b.take() == ["INVITE"]
        and leg.established
        and leg.client_invite.cancelling
    )
    leg.acknowledge((), b"", 0.0)
    leg.send("BYE", (), b"", 0.0)
    stacks.settle()
    assert stacks.b.take() == ["ACK", "BYE"]


def test_a_cancel_asked_for_too_late_does_not_hit_the_next_invite() -> None:
    stacks = TwoStacks()
    leg = stacks.invite()
    leg.cancel(0.0)  # no provisional response has come, none will
    stacks.answer()
    leg.send("INVITE", (TYPE,), SDP, 1.0)
    stacks.settle()
    stacks.b.leg.reply(stacks.b.asked, 100, 1.0)
    stacks.settle()
    assert stacks.sent("a", "CANCEL") == [] and not leg.client_invite.cancelling


def test_a_re_invite_can_be_cancelled_and_the_call_stays() -> None:
    stacks = TwoStacks()
    stacks.talk()
    for _ in range(2):
        stacks.a.leg.send("INVITE", (TYPE,), SDP, 0.0)
        stacks.settle()
        invite = stacks.b.asked
        stacks.b.leg.reply(invite, 100, 0.0)
        stacks.settle()
        stacks.a.leg.cancel(0.0)
        stacks.settle()
        assert stacks.b.take() == ["INVITE", "CANCEL"]
        stacks.b.leg.reply(invite, 487, 0.0)
        stacks.settle()
        assert stacks.a.take() == ["100", "487"]
    stacks.turn(100.0)
    assert not stacks.a.leg.ended and not stacks.b.leg.ended and stacks.a.heard == []


def test_early_dialogs_are_kept_apart_and_the_answer_picks_one() -> None:
    stacks = TwoStacks()
    leg = stacks.invite()
    for tag, status in (("t1", 183), ("t2", 180), ("t1", 180)):
        stacks.b.leg.reply(stacks.b.asked, status, 0.0, tag=tag)
    stacks.settle()
    fork = leg.dialogs.find("t2")
    assert leg.dialog.remote_tag == "t1"
    assert fork is not None and fork.dialog.target == "sip:127.0.0.1:5002"
    assert {f"call@a {tag}" for tag in ("t1", "t2")} <= set(stacks.b.stack.legs)
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0, tag="t2", body=SDP)
    stacks.settle()
    leg.acknowledge((), b"", 0.0)
    stacks.settle()
    assert leg.dialog.remote_tag == "t2" == stacks.b.leg.dialog.local_tag and leg.dialogs.find("t1") is None
    assert set(stacks.b.stack.legs) == {"call@a t2"} and stacks.b.heard[-1] == "ACK"


def test_a_2xx_of_another_branch_is_acknowledged_and_ended_once() -> None:
    stacks = TwoStacks()
    leg = stacks.invite()
    other = stacks.b.stack.response(stacks.b.asked.request or Request("", "", [], []), 200, tag="fork")
    other = other.replace(b"Content-Length", b"Contact: <sip:c@127.0.0.1:5003>\r\nContent-Length")
    stacks.answer()
    stacks.a.take()
    for _ in range(2):
        stacks.a.stack.receive(other, stacks.a.flow_to(stacks.b), 0.0)
    sent = [parse(action.data) for action in stacks.a.stack.to_do() if isinstance(action, Send)]
    assert [m.method for m in sent if isinstance(m, Request)] == ["ACK", "BYE", "ACK"]
    assert all(isinstance(m, Request) and m.to_tag == "fork" and m.uri == "sip:c@127.0.0.1:5003" for m in sent)
    assert stacks.a.heard == [] and leg.dialog.remote_tag != "fork" and not leg.ended


def test_the_answer_travels_in_the_ack_of_a_delayed_offer() -> None:
    stacks = TwoStacks()
    leg = stacks.invite(body=b"")
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0, lines=(TYPE,), body=SDP)
    stacks.settle()
    assert stacks.a.last is not None and stacks.a.last.body == SDP and leg.ack.pending
    leg.acknowledge((TYPE,), SDP + b"a=recvonly\r\n", 0.0)
    stacks.settle()
    assert stacks.b.last is not None and stacks.b.last.body == SDP + b"a=recvonly\r\n"
    assert not leg.ack.pending and stacks.b.heard[-1] == "ACK"


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_leg_goes_on_in_another_process(side: str) -> None:
    stacks = TwoStacks()
    stacks.talk()
    old = stacks.a if side == "a" else stacks.b
    other = stacks.b if side == "a" else stacks.a
    state = old.leg.dialog.export()
    fresh = TwoStacks()
    new = fresh.a if side == "a" else fresh.b
    if side == "a":
        stacks.a = new
    else:
        stacks.b = new
    leg = InviteUsage(new.stack, new, new.flow_to(other), state, established=True)
    new.legs.append(leg)
    assert leg.dialog.export() == state
    leg.send("INFO", (), b"5", 0.0)
    stacks.settle()
    assert other.take() == ["INFO"]
    other.leg.reply(other.asked, 200, 0.0)
    other.leg.send("INVITE", (TYPE,), SDP, 0.0)
    stacks.settle()
    assert new.take() == ["200", "INVITE"]
    leg.reply(new.asked, 200, 0.0, body=SDP)
    stacks.settle()
    other.leg.acknowledge((), b"", 0.0)
    other.leg.send("BYE", (), b"", 0.0)
    stacks.settle()
    assert new.take() == ["ACK", "BYE"] and leg.ended


def test_a_leg_taken_over_pays_and_takes_the_acks_of_its_predecessor() -> None:
    stacks = TwoStacks()
    stacks.talk()
    stacks.a.leg.ack.expect(1)
    assert stacks.a.leg.ack.pending
    stacks.b.leg.server_invite.expect_ack()
    stacks.a.leg.acknowledge((), b"", 0.0)
    stacks.settle()
    assert stacks.b.take() == ["ACK"] and not stacks.b.leg.server_invite.awaits_ack and not stacks.a.leg.ack.pending


def test_byes_from_both_sides_cross() -> None:
    stacks = TwoStacks()
    stacks.talk()
    stacks.a.leg.send("BYE", (), b"", 0.0)
    stacks.b.leg.send("BYE", (), b"", 0.0)
    stacks.settle()
    assert stacks.a.take() == ["200"] and stacks.b.take() == ["200"]
    stacks.turn(100.0)
    assert not stacks.a.stack.legs and not stacks.b.stack.legs


def test_a_bye_answers_an_open_re_invite_with_487() -> None:
    stacks = TwoStacks()
    stacks.talk()
    stacks.a.leg.send("INVITE", (TYPE,), SDP, 0.0)
    stacks.settle()
    stacks.a.leg.send("BYE", (), b"", 0.0)
    stacks.settle()
    stacks.b.leg.reply(stacks.b.asked, 200, 0.0)
    stacks.settle()
    assert stacks.b.take() == ["INVITE", "BYE"] and stacks.a.take() == ["487", "200"]


def test_a_request_with_a_foreign_tag_gets_481() -> None:
    stacks = TwoStacks()
    stacks.talk()
    stacks.a.leg.dialog.local_tag = "other"
    stacks.a.leg.send("INFO", (), b"", 0.0)
    stacks.settle()
    assert stacks.a.take() == ["481"] and stacks.b.take() == []


def test_a_leg_without_timeout_waits_for_ever() -> None:
    stacks = TwoStacks("tcp")
    state = DialogState("c", "t", "", "<sip:a@x>", "<sip:b@x>")
    leg = InviteUsage(stacks.a.stack, stacks.a, stacks.a.flow_to(stacks.b), state, no_timeout=True)
    stacks.cut = True
    leg.call("sip:b@x", (), b"", 0.0)
    stacks.turn(1000.0)
    assert stacks.a.heard == [] and stacks.sent("a", "INVITE") == [0.0]
    stacks.cut = False
    assert leg.client_invite.pending is not None
    leg.client_invite.pending.resend(Flow("tcp", "again", ("127.0.0.1", 5002)))
    stacks.settle()
    assert stacks.b.take() == ["INVITE"]
