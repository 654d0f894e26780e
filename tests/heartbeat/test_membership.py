"""Who votes, and who should lead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.membership import Membership
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


def test_keys_are_never_shown() -> None:
    assert "the key of the site" not in repr(membership(1))
    assert isinstance(membership(1), Membership)
