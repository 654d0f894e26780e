"""How calls end: CANCEL and BYE, from either side, crossing each other and everything else."""

from __future__ import annotations

import pytest

from tests.b2bua.trunk_fixture import TrunkFixture


def test_cancel_while_it_rings() -> None:
    fixture = TrunkFixture()
    a, b = fixture.ring()
    a.cancel()
    assert a.statuses == [200, 487]
    invite = b.take("INVITE")
    cancel = b.take("CANCEL")
    assert cancel.branch == invite.branch and cancel.uri == invite.uri
    b.answer(cancel, 200)
    b.accept(487, b"")
    [cdr] = fixture.bench.cdrs
    assert (cdr.result, cdr.status, cdr.ended_by) == ("cancelled", 487, "caller")
    fixture.nothing_left()


def test_cancel_before_the_callee_said_anything_waits_for_a_provisional() -> None:
    fixture = TrunkFixture()
    a = fixture.left.call("1001")
    b = fixture.right.called
    a.cancel()
    assert a.statuses == [100, 200, 487] and [each.method for each in b.asked] == ["INVITE"]
    b.ring()
    assert [each.method for each in b.asked] == ["INVITE", "CANCEL"]
    b.accept(487, b"")
    fixture.nothing_left()


def test_a_200_that_crosses_the_cancel_gets_ack_and_bye() -> None:
    fixture = TrunkFixture()
    a, b = fixture.ring()
    a.cancel()
    assert a.statuses == [200, 487]
    b.accept()
    b.answer(b.asked[1], 481)
    assert [each.method for each in b.asked] == ["INVITE", "CANCEL", "ACK", "BYE"]
    b.answer(b.asked[-1], 200)
    assert a.statuses == []
    [cdr] = fixture.bench.cdrs
    assert cdr.result == "cancelled"
    fixture.nothing_left()


def test_a_cancel_for_which_nobody_answers_ends_the_call() -> None:
    fixture = TrunkFixture()
    a, _ = fixture.ring()
    a.cancel()
    fixture.bench.after(33)
    assert 487 in a.statuses
    assert fixture.bench.cdrs[0].result == "cancelled"
    fixture.nothing_left()


def test_a_cancel_of_nothing_and_a_late_one() -> None:
    fixture = TrunkFixture()
    a, _ = fixture.talk()
    a.cancel()
    assert a.statuses in ([200], [481])
    assert len(fixture.bench.core.calls) == 1 and not fixture.bench.cdrs


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_bye_from_either_side(by: str) -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    first, other = (a, b) if by == "caller" else (b, a)
    first.say("BYE", ('Reason: Q.850;cause=16;text="bye"',), b"last")
    bye = other.take("BYE")
    assert bye.get("reason") == 'Q.850;cause=16;text="bye"' and bye.body == b"last"
    assert first.statuses == [200]  # at once, whatever the other side says (RFC 3261 section 15.1.2)
    other.answer(bye, 200)
    assert first.statuses == []
    assert fixture.bench.cdrs[0].ended_by == by
    fixture.nothing_left()


def test_bye_crossing_bye() -> None:
    fixture = TrunkFixture()
    a, b = fixture.talk()
    a.say("BYE")
    b.say("BYE")
    assert b.statuses == [200]
    b.answer(b.take("BYE"), 200)
    assert a.statuses == [200] and not a.asked
    assert len(fixture.bench.cdrs) == 1
    fixture.nothing_left()


def test_bye_that_is_refused_or_never_answered_ends_the_call_all_the_same() -> None:
    fixture = TrunkFixture()
    for status in (481, 0):
        a, b = fixture.talk()
        a.say("BYE")
        assert a.statuses == [200]
        if status:
            b.answer(b.take("BYE"), status)
        else:
            fixture.bench.after(33)
        assert not fixture.bench.core.calls
    assert len(fixture.bench.cdrs) == 2
    fixture.nothing_left()


def test_bye_in_the_early_dialog_from_the_caller() -> None:
    """RFC 3261 section 15: the caller may send BYE on an early dialog."""
    fixture = TrunkFixture()
    a, b = fixture.ring()
    a.say("BYE")
    assert sorted(a.statuses) == [200, 487]
    b.take("INVITE")
    b.answer(b.take("CANCEL"), 200)
    b.accept(487, b"")
    assert fixture.bench.cdrs[0].result == "cancelled" and not fixture.bench.core.calls
    fixture.nothing_left()


def test_bye_to_an_early_bye_that_crosses_a_200() -> None:
    fixture = TrunkFixture()
    a, b = fixture.ring()
    a.say("BYE")
    b.accept()
    assert [each.method for each in b.asked] == ["INVITE", "CANCEL", "ACK", "BYE"]
    b.answer(b.asked[-1], 200)
    assert not fixture.bench.core.calls
    fixture.nothing_left()
