"""Attempts after a takeover: what rings goes on ringing, what is new is routed, what was given up is cancelled."""

from __future__ import annotations

import pytest

from tests.b2bua.fake import SDP
from tests.b2bua.fake_agent import kept, record, text_of
from tests.b2bua.takeover_fixture import TakeoverFixture, origin

# -- calls that ring --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["caller first", "caller last", "together"])
def test_a_ringing_call_is_repeated_to_where_it_rings(order: str) -> None:
    fixture = TakeoverFixture()
    a, b = fixture.ringing()
    fixture.die()
    bench = fixture.in_order(order)
    [again] = fixture.gw2.repeats
    assert again.method == "INVITE" and again.get("call-origin") == origin(a)
    assert again.uri.endswith("line=bob") and again.body == SDP
    assert len(fixture.gw2.sides) == 1
    assert a.heard[-1].get("call-origin") == f"{origin(a)};n=1"  # by which its agent knows it as old
    a.heard.clear()
    b.accept()
    assert a.statuses == [200]
    a.ack()
    b.take("ACK")
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    [cdr] = bench.cdrs
    assert cdr.attempts == 1 and cdr.result == "answered"
    fixture.gone()


@pytest.mark.parametrize("side", ["caller", "callee"])
@pytest.mark.parametrize("order", ["caller first", "caller last", "together"])
def test_a_request_in_an_early_dialog_goes_on_when_its_invite_has_made_that_again(order: str, side: str) -> None:
    """INFO before the answer (RFC 6086): a digit for a voice menu is not lost, nor answered that there is no call."""
    fixture = TakeoverFixture()
    a, b = fixture.ringing()
    fixture.die()
    invite, asking, other = a.sent, *((a, b) if side == "caller" else (b, a))
    info = asking.say("INFO", body=SDP)
    if side == "caller":
        fixture.gw1.records = [record(a, "early", sent=[kept(invite), kept(info)])]
    else:
        fixture.gw2.records[0]["sent"] = [kept(info)]
    fixture.in_order(order)
    assert [each.method for each in fixture.gw2.repeats] == ["INVITE"]
    got = other.take("INFO")
    assert got.body == SDP and (got.to_tag, got.from_tag) == (other.tag, other.other_tag)
    asking.heard.clear()
    other.answer(got, 200)
    assert asking.statuses == [200]
    b.accept()
    assert a.statuses[-1] == 200
    a.ack()
    a.say("BYE")
    b.answer(b.asked[-1], 200)
    fixture.gone()


@pytest.mark.parametrize("status", [200, 603])
def test_one_in_an_early_dialog_that_is_never_made_again_gets_481(status: int) -> None:
    fixture = TakeoverFixture()
    a, _ = fixture.ringing()
    fixture.die()
    invite, info = a.sent, a.say("INFO")
    fixture.gw1.records = [record(a, "early", sent=[kept(invite), kept(info)])]
    fixture.gw2.records = []
    a.heard.clear()
    fixture.gw2.origins.clear()  # it was started anew
    fixture.gw2.sides.clear()
    fixture.in_order("together")
    assert set(a.statuses) == {100}
    called = fixture.gw2.called
    called.tag = "another"
    called.accept(status, SDP if status == 200 else b"")
    fixture.bench.after(0.1)
    assert sorted(a.statuses) == [min(status, 481), max(status, 481)]
    if status == 200:
        a.sent = invite
        a.ack()
        a.say("BYE")
        called.answer(called.asked[-1], 200)
    fixture.gone()


def test_a_call_cancelled_in_the_gap_is_cancelled_where_it_rings() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.ringing(cancelled=True)
    fixture.die()
    bench = fixture.succeed()
    assert [each.method for each in fixture.gw2.repeats] == ["INVITE"]
    cancel = b.take("CANCEL")
    assert cancel.branch == fixture.gw2.repeats[0].branch
    b.answer(cancel, 200)
    b.accept(487, b"")
    assert a.statuses[-1] == 487
    assert [(cdr.result, cdr.ended_by) for cdr in bench.cdrs] == [("cancelled", "caller")]
    fixture.gone()


def test_a_call_cancelled_in_the_gap_that_nobody_has_gets_487() -> None:
    fixture = TakeoverFixture()
    fixture.die()
    a = fixture.gw1.call("1002")
    fixture.gw1.records = [record(a, "trying", sent=[kept(a.sent, True)])]
    bench = fixture.succeed()
    assert a.statuses[-1] == 487 and not fixture.gw2.sides
    assert [cdr.result for cdr in bench.cdrs] == ["cancelled"]
    fixture.gone()


def test_a_new_call_in_the_gap_is_routed_when_all_lists_are_there() -> None:
    fixture = TakeoverFixture()
    fixture.die()
    a = fixture.gw1.call("1002")
    fixture.gw1.records = [record(a, "trying", sent=[kept(a.sent)])]
    fixture.gw2.silent = True
    bench = fixture.succeed()
    assert a.statuses == [100] and not fixture.gw2.sides
    fixture.gw2.notify()
    bench.after(0.05)
    assert fixture.gw2.called.take("INVITE").get("call-origin") == origin(a)
    fixture.gw2.called.accept()
    assert a.statuses == [200]


def test_a_replayed_invite_waits_for_a_silent_agent_no_longer_than_it_may() -> None:
    fixture = TakeoverFixture()
    fixture.die()
    a = fixture.gw1.call("1004")
    fixture.gw1.records = [record(a, "trying", sent=[kept(a.sent)])]
    fixture.gw2.silent = True
    bench = fixture.succeed()
    begun = bench.now
    assert not any(not side.outgoing for side in fixture.gw1.sides)
    bench.until(begun + 2.1)
    assert fixture.gw1.called.take("INVITE").uri.endswith("line=dave")


def test_a_call_goes_on_at_the_place_of_the_hunting_that_its_token_names() -> None:
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1002")
    fixture.gw2.called.accept(486, b"")  # bob is busy: forwarded to carol, the second attempt
    b = fixture.gw2.called
    b.ring()
    fixture.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    fixture.gw2.records = [fixture.attempt(b)]
    fixture.die()
    fixture.succeed()
    [again] = fixture.gw2.repeats
    assert str(again.get("call-origin")).endswith(";2") and again.uri.endswith("line=carol")
    b.accept()
    assert a.statuses[-1] == 200


def test_a_call_between_two_targets_goes_on_with_the_one_that_its_token_names() -> None:
    """The former server died after the first target had refused, before anybody heard of the second."""
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1002")
    first = fixture.gw2.called
    first.ring()
    fixture.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    ended = record(first, "terminated", origin=f"{origin(a)}", ended={"ago": 1, "by": "device", "status": 486})
    fixture.gw2.records = [ended]
    fixture.die()
    first.accept(486, b"")
    bench = fixture.succeed()
    bench.after(3)
    # the attempt named by the token is sent again; its agent remembers the 486, and the call is forwarded
    assert fixture.gw2.called is not first and fixture.gw2.called.asked[-1].uri.endswith("line=carol")


@pytest.mark.parametrize("order", ["caller first", "together"])
def test_an_answer_that_is_told_behind_an_attempt_that_is_repeated_is_no_side_that_joined(order: str) -> None:
    """Its token is newer, but the caller still waits: the hunting comes to it as it did before."""
    fixture = TakeoverFixture()
    a = fixture.gw1.call("1002")
    fixture.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    first = fixture.gw2.called
    first.ring()
    refused = record(first, "terminated", origin=origin(a), ended={"ago": 1, "by": "device", "status": 486})
    first.accept(486, b"")
    second = fixture.gw2.called
    fixture.die()
    second.accept()
    answered = record(second, ack="awaited", ack_cseq=1, origin=f"{origin(a)[:-1]}2")
    fixture.gw2.records = [refused, answered]
    a.heard.clear()
    bench = fixture.in_order(order)
    assert [str(each.get("call-origin"))[-2:] for each in fixture.gw2.repeats] == [";1", ";2"]
    assert "BYE" not in [each.method for each in (*first.asked, *second.asked)]
    assert a.statuses[-1] == 200
    a.ack()
    a.say("BYE")
    assert [each.method for each in second.asked] == ["INVITE", "ACK", "BYE"]
    second.answer(second.asked[-1], 200)
    assert [(cdr.result, cdr.attempts) for cdr in bench.cdrs] == [("answered", 2)]
    fixture.gone()


@pytest.mark.parametrize("order", ["caller first", "caller last", "together"])
def test_an_attempt_that_had_not_answered_in_time_is_left_behind(order: str) -> None:
    """The former server had cancelled it, and died before it tried the next target."""
    fixture = TakeoverFixture()
    a, b = fixture.ringing()
    fixture.gw2.records[0]["received"][0]["cancelled"] = True
    fixture.die()
    bench = fixture.in_order(order)
    other = fixture.gw1.called
    assert other is not a and str(other.take("INVITE").get("call-origin")).endswith(";2")
    assert other.asked == [] and fixture.gw2.repeats  # what the first target says is heard, and ended
    b.answer(b.take("CANCEL"), 200)
    b.accept(487, b"")
    other.accept()
    assert a.statuses[-1] == 200
    a.ack()
    other.take("ACK")
    a.say("BYE")
    other.answer(other.take("BYE"), 200)
    [cdr] = bench.cdrs
    assert (cdr.result, cdr.attempts, cdr.callee) == ("answered", 2, "1004")
    fixture.gone()


# -- afterwards -------------------------------------------------------------------------------------------------


def test_a_cancel_after_the_takeover() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.ringing()
    fixture.die()
    bench = fixture.succeed()
    a.heard.clear()
    a.cancel()
    b.answer(b.take("CANCEL"), 200)
    b.accept(487, b"")
    assert sorted(a.statuses) == [200, 487]
    assert [(cdr.result, cdr.ended_by) for cdr in bench.cdrs] == [("cancelled", "caller")]
    fixture.gone()


def test_a_call_lives_through_two_takeovers() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.ringing()
    fixture.die()
    fixture.succeed()
    again = fixture.gw2.repeats[0]
    origin_of_it = again.get("call-origin")
    received = [{"request": text_of(again), "origin": origin_of_it, "cancelled": False}]
    fixture.gw1.records = [record(a, "early", sent=[kept(a.sent)])]
    fixture.gw2.records = [record(b, "early", local_tag=again.from_tag, origin=origin_of_it, received=received)]
    fixture.die()
    bench = fixture.succeed(node="m1", boot=2)
    assert bench.core.epoch == 3 and len(fixture.gw2.repeats) == 2 and len(fixture.gw2.sides) == 1
    a.heard.clear()
    b.accept()
    a.ack()
    assert a.statuses == [200]
    [call] = bench.core.calls.values()
    assert call.state.epochs == (1, 2, 3) and call.state.attempt == 1
    b.asked.clear()
    a.say("BYE")
    b.answer(b.take("BYE"), 200)
    assert [cdr.epoch for cdr in bench.cdrs] == [3]
    fixture.gone()


def test_a_hunt_goes_on_after_the_takeover() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.ringing()
    fixture.die()
    fixture.succeed()
    b.accept(486, b"")
    other = fixture.gw2.called
    assert other is not b and str(other.take("INVITE").get("call-origin")).endswith(";2")
    other.accept()
    assert a.statuses[-1] == 200


def test_nobody_answers_after_the_takeover() -> None:
    fixture = TakeoverFixture()
    a, b = fixture.ringing()
    fixture.die()
    bench = fixture.succeed()
    bench.after(11)
    b.answer(b.take("CANCEL"), 200)
    b.accept(487, b"")
    assert fixture.gw1.called.asked[-1].uri.endswith("line=dave")
    fixture.gw1.called.accept()
    assert a.statuses[-1] == 200
