"""Which share of new calls is refused when what comes waits too long; the clock is turned by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from sip.overload.congestion import DOWN, GRACE, INTERVAL, LITTLE, MOST, MUCH, UP, Congestion


def run(congestion: Congestion, waits: Iterator[float] | list[float], at: float, source: str = "loop") -> float:
    """These waits, one each 20 ms; when that is over."""
    for wait in waits:
        congestion.waited(source, wait, at)
        at += 0.02
    return at


def standing(congestion: Congestion, intervals: int, at: float = 0.0, wait: float = 2 * MUCH) -> float:
    return run(congestion, [wait] * round(intervals * INTERVAL / 0.02), at)


def test_one_stall_refuses_nobody() -> None:
    congestion = Congestion()
    at = run(congestion, [0.001, 3.0, *[0.001] * 100, *[1.0] * 10, *[0.001] * 100], 0.0)
    assert congestion.share_at(at) == 0.0 and not congestion.refuses(at)


def test_when_nothing_is_read_at_once_any_more_a_share_is_refused_that_rises() -> None:
    congestion = Congestion()
    shares = []
    at = 0.0
    for _ in range(12):
        at = standing(congestion, 1, at)
        shares.append(congestion.share_at(at))
    assert shares == sorted(shares) and shares[2] > UP and shares[-1] == MOST


def test_between_the_bounds_the_share_stands_still_and_falls_slowly_below() -> None:
    congestion = Congestion()
    at = standing(congestion, 5)
    share = congestion.share_at(at)
    at = standing(congestion, 20, at, (MUCH + LITTLE) / 2)
    assert congestion.share_at(at) == pytest.approx(share, abs=UP)
    share = congestion.share_at(at)
    at = standing(congestion, 4, at, LITTLE / 2)
    assert share - 5 * DOWN <= congestion.share_at(at) < share
    at = standing(congestion, 40, at, LITTLE / 2)
    assert congestion.share_at(at) == 0.0 and not congestion.refuses(at)


def test_where_nothing_comes_any_more_nothing_is_refused_soon() -> None:
    congestion = Congestion()
    at = standing(congestion, 10)
    assert congestion.refuses(at) or congestion.refuses(at)
    assert congestion.share_at(at + 60.0) == 0.0


def test_of_several_queues_the_worst_counts() -> None:
    congestion = Congestion()
    at = 0.0
    for _ in range(200):
        congestion.waited("loop", 0.001, at)
        congestion.waited("127.0.0.1:5060", 1.0, at)
        at += 0.02
    assert congestion.share_at(at) > 0.5 and congestion.wait == 1.0


def test_the_share_is_spread_evenly() -> None:
    congestion = Congestion()
    at = run(congestion, [LITTLE, LITTLE], standing(congestion, 4))
    share = congestion.share_at(at)
    refused = [congestion.refuses(at) for _ in range(1000)]
    assert sum(refused) == congestion.refused == pytest.approx(1000 * share, abs=1)
    least = int(1 / share)
    assert all(any(refused[n : n + least + 1]) for n in range(len(refused) - least))


def test_in_an_overload_who_has_waited_for_too_long_is_refused_whatever_the_share() -> None:
    congestion = Congestion()
    at = standing(congestion, 2)
    assert 0 < congestion.share_at(at) < 0.5
    assert all(congestion.refuses(at) for _ in range(100))
    at = run(congestion, [LITTLE], at)
    assert not all(congestion.refuses(at) for _ in range(100))
    assert not Congestion().refuses(at)


def test_the_share_no_longer_rises_once_the_wait_falls() -> None:
    congestion = Congestion()
    at = standing(congestion, 4, wait=8 * MUCH)
    share = congestion.share_at(at)
    at = standing(congestion, 2, at, 4 * MUCH)
    at = standing(congestion, 2, at, 2 * MUCH)
    assert share <= congestion.share_at(at) <= share + 2 * UP + 0.01


def test_after_a_takeover_nothing_is_refused_for_a_while() -> None:
    congestion = Congestion()
    at = standing(congestion, 10)
    congestion.pause(at)
    assert not any(congestion.refuses(at + GRACE / 2) for _ in range(100))
    at = standing(congestion, 10, at + GRACE)
    assert any(congestion.refuses(at) for _ in range(100))


class Outcome(NamedTuple):
    taken: list[float]
    """How long each call has waited that was taken, in the order of coming."""
    urgent: list[float]
    refused: int


def offered(per_s: float, seconds: float, congestion: Congestion | None, begun: float = 0.0) -> Outcome:
    """A server that needs 5 ms for a call and 0.3 ms to refuse one; each twentieth call is urgent."""
    taken: list[float] = []
    urgent: list[float] = []
    refused, free_at = 0, begun
    for n in range(round(per_s * seconds)):
        came_at = begun + n / per_s
        now = max(free_at, came_at)
        wait = now - came_at
        if congestion is not None:
            congestion.waited("udp", wait, now)
        if n % 20 == 0:
            urgent.append(wait)
            free_at = now + 0.005
        elif congestion is not None and congestion.refuses(now):
            refused += 1
            free_at = now + 0.0003
        else:
            taken.append(wait)
            free_at = now + 0.005
    return Outcome(taken, urgent, refused)


def test_with_500_calls_a_second_where_200_can_be_served_those_that_are_taken_are_served_in_time() -> None:
    without = offered(500, 30, None)
    assert without.taken[-1] > 30.0, "all of them come too late"
    outcome = offered(500, 30, Congestion())
    settled = outcome.taken[len(outcome.taken) // 4 :]
    in_time = [wait for wait in settled if wait < 0.5]
    assert len(in_time) > 0.95 * len(settled)
    assert len(outcome.taken) + len(outcome.urgent) > 0.85 * 200 * 30 and outcome.refused > 0
    late = outcome.urgent[len(outcome.urgent) // 4 :]
    assert len(outcome.urgent) == 750 and sum(wait < 0.5 for wait in late) > 0.95 * len(late)


def test_when_the_rush_is_over_all_calls_are_taken_again() -> None:
    congestion = Congestion()
    offered(500, 10, congestion)
    calm = offered(50, 30, congestion, begun=20.0)
    assert calm.refused < 100
    assert offered(50, 10, congestion, begun=60.0).refused == 0


def test_a_load_that_can_be_served_is_never_refused() -> None:
    assert offered(150, 60, Congestion()).refused == 0


def test_what_waited_for_a_process_that_was_started_anew_refuses_nobody() -> None:
    found = Congestion()
    for number in range(30):  # an agent's companion held it while the agent was away
        found.waited("udp", 1.5, 100.0 + number * 0.005)
    assert found.share_at(100.6) == 0.0 and not found.refuses(100.6)
    for number in range(1, 100):  # and then it does not keep up
        found.waited("udp", 0.4, 101.0 + number * 0.02)
    assert found.share_at(103.1) > 0.0
