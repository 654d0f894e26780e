"""Calls between two lines of the servers' own, and what becomes of each when their server dies."""

from __future__ import annotations

import pytest

from b2bua.unattended import AGAIN, UnattendedCalls
from tests.b2bua.direct_fixture import DIRECT, Telephone
from tests.b2bua.takeover_fixture import TakeoverFixture
from tests.b2bua.test_cookie_recovery import Scene, talking

COLD = DIRECT.replace('numbers = ["1062"]', 'numbers = ["1062"]\nrecovery = "cold"')


def found(scene: Scene) -> list[tuple[str, str, str]]:
    return [one[1:] for one in UnattendedCalls(scene.bench.core.services).each()]


def carried(scene: Scene) -> None:
    """As it is."""


def without_the_extra(scene: Scene) -> None:
    scene.bench.core.cookies.load([], True)


def without_room(scene: Scene) -> None:
    """As for trunks that are called by their account."""
    [call] = scene.bench.core.calls.values()
    for leg in call.device_legs:
        leg.path.user = "account"


@pytest.mark.parametrize(
    ("text", "but", "verdict", "because"),
    [
        (DIRECT, carried, "carried", "its devices carry it: it is back when one of them sends a request"),
        (COLD, carried, "reset", "hall is cold: its calls are dropped"),
        (DIRECT, without_the_extra, "unkept", "no agent has it, and its devices carry nothing: see the extra direct"),
        (DIRECT, without_room, "unkept", "no agent has it, and no Contact at its devices has room for it"),
    ],
)
def test_what_becomes_of_a_call_that_talks(text: str, but: object, verdict: str, because: str) -> None:
    scene = talking(text)
    assert callable(but)
    but(scene)
    assert found(scene) == [(verdict, "talking", because)]


def test_a_call_that_rings_is_lost_and_one_with_an_agent_is_none_of_them() -> None:
    fixture = TakeoverFixture(DIRECT)
    desk, hall = Telephone(fixture.bench, "desk"), Telephone(fixture.bench, "hall", "127.0.0.62")
    assert desk.register() == hall.register() == 200
    calls = UnattendedCalls(fixture.bench.core.services)
    desk.dial("1002")
    assert not list(calls.each())
    desk.dial("1062")
    [one] = calls.each()
    assert one[1:] == ("unkept", "ringing", "it is not answered, and its caller's INVITE is known here alone")


def test_the_numbers_are_counted_once_a_second_and_told_in_heartbeats() -> None:
    scene = talking()
    bench = scene.bench
    calls, now = UnattendedCalls(bench.core.services), bench.now
    assert calls.numbers(now) == (1, 0)
    without_the_extra(scene)
    assert calls.numbers(now + AGAIN / 2) == (1, 0) and calls.numbers(now + AGAIN) == (0, 1)
    bench.after(2.0)
    beat = bench.core.member.participant.stamp("m2")
    assert (beat.carried, beat.unkept) == (0, 1)
