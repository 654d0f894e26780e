"""Who votes, and which configurations are refused."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from heartbeat.membership import Membership
from heartbeat.timing import Timing, faults, least_margin
from tests.heartbeat.ballot_world import membership


@pytest.mark.parametrize(
    "agents, voters, quorum",
    [
        (1, ("gw1",), 1),
        (2, ("gw1", "gw2", "m2"), 2),
        (3, ("gw1", "gw2", "gw3"), 2),
        (4, ("gw1", "gw2", "gw3", "gw4", "m2"), 3),
        (12, tuple(f"gw{n}" for n in range(1, 8)), 4),
    ],
)
def test_the_number_of_voters_is_odd(agents: int, voters: tuple[str, ...], quorum: int) -> None:
    site = membership(agents)
    assert (site.voters, site.quorum) == (voters, quorum)


def test_a_single_server_makes_it_odd_by_leaving_one_out() -> None:
    site = replace(membership(2), servers=("m1",), standby="")
    assert site.voters == ("gw1",) and not site.alone
    assert replace(site, agents=()).alone


def test_the_preferred_server_is_the_one_that_does_not_stand_by() -> None:
    site = membership(1)
    assert site.preferred == "m1"
    assert replace(site, standby="m1").preferred == "m2"
    assert replace(site, servers=("m2",)).preferred == "m2"


def test_defaults_are_those_of_the_documents() -> None:
    timing = Timing()
    assert (timing.lease, timing.margin, timing.silence) == (2.0, pytest.approx(0.3), pytest.approx(2.3))
    assert Timing(interval=0.1).silence == pytest.approx(0.54)
    assert least_margin(2.0, 0.01) < timing.margin
    for interval in (0.05, 0.1, 0.5, 5.0, 60.0):
        assert faults(Timing(interval=interval)) == []


@pytest.mark.parametrize(
    "timing, sentence",
    [
        (Timing(lease=1.5), "lease is 1.5 s; to survive 2 lost beats it must be over 1.6 s"),
        (Timing(misses=4), "lease is 2 s; to survive 3 lost beats"),
        (Timing(margin=0.01), "margin is 0.01 s; with clocks that drift by 0.01 .* at least 0.0404 s"),
    ],
)
def test_times_that_would_break_the_rules_are_refused(timing: Timing, sentence: str) -> None:
    [fault] = faults(timing)
    assert re.search(sentence, fault)


def test_keys_are_never_shown() -> None:
    assert "the key of the site" not in repr(membership(1))
    assert isinstance(membership(1), Membership)
