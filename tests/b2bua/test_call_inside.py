"""Inside an answered call: re-INVITE, glare, INFO, MESSAGE, and what is refused."""

from __future__ import annotations

import pytest

from sip.wire.sdp import origin_of, same_but_origin, with_origin
from tests.b2bua.fake import HOLD, SDP
from tests.b2bua.trunk_fixture import TrunkFixture
from tests.consoles import seen


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_hold_and_resume(by: str) -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    first, other = (a, b) if by == "caller" else (b, a)
    versions = []
    for body, state in ((HOLD, "held"), (SDP, "talking")):
        fixture.bench.after(0.02)
        first.say("INVITE", body=body)
        invite = other.take("INVITE")
        assert same_but_origin(invite.body, body) and invite.to_tag
        versions.append(origin_of(invite.body).version)
        other.answer(invite, 100)
        other.answer(invite, 200, body=SDP)
        assert first.statuses == [100, 200]
        first.ack()
        assert other.take("ACK").cseq == invite.cseq
        page = seen(fixture.bench.core, "calls", {}, fixture.bench.now)
        assert [each["state"] for each in page["calls"]] == [state]
        fixture.bench.after(0.02)
    assert versions == [2, 3]  # one origin line, whose version tells of each change (RFC 3264 section 8)
    fixture.hang_up(other, first)
    fixture.nothing_left()


@pytest.mark.parametrize("status", [488, 491, 500, 606])
def test_a_refused_re_invite_leaves_the_call_as_it_was(status: int) -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    a.say("INVITE", body=HOLD)
    b.answer(b.take("INVITE"), status, ("Retry-After: 3",))
    assert a.heard[-1].get("retry-after") == "3" and a.statuses == [100, status]
    b.take("ACK")
    assert seen(fixture.bench.core, "calls", {}, 0.0)["calls"][0]["state"] == "talking"
    fixture.hang_up(a, b)
    fixture.nothing_left()


def test_a_device_that_does_not_answer_a_re_invite_is_gone() -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    b.say("INVITE", body=HOLD)
    fixture.bench.after(33)
    assert b.statuses == [100, 408]
    for side in (a, b):
        bye = side.asked[-1]
        assert bye.method == "BYE" and "The device is gone" in (bye.get("reason") or "")
        side.answer(bye, 200)
    fixture.nothing_left()


def test_glare_is_answered_491_on_both_sides() -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    a.say("INVITE", body=SDP)
    b.say("INVITE", body=SDP)
    assert b.statuses == [491]
    b.answer(b.take("INVITE"), 491)
    assert a.statuses == [100, 491]
    fixture.bench.after(1)
    b.asked.clear()
    a.say("INVITE", body=SDP)
    b.answer(b.take("INVITE"), 200, body=SDP)
    a.ack()
    b.take("ACK")
    assert a.statuses == [100, 200]
    fixture.hang_up(a, b)
    fixture.nothing_left()


def test_a_re_invite_before_the_ack_is_passed_on_and_the_acks_do_not_mix() -> None:
    fixture = TrunkFixture()
    a, b = fixture.ring()
    b.accept()
    b.take("INVITE")
    b.say("INVITE", body=HOLD)
    again = a.take("INVITE")
    a.ack(b"first")
    assert b.take("ACK").body == b"first"
    a.answer(again, 200, body=SDP)
    assert b.statuses == [100, 200]
    b.ack(b"second")
    ack = a.take("ACK")
    assert ack.body == b"second" and ack.cseq == again.cseq
    assert a.statuses == [200]
    fixture.hang_up(a, b)
    fixture.nothing_left()


def test_info_and_message_cross_with_their_bodies_and_answers() -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    for first, other in ((a, b), (b, a)):
        for method in ("INFO", "MESSAGE"):
            first.say(method, ("Content-Type: application/dtmf-relay", "Info-Package: x"), b"Signal=5")
            request = other.take(method)
            assert request.body == b"Signal=5" and request.get("info-package") == "x"
            assert first.statuses == []
            other.answer(request, 200, ("X-A: 1",), b"ok")
            assert first.heard[-1].body == b"ok"
            assert first.statuses == [200]
    fixture.hang_up(a, b)
    fixture.nothing_left()


@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH", "FOO"])
def test_methods_that_a_call_does_not_know_get_405(method: str) -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    a.say(method)
    assert a.heard[0].get("allow") == "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, PRACK, UPDATE"
    assert a.statuses == [405] and not b.asked


def test_options_in_the_call_is_answered_here() -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    a.say("OPTIONS")
    assert a.statuses == [200] and not b.asked


def test_cseq_that_runs_back_is_refused() -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    a.cseq = 9
    a.say("INFO")
    b.answer(b.take("INFO"), 200)
    a.say("INFO", cseq=4)
    assert a.statuses == [200, 500] and not b.asked


def test_a_wrong_from_tag_in_a_known_dialog_gets_481() -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    a.tag = "wrong"
    a.say("BYE")
    assert a.statuses == [481] and not b.asked and len(fixture.bench.core.calls) == 1


def test_delayed_offer_in_both_kinds_of_invite() -> None:
    fixture = TrunkFixture()
    a, b = fixture.ring(b"")
    assert b.take("INVITE").body == b""
    b.accept(body=SDP)
    assert a.heard[-1].body == SDP
    a.ack(HOLD)
    assert b.take("ACK").body == HOLD
    a.heard.clear()
    fixture.bench.after(0.02)
    a.say("INVITE")
    b.answer(b.take("INVITE"), 200, body=SDP)
    assert a.heard[-1].body == SDP
    a.ack(SDP)
    ack = b.take("ACK")
    assert ack.body == with_origin(SDP, origin_of(HOLD)._replace(version=2))
    assert ack.get("content-type") == "application/sdp"


# -- CANCEL of a re-INVITE -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_the_cancel_of_a_re_invite_is_passed_on_and_its_answer_comes_back(by: str) -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    first, other = (a, b) if by == "caller" else (b, a)
    first.say("INVITE", body=HOLD)
    invite = other.take("INVITE")
    first.cancel()
    assert first.statuses == [100, 200] and not other.asked  # RFC 3261 section 9.1: not before a provisional
    other.answer(invite, 100)
    cancel = other.take("CANCEL")
    assert (cancel.branch, cancel.cseq) == (invite.branch, invite.cseq)
    other.answer(cancel, 200)
    other.answer(invite, 487)
    assert other.take("ACK").cseq == invite.cseq and first.statuses == [487]
    assert [each["state"] for each in seen(fixture.bench.core, "calls", {}, fixture.bench.now)["calls"]] == [
        "talking"
    ]
    fixture.hang_up(a, b)
    fixture.nothing_left()


def test_a_cancel_of_a_re_invite_that_crosses_its_200_changes_nothing() -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    a.say("INVITE", body=HOLD)
    invite = b.take("INVITE")
    b.answer(invite, 100)
    a.cancel()
    b.answer(invite, 200, body=SDP)
    b.answer(b.take("CANCEL"), 200)
    assert a.statuses == [100, 200, 200]
    a.ack()
    assert b.take("ACK").cseq == invite.cseq
    assert [each["state"] for each in seen(fixture.bench.core, "calls", {}, fixture.bench.now)["calls"]] == ["held"]
    fixture.hang_up(b, a)
    fixture.nothing_left()


def test_a_cancelled_re_invite_that_nobody_answers_ends_as_487_and_the_call_goes_on() -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    a.say("INVITE", body=HOLD)
    b.answer(b.take("INVITE"), 100)
    a.cancel()
    fixture.bench.after(33)
    assert a.statuses[-1] == 487 and len(fixture.bench.core.calls) == 1
    b.asked.clear()
    a.say("INVITE", body=HOLD)
    b.answer(b.take("INVITE"), 200, body=SDP)
    a.ack()
    b.take("ACK")
    assert a.statuses == [100, 200]
    fixture.hang_up(a, b)
    fixture.nothing_left()


# -- BYE and re-INVITE cross ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [True, False])
def test_a_bye_of_the_side_that_is_asked_ends_the_re_invite_with_487(answered: bool) -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    a.say("INVITE", body=HOLD)
    invite = b.take("INVITE")
    b.say("BYE")
    if answered:
        b.answer(invite, 487)
    a.answer(a.take("BYE"), 200)
    assert b.statuses == [200]
    fixture.bench.after(40)
    assert a.statuses == [100, 487]
    assert not fixture.bench.core.calls and len(fixture.bench.cdrs) == 1
    fixture.nothing_left()


@pytest.mark.parametrize("late", [200, 487, 0])
def test_a_bye_of_the_side_that_asks_ends_its_re_invite_with_487(late: int) -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    a.say("INVITE", body=HOLD)
    invite = b.take("INVITE")
    a.say("BYE")
    assert sorted(a.statuses) == [100, 200, 487]
    b.answer(b.take("BYE"), 200)
    if late:
        b.answer(invite, late, body=SDP if late == 200 else b"")
    assert a.statuses == []
    fixture.nothing_left()


# -- forks ---------------------------------------------------------------------------------------------------


def test_answers_of_two_branches_at_once_leave_one_call_and_end_the_other() -> None:
    fixture = TrunkFixture()
    a = fixture.left.call("1001")
    b = fixture.right.called
    invite = b.take("INVITE")
    b.ring(tag="one")
    b.ring(tag="two")
    b.answer(invite, 200, tag="two", body=SDP)
    b.answer(invite, 200, tag="one", body=SDP)
    assert a.heard[-1].to_tag == "two" and a.statuses == [100, 180, 180, 200]
    ended = {each.method: each.to_tag for each in b.asked}
    assert ended == {"ACK": "one", "BYE": "one"}
    b.answer(b.asked[-1], 200)
    b.asked.clear()
    a.ack()
    assert b.take("ACK").to_tag == "two"
    b.tag = "two"
    fixture.hang_up(a, b)
    assert len(fixture.bench.cdrs) == 1
    fixture.nothing_left()
