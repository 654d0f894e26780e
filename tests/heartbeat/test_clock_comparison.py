"""Bounds of the difference of two wall clocks; ours is 1000 s ahead of the clock that cores are told."""

from __future__ import annotations

import pytest

from heartbeat.clock_comparison import ClockComparison, ClockDifference


def compared(*answers: tuple[float, float, float]) -> ClockDifference:
    """After answers, each given by when its heartbeat was sent, what the other clock said, and when it was read."""
    clocks = ClockComparison()
    clocks.offset = 1000.0
    for seq, (sent_at, clock, read_at) in enumerate(answers):
        clocks.sent("gw1", seq, sent_at)
        clocks.answered("gw1", seq, clock, read_at)
    return clocks.differences["gw1"]


@pytest.mark.parametrize(
    "sent_at, clock, read_at, bounds, exceeds",
    [
        (5.0, 1005.0, 5.0, (0.0, 0.0), False),
        (5.0, 1005.01, 5.02, (-0.01, 0.01), False),
        (5.0, 1005.01, 8.81, (-3.8, 0.01), False),  # the answer is read 3.8 s late
        (5.0, 1008.8, 8.81, (-0.01, 3.8), False),  # the question was read late
        (5.0, 1001.2, 5.01, (-3.81, -3.8), True),
        (5.0, 1001.2, 7.0, (-5.8, -3.8), True),  # late, and the clock is behind all the same
        (5.0, 1008.8, 5.01, (3.79, 3.8), True),
        (5.0, 1004.1, 5.01, (-0.91, -0.9), False),
        (5.0, 1003.9, 5.01, (-1.11, -1.1), True),
        (5.0, 1006.5, 5.6, (0.9, 1.5), False),
    ],
)
def test_an_answer_bounds_the_difference_from_both_sides(
    sent_at: float, clock: float, read_at: float, bounds: tuple[float, float], exceeds: bool
) -> None:
    difference = compared((sent_at, clock, read_at))
    assert difference == pytest.approx(bounds) and difference.exceeds(1.0) is exceeds


def test_of_the_last_answers_the_one_with_the_closest_bounds_counts() -> None:
    close = (1.0, 1001.0, 1.01)
    late = [(float(at), 1000.0 + at, at + 4.0) for at in range(2, 9)]
    assert compared(close, *late) == pytest.approx((-0.01, 0.0))
    assert compared(close, *late, (9.0, 1009.0, 13.0)) == pytest.approx((-4.0, 0.0)), "only the last eight count"


def test_what_cannot_be_compared_says_nothing() -> None:
    clocks = ClockComparison()
    clocks.sent("gw1", 1, 5.0)
    clocks.answered("gw1", 1, 1005.0, 5.1)  # our own clock is not known yet
    clocks.offset = 1000.0
    clocks.answered("gw1", 1, 1005.0, 5.1)  # answered already
    clocks.answered("gw1", 7, 1005.0, 5.1)  # never sent
    clocks.sent("gw1", 8, 5.0)
    clocks.answered("gw2", 8, 1005.0, 5.1)  # sent to another node
    clocks.answered("gw1", 8, None, 5.1)  # of a version that states no clock
    assert clocks.differences == {}


def test_what_is_not_answered_is_forgotten() -> None:
    clocks = ClockComparison()
    clocks.offset = 0.0
    for seq in range(65):
        clocks.sent("gw1", seq, float(seq))
    clocks.answered("gw1", 0, 70.0, 70.0)
    assert clocks.differences == {}
    clocks.answered("gw1", 1, 70.0, 70.0)
    assert clocks.differences["gw1"] == (0.0, 69.0)
