"""A site starts calmly: one epoch, no holding, whatever the order in which its nodes come up."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from heartbeat.decision import Decision, What
from tests.heartbeat.ballot_world import World, membership

SPREAD = 3.0
"""Seconds within which all nodes come up."""


def come_up(w: World, names: Sequence[str], rng: random.Random, within: float = SPREAD) -> None:
    for name in names:
        w.later(rng.uniform(0.0, within), lambda name=name: w.start(name))


def of_servers(w: World, *whats: What) -> list[str]:
    decisions: list[Decision] = [d for name in w.site.servers for d in w.hosts[name].log if d.what in whats]
    return [str(d) for d in decisions]


def is_calm(w: World, epoch: int = 1) -> None:
    assert w.settled() and w.member(w.settled()).participant.epoch == epoch, f"seed {w.seed}\n{w.story()}"
    assert len(of_servers(w, What.BECAME_ACTIVE)) == 1, f"seed {w.seed}\n{w.story()}"
    assert of_servers(w, What.HOLDING, What.LEASE_BACK, What.STEPPED_DOWN) == [], f"seed {w.seed}\n{w.story()}"


def test_a_site_starts_and_the_preferred_main_is_first() -> None:
    for seed in range(10):
        w = World(membership(2), seed=seed, init=("m1", "m2"))
        w.start_all()
        took = w.run_until(w.settled, limit=6.0)
        assert w.settled() == "m1" and took < 3.0
        assert w.said("m2", What.BECAME_ACTIVE) == []


def test_a_stand_by_alone_starts_the_site_a_little_later() -> None:
    w = World(membership(2), init=("m2",))
    w.start("m2", "gw1", "gw2")
    assert 3.0 < w.run_until(lambda: w.holders() == ["m2"], limit=8.0) < 6.0


def test_without_init_nobody_rules_and_the_reason_is_said() -> None:
    w = World(membership(2), init=())
    w.start_all()
    w.run(20.0)
    assert w.holders() == []
    assert len(w.said("m1", What.REFUSED)) == 1
    assert w.said("m1", What.REFUSED)[0].startswith(
        "m1 cannot ask for votes: it knows no list of voters; `b2bua init`"
    )


@pytest.mark.parametrize("agents", range(1, 11))
def test_a_first_start_takes_one_epoch_in_whatever_order_the_nodes_come_up(agents: int) -> None:
    for seed in range(12):
        w = World(membership(agents), seed, disk=(0.001, 0.01))
        come_up(w, list(w.hosts), random.Random(seed))
        w.run(30.0)
        is_calm(w)
        assert w.mute_voters() == [] and w.settled() == "m1"


def test_who_comes_up_while_the_first_vote_is_near_is_waited_for_and_no_list_changes() -> None:
    for seed in range(12):
        w = World(membership(7), seed, disk=(0.001, 0.01))
        come_up(w, list(w.hosts), random.Random(seed), within=2.0)
        took = w.run_until(w.settled, limit=5.5)
        w.run(10.0)
        is_calm(w)
        assert took < 2.0 + 2.3 + 0.7 and of_servers(w, What.VOTERS, What.NO_VOTE) == []


def test_a_server_that_starts_after_the_voters_waits_until_they_can_have_found_it() -> None:
    w = World(membership(2), disk=(0.001, 0.01))
    w.start("m2", "gw1", "gw2")
    w.run(10.0)
    w.cut("m1", "gw2")
    w.start("m1")
    w.later(2.0, w.heal)
    assert w.run_until(lambda: w.holders() == ["m1"], limit=5.0) < 2.9
    w.run(10.0)
    is_calm(w)
    assert of_servers(w, What.VOTERS) == []


def test_a_server_that_starts_after_all_voters_waits_for_nothing() -> None:
    w = World(membership(2), disk=(0.001, 0.01))
    w.start("m2", "gw1", "gw2")
    w.run(10.0)
    w.start("m1")
    assert w.run_until(lambda: w.holders() == ["m1"], limit=5.0) < 0.6


def test_who_is_off_is_not_waited_for() -> None:
    w = World(membership(3), disk=(0.001, 0.01))
    w.start("m1", "m2", "gw1", "gw2")
    assert w.run_until(lambda: w.holders() == ["m1"], limit=5.0) < 2.7


def test_a_voter_that_is_met_late_is_admitted_under_the_same_epoch() -> None:
    for seed in range(12):
        w = World(membership(3), seed, disk=(0.001, 0.01))
        w.start("m1", "m2", "gw1", "gw2")
        w.run(20.0)
        w.start("gw3")
        w.run(6.0)
        is_calm(w)
        assert w.mute_voters() == []
        w.crash("gw1")
        w.run(6.0)
        is_calm_without = of_servers(w, What.HOLDING)
        assert is_calm_without == [], "the newcomer's answers count for the lease"


@pytest.mark.parametrize("agents", [1, 2, 3, 5, 7, 10])
def test_a_restart_of_all_takes_one_epoch(agents: int) -> None:
    for seed in range(12):
        w = World(membership(agents), seed, disk=(0.001, 0.01))
        w.start_all()
        w.run(20.0)
        for name, host in w.hosts.items():
            w.crash(name)
            host.log.clear()
        w.run(10.0)
        come_up(w, list(w.hosts), random.Random(seed))
        w.run(20.0)
        is_calm(w, epoch=2)
        assert of_servers(w, What.CALLED_OFF) == [], w.story()
