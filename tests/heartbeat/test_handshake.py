"""The opening of a connection: each side learns that the other holds the key, by a challenge of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.handshake import Initiator, Responder
from heartbeat.header import OPEN, Beat, BeatError, parse, serialize


def stamp(node: str, to: str = "", seq: int = 1) -> Beat:
    return Beat("paris", node, 1, 0, "agent" if node.startswith("gw") else "standby", seq, to=to)


def test_both_sides_prove_themselves_in_two_round_trips() -> None:
    caller, callee = Initiator("m1", "aa"), Responder("bb")
    hello = caller.hello(stamp("gw1"))
    first = callee.asked(hello, stamp("m1"))
    assert (first.nonce, first.echo, first.re, callee.peer) == ("bb", "aa", (1, 1), "")
    reply = caller.answered(first, stamp("gw1", seq=2))
    assert reply is not None and reply.echo == "bb" and caller.proved
    second = callee.asked(reply, stamp("m1", seq=2))
    assert callee.peer == "gw1" and second.echo == "bb"
    assert caller.answered(second, stamp("gw1", seq=3)) is None


def test_each_step_survives_the_wire() -> None:
    for beat in (Initiator("m1", "aa").hello(stamp("gw1")), replace(stamp("gw1"), kind=OPEN, echo="bb")):
        assert parse(serialize(beat, b"k", "OPTIONS", "c", 1), (b"k",), "OPTIONS", "c", 1) == beat


def test_a_recorded_opening_does_not_pass_a_second_time() -> None:
    caller = Initiator("m1", "aa")
    hello = caller.hello(stamp("gw1"))
    reply = caller.answered(Responder("bb").asked(hello, stamp("m1")), stamp("gw1", seq=2))
    assert reply is not None
    later = Responder("cc")
    later.asked(hello, stamp("m1"))
    with pytest.raises(BeatError, match="challenge"):
        later.asked(reply, stamp("m1"))
    assert later.peer == ""


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"node": "m2"}, "m2 answered an opening"),
        ({"echo": "zz"}, "did not give our challenge back"),
        ({"nonce": ""}, "did not give our challenge back"),
        ({"no": "stranger"}, "refused the opening: stranger"),
        ({"kind": "beat"}, "answered an opening"),
    ],
)
def test_the_caller_trusts_nothing_less(change: dict[str, str], sentence: str) -> None:
    caller = Initiator("m1", "aa")
    answer = Responder("bb").asked(caller.hello(stamp("gw1")), stamp("m1"))
    with pytest.raises(BeatError, match=sentence):
        caller.answered(replace(answer, **change), stamp("gw1"))
    assert not caller.proved


@pytest.mark.parametrize(
    "request_",
    [stamp("gw1"), replace(stamp("gw1", to="m2"), kind=OPEN, nonce="aa"), replace(stamp("gw1"), kind=OPEN)],
)
def test_the_callee_trusts_nothing_less(request_: Beat) -> None:
    with pytest.raises(BeatError):
        Responder("bb").asked(request_, stamp("m1"))


def test_another_node_cannot_finish_the_opening_of_the_first() -> None:
    callee = Responder("bb")
    callee.asked(Initiator("m1", "aa").hello(stamp("gw1")), stamp("m1"))
    with pytest.raises(BeatError, match="gw2"):
        callee.asked(replace(stamp("gw2", to="m1"), kind=OPEN, echo="bb"), stamp("m1"))
