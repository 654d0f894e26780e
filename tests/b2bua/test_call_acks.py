"""2xx and ACK, forked answers, repeats, and what nobody answers."""

from __future__ import annotations

from tests.b2bua.fake import SDP
from tests.b2bua.trunk_fixture import TrunkFixture


def test_a_2xx_without_ack_is_repeated_and_ends_both_sides_after_32_s() -> None:
    fixture = TrunkFixture()
    a, b = fixture.ring()
    b.accept()
    fixture.bench.after(31)
    assert [each.status for each in a.heard] == [200] * 10  # at 0, .5, 1.5, 3.5, 7.5, 11.5 ... 27.5 and once more
    fixture.bench.after(2)
    bye = a.asked[-1]
    assert bye.method == "BYE" and bye.get("reason") == 'SIP;cause=408;text="No ACK"'
    assert {each.method for each in b.asked} >= {"INVITE", "ACK", "BYE"}
    [cdr] = fixture.bench.cdrs
    assert (cdr.result, cdr.ended_by) == ("answered", "server")
    fixture.nothing_left()


def test_a_repeated_2xx_gets_the_ack_again() -> None:
    fixture = TrunkFixture()
    a, b = fixture.ring()
    b.accept()
    b.take("INVITE")
    a.ack(b"answer")
    assert b.take("ACK").body == b"answer"
    b.accept()
    again = b.take("ACK")
    assert again.body == b"answer" and again.cseq == 1
    assert a.statuses == [200]


def test_a_second_2xx_of_a_fork_is_acknowledged_and_ended() -> None:
    fixture = TrunkFixture()
    a, b = fixture.ring()
    b.accept()
    invite = b.take("INVITE")
    a.ack()
    b.take("ACK")
    b.answer(invite, 200, tag="other", body=SDP)
    assert b.take("ACK").to_tag == "other"
    bye = b.take("BYE")
    assert bye.to_tag == "other"
    b.answer(bye, 200)
    assert a.statuses == [200] and len(fixture.bench.core.calls) == 1


def test_repeats_of_the_invite_change_nothing() -> None:
    fixture = TrunkFixture()
    a = fixture.left.call("1001")
    assert a.sent is not None
    data = a.sent.to_bytes()
    fixture.left.send(data)
    assert a.statuses == [100, 100] and len(fixture.right.sides) == 1
    fixture.right.called.ring()
    fixture.left.send(data)
    assert a.statuses == [180, 180]
    fixture.right.called.accept()
    fixture.left.send(data)
    assert a.statuses == [200]


def test_an_unanswered_invite_times_out_as_408() -> None:
    fixture = TrunkFixture()
    a = fixture.left.call("1001")
    b = fixture.right.called
    fixture.bench.after(3.9)
    assert len(b.asked) == 4 and a.statuses == [100]
    fixture.bench.after(0.2)
    assert a.statuses == [408] and fixture.bench.cdrs[0].result == "no-answer"
    fixture.bench.after(28)
    assert len(b.asked) == 7  # it might ring: its first response would be met with CANCEL
    fixture.nothing_left()


def test_ringing_for_too_long_is_cancelled_and_told_as_408() -> None:
    fixture = TrunkFixture()
    a, b = fixture.ring()
    fixture.bench.after(59)
    assert not b.asked[1:]
    fixture.bench.after(2)
    b.take("INVITE")
    cancel = b.take("CANCEL")
    assert cancel.get("reason") == 'SIP;cause=408;text="No answer"'
    b.answer(cancel, 200)
    b.accept(487, b"")
    assert a.statuses == [408]
    [cdr] = fixture.bench.cdrs
    assert (cdr.status, cdr.result, cdr.ended_by) == (408, "no-answer", "server")
    fixture.nothing_left()
