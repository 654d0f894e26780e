"""Ended calls leave nothing to the garbage collector, of whatever kind they were."""

from __future__ import annotations

import pytest

from tests.b2bua.fake import HOLD, SDP, Peer, Side
from tests.b2bua.fake_agent import ServerFixture, record
from tests.cycles import nothing_for_the_collector


def _plain(a: Side, b: Side) -> None:
    b.ring()
    b.accept()
    a.ack()
    a.say("BYE")
    b.answer(b.asked[-1], 200)


def _callee_hangs_up(a: Side, b: Side) -> None:
    b.accept()
    a.ack()
    b.say("BYE")
    a.answer(a.asked[-1], 200)


def _refused(a: Side, b: Side) -> None:
    b.accept(404, b"")


def _unreached(a: Side, b: Side) -> None:
    b.accept(503, b"")


def _cancelled(a: Side, b: Side) -> None:
    b.ring()
    a.cancel()
    b.answer(b.asked[-1], 200)
    b.accept(487, b"")


def _cancel_crosses_the_answer(a: Side, b: Side) -> None:
    b.ring()
    a.cancel()
    b.accept()
    a.ack()
    a.say("BYE")
    b.answer(b.asked[-1], 200)


def _no_answer(a: Side, b: Side) -> None:
    b.ring()
    a.peer.bench.after(185)
    b.accept()
    b.answer(b.asked[-1], 200)


def _silent(a: Side, b: Side) -> None:
    a.peer.bench.after(185)


def _forked(a: Side, b: Side) -> None:
    assert b.invite is not None
    invite = b.invite
    b.ring(tag="one")
    b.ring(tag="two")
    b.accept(tag="two")
    a.ack()
    b.answer(invite, 200, tag="three", body=SDP)
    b.tag = "two"
    a.say("BYE")
    b.answer(b.asked[-1], 200)


def _changed(a: Side, b: Side) -> None:
    b.accept()
    a.ack()
    for one, other in ((a, b), (b, a)):
        a.peer.bench.after(0.02)  # over UDP an INVITE keeps its distance from the ACK before it
        one.say("INVITE", body=HOLD)
        other.answer(other.asked[-1], 200, body=SDP)
        one.ack()
        one.say("INFO")
        other.answer(other.asked[-1], 200)
    a.peer.bench.after(0.02)
    a.say("INVITE", body=HOLD)
    b.answer(b.asked[-1], 488)
    a.say("BYE")
    b.answer(b.asked[-1], 200)


def _change_under_way(a: Side, b: Side) -> None:
    b.accept()
    a.ack()
    a.say("INVITE", body=HOLD)
    b.answer(b.asked[-1], 100)
    b.say("BYE")
    a.answer(a.asked[-1], 200)


def _change_cancelled(a: Side, b: Side) -> None:
    b.accept()
    a.ack()
    a.say("INVITE", body=HOLD)
    invite = b.asked[-1]
    b.answer(invite, 100)
    a.cancel()
    b.answer(b.asked[-1], 200)
    b.answer(invite, 487)
    a.say("BYE")
    b.answer(b.asked[-1], 200)


def _released(a: Side, b: Side) -> None:
    b.accept()
    a.ack()
    bench = a.peer.bench
    for call in list(bench.core.calls.values()):
        call.bridge.release("SIP;cause=480", bench.now)
    bench.pump()
    for side in (a, b):
        side.answer(side.asked[-1], 200)


def _unacknowledged(a: Side, b: Side) -> None:
    b.accept()
    a.peer.bench.after(70)


def _bye_unanswered(a: Side, b: Side) -> None:
    b.accept()
    a.ack()
    a.say("BYE")


KINDS = (
    _plain,
    _callee_hangs_up,
    _refused,
    _unreached,
    _cancelled,
    _cancel_crosses_the_answer,
    _no_answer,
    _silent,
    _forked,
    _changed,
    _change_under_way,
    _change_cancelled,
    _released,
    _unacknowledged,
    _bye_unanswered,
)


@pytest.mark.parametrize("way", ["agent to agent", "agent to trunk", "trunk to agent"])
@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__.strip("_") for kind in KINDS])
def test_a_call_that_is_over_is_freed_by_reference_counts(way: str, kind) -> None:
    fixture = ServerFixture()
    bench = fixture.bench
    trunk = Peer(bench, "trunk", port=5080)
    with nothing_for_the_collector():
        if way == "trunk to agent":
            a, b = trunk.call("1003"), fixture.gw2.called
        else:
            a = fixture.gw1.call("1003" if way == "agent to agent" else "9123")
            b = fixture.gw2.called if way == "agent to agent" else trunk.called
        kind(a, b)
        bench.after(100)
        assert not bench.core.calls and not bench.core.discarded.legs
        del a, b


@pytest.mark.parametrize("legs", [1, 2])
def test_a_call_that_was_taken_over_is_freed_too(legs: int) -> None:
    fixture = ServerFixture()
    a, b = fixture.talk()
    fixture.gw1.records = [record(a)]
    fixture.gw2.records = [record(b)] if legs == 2 else []
    fixture.die()
    fixture.succeed()
    bench = fixture.bench
    bench.after(70)
    with nothing_for_the_collector():
        for call in list(bench.core.calls.values()):
            call.bridge.release("SIP;cause=480", bench.now)
        bench.pump()
        bench.after(100)
        assert not bench.core.calls
