"""How often a promise of one voter counts."""

from __future__ import annotations

from itertools import pairwise

from heartbeat.promise_pace import FIRST, FORGIVEN, LONGEST, PromisePace

SILENCE = 2.5


def counted(needed: bool, until: float, every: float = 0.1) -> list[float]:
    """When a voter that promises more every tenth of a second is heeded."""
    pace = PromisePace(SILENCE)
    times = [round(step * every, 3) for step in range(round(until / every))]
    return [at for at in times if pace.counts("gw1", needed, at)]


def test_the_first_counts_at_once_and_each_further_one_after_a_pause_that_doubles() -> None:
    assert counted(False, 40.0) == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]


def test_the_pause_has_an_end() -> None:
    last = counted(False, 10_000.0, every=1.0)[-3:]
    assert [later - sooner for sooner, later in pairwise(last)] == [LONGEST, LONGEST]


def test_who_is_needed_waits_for_no_more_than_a_lease() -> None:
    found = counted(True, 60.0, every=0.5)
    assert found[:3] == [0.0, 1.0, 3.0]
    assert {later - sooner for sooner, later in pairwise(found[2:])} == {SILENCE}


def test_each_voter_counts_for_itself_and_is_forgiven() -> None:
    pace = PromisePace(SILENCE)
    assert pace.counts("gw1", False, 10.0) and not pace.counts("gw1", False, 10.5)
    assert pace.counts("gw2", False, 10.5)
    assert pace.counts("gw1", False, 11.0) and not pace.counts("gw1", False, 12.9)
    long = 11.0 + FORGIVEN * 2 * FIRST
    assert pace.counts("gw1", False, long)
    assert not pace.counts("gw1", False, long + FIRST - 0.01) and pace.counts("gw1", False, long + FIRST)
