"""That nothing is left of calls, whatever they came to."""

from __future__ import annotations

import gc
import random

from b2bua.call import Call
from sip.invite import InviteUsage
from tests.b2bua.fake import HOLD, SDP, Peer
from tests.b2bua.fake_agent import ServerFixture


def _one(fixture: ServerFixture, trunk: Peer, kind: int, n: int) -> None:
    """One call of many kinds, to its very end."""
    back = kind % 2 == 1
    a = trunk.call("1002", call_id=f"mix{n}") if back else fixture.gw1.call("9123", call_id=f"mix{n}")
    b = fixture.gw2.called if back else trunk.called
    how = kind // 2
    if how == 0:
        b.accept(486 if not back else 404, b"")
    elif how == 1:
        b.ring()
        a.cancel()
        b.accept(487, b"")
    elif how == 2:
        b.ring()
        a.cancel()
        b.accept()
        a.ack()
        a.say("BYE")
        b.answer(b.asked[-1], 200)
    elif how == 3:
        a.say("BYE") if a.other_tag else a.cancel()
        b.ring()
        b.accept(487, b"")
    elif how == 4:
        b.ring(tag="one")
        b.accept(tag="two")
        a.ack()
        b.say("BYE")
        a.answer(a.asked[-1], 200)
    elif how == 5:
        b.accept()
        a.ack()
        trunk.bench.after(0.02)
        a.say("INVITE", body=HOLD)
        b.answer(b.asked[-1], 200, body=SDP)
        a.ack()
        b.say("INFO")
        a.answer(a.asked[-1], 200)
        a.say("BYE")
        b.say("BYE")
        b.answer(next(each for each in b.asked if each.method == "BYE"), 200)
    elif how == 6:
        b.accept()  # no ACK ever
    elif how == 7:
        pass  # nobody says anything
    elif how == 8:
        b.accept()
        a.ack()
        trunk.bench.after(0.02)
        a.say("INVITE", body=HOLD)
        a.say("BYE")
        b.answer(b.asked[-1], 200)
    elif how == 9:
        b.ring()
        trunk.bench.after(0.01)


def test_an_ended_call_is_let_go_of_long_before_its_time_to_ring_is_over() -> None:
    fixture = ServerFixture()
    for _ in range(10):
        a, b = fixture.talk()
        a.say("BYE")
        b.answer(b.take("BYE"), 200)
    fixture.bench.after(33)
    gc.collect()
    core = fixture.bench.core
    assert not [
        each
        for each in gc.get_objects()
        if issubclass(type(each), Call) and getattr(each, "services", None) is core.services
    ]
    assert not [each for each in gc.get_objects() if issubclass(type(each), InviteUsage) and each.stack is core.stack]


def test_nothing_is_left_of_a_thousand_calls_of_all_kinds() -> None:
    fixture = ServerFixture()
    bench = fixture.bench
    trunk = Peer(bench, "trunk", port=5080)
    bench.after(310)
    before = bench.stack_sizes
    chance = random.Random(7)
    for n in range(1000):
        _one(fixture, trunk, chance.randrange(20), n)
        bench.after(0.05)
    bench.after(400)
    assert bench.stack_sizes == before
    core = bench.core
    assert len(bench.cdrs) == 1000 == len({cdr.call_id for cdr in bench.cdrs})
    assert not core.recovery.replay._waiting and not core.recovery.restorations.half
    assert not core.stack.receiver.streams.framers or len(core.stack.receiver.streams.framers) <= 4
