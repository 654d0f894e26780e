"""Who votes, and which configurations are refused."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from heartbeat.membership import Membership, Server, Timing, complaints, least_margin
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
    assert complaints(site) == []


def test_a_single_server_makes_it_odd_by_leaving_one_out() -> None:
    site = replace(membership(2), servers=(Server("m1"),))
    assert site.voters == ("gw1",) and not site.alone
    assert replace(site, agents=()).alone


def test_defaults_are_those_of_the_documents() -> None:
    timing = Timing()
    assert (timing.lease_time, timing.margin_time, timing.silence) == (2.0, pytest.approx(0.3), pytest.approx(2.3))
    assert Timing(interval=0.1).silence == pytest.approx(0.54)
    assert least_margin(2.0, 0.01) < timing.margin_time
    for interval in (0.05, 0.1, 0.5, 5.0, 60.0):
        assert complaints(membership(3, timing=Timing(interval=interval))) == []


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"timing": Timing(interval=0.01)}, "interval is 0.01 s; it must be from 0.05 to 60 s"),
        ({"timing": Timing(misses=0)}, "misses is 0"),
        ({"timing": Timing(lease=1.5)}, "lease is 1.5 s; to survive 2 lost beats it must be over 1.6 s"),
        ({"timing": Timing(misses=4)}, "lease is 2 s; to survive 3 lost beats"),
        ({"timing": Timing(margin=0.01)}, "margin is 0.01 s; with clocks that drift by 0.01 .* at least 0.0404 s"),
        ({"timing": Timing(drift=0.7)}, "drift is 0.7"),
        ({"timing": Timing(hold_down=-1)}, "hold_down is -1 s"),
        ({"timing": Timing(slow_interval=0)}, "slow_interval is 0 s"),
        ({"quorum_wanted": 1}, "quorum is 1 of 3 voters; it must be over half"),
        ({"quorum_wanted": 4}, "quorum is 4 of 3 voters"),
        ({"chosen_voters": ("gw1", "gw9", "gw2")}, "voter gw9 is no agent"),
        ({"chosen_voters": ("gw1", "gw1", "gw2")}, "named twice"),
        ({"chosen_voters": tuple(f"gw{n}" for n in range(1, 10))}, "name at most 7"),
        ({"agents": ()}, "two servers without an agent"),
        ({"agents": ("gw1", "m1", "gw2")}, "m1 is the name of two nodes"),
        ({"servers": ()}, "the site has no server"),
        ({"servers": (Server("m1"), Server("m2", "spare"))}, "role spare"),
        ({"failback": "soon"}, "failback is soon"),
        ({"on_lost_quorum": "panic"}, "on_lost_quorum is panic"),
        ({"keys": ()}, "no key"),
    ],
)
def test_what_would_break_the_rules_is_refused(changes: dict[str, object], sentence: str) -> None:
    found = complaints(replace(membership(3), **changes))
    assert any(re.search(sentence, complaint) for complaint in found), found


def test_keys_are_never_shown() -> None:
    assert "the key of the site" not in repr(membership(1))
    assert isinstance(membership(1), Membership)
