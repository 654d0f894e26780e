"""The channels of a line: so many calls at a time, so many a second."""

from __future__ import annotations

from dataclasses import replace

from gateway_agent.channels import REFUSALS, Busy, Channels
from heartbeat.site.lines import LineSettings

TRUNK = LineSettings("t", "trunk", channels=3)


def test_the_lowest_free_channel_is_taken() -> None:
    channels = Channels(TRUNK, 486, 0.0)
    assert [channels.take(0.0) for _ in range(3)] == [1, 2, 3]
    assert channels.take(0.0) == Busy(486, "all 3 channels of t are busy")
    channels.give(3)
    channels.give(1)
    assert channels.busy == 1 and [channels.take(0.0), channels.take(0.0)] == [1, 3]


def test_settings_may_change_while_calls_go_on() -> None:
    channels = Channels(TRUNK, 503, 0.0)
    assert [channels.take(0.0) for _ in range(3)] == [1, 2, 3]
    channels.settings = replace(TRUNK, channels=1)
    channels.give(2)
    assert isinstance(channels.take(0.0), Busy)
    channels.settings = replace(TRUNK, channels=4)
    assert channels.take(0.0) == 2


def test_calls_a_second() -> None:
    channels = Channels(replace(TRUNK, channels=100, cps=2.0), 503, 0.0)
    assert [channels.take(0.0), channels.take(0.0)] == [1, 2]
    paced = channels.take(0.0)
    assert paced == Busy(503, "more than 2 calls a second on t", True)
    assert channels.take(0.5) == 3 and isinstance(channels.take(0.5), Busy)
    channels.settings = replace(channels.settings, cps=0.0)
    assert channels.take(0.5) == 4
    assert not channels.remembers(paced, 0.5)


def test_so_many_refusals_a_second_are_remembered() -> None:
    channels = Channels(TRUNK, 503, 0.0)
    busy = Busy(503, "")
    assert [channels.remembers(busy, 0.0) for _ in range(2 * REFUSALS + 1)] == [True] * 2 * REFUSALS + [False]


def test_a_channel_of_a_call_that_came_back_is_not_given_again() -> None:
    channels = Channels(replace(TRUNK, channels=5), 503, 0.0)
    for channel in (3, 1):
        channels.resume(channel)
    assert channels.busy == 2
    assert [channels.take(0.0) for _ in range(3)] == [2, 4, 5]
    assert isinstance(channels.take(0.0), Busy)
    channels.give(3)
    assert channels.take(0.0) == 3
