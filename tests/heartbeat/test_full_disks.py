"""Disks that take nothing: calls are served by whoever proves itself, and nobody votes who cannot keep its word."""

from __future__ import annotations

import random

import pytest

from heartbeat.agent_voter import AgentVoter
from heartbeat.decision import What
from tests.heartbeat.ballot_world import World, membership, running
from tests.heartbeat.test_member_simulation import _misfortune


def _test_disks(w: World) -> None:
    """Each process asks its disk, every 30 s."""
    for host in w.hosts.values():
        if host.core is not None:
            host.core.participant.test_disk()
            w._drain(host)


def test_a_full_disk_is_said_while_all_is_well_and_so_is_its_end() -> None:
    w = running(membership(3))
    _test_disks(w)
    w.run(3.0)
    assert w.said("m1", What.DISK) == [] and w.member("m1").cluster.without_disk == set()
    w.full = {"gw1", "m2"}
    _test_disks(w)
    w.run(3.0)
    assert w.said("gw1", What.DISK) == ["gw1 cannot keep its epochs: no space left"]
    assert w.member("m1").cluster.without_disk == {"gw1", "m2"}
    assert sorted(w.said("m1", What.DISK)) == [
        "gw1 cannot keep its epochs: its disk takes nothing",
        "m2 cannot keep its epochs: its disk takes nothing",
    ]
    assert w.settled() == "m1", "what is on the disks already goes on to count"
    w.full.clear()
    _test_disks(w)
    w.run(3.0)
    assert w.member("m1").cluster.without_disk == set()
    assert w.said("gw1", What.DISK)[-1] == "gw1 can keep its epochs again"
    assert "gw1 can keep its epochs again" in w.said("m1", What.DISK)


@pytest.mark.parametrize("known", [True, False], ids=["known before", "found out in the takeover"])
@pytest.mark.parametrize("full", ["gw1", "gw2", "m2"])
def test_one_full_disk_keeps_nobody_from_taking_over(full: str, known: bool) -> None:
    w = running(membership(2))
    w.full = {full}
    if known:
        _test_disks(w)
        w.run(3.0)
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=4.0 if known else 8.0)
    if full != "m2":
        assert "; only in memory, since its disk takes nothing, and without a vote" in w.said(full, What.ADOPTED)[-1]
    else:
        last = w.said("m2", What.BECAME_ACTIVE)[-1]
        assert last.endswith("; only in memory, since the disk of m2 takes nothing, and without its own vote")
    w.run(20.0)
    assert w.settled() == "m2"
    core = w.hosts[full].core
    assert core is not None and core.participant.on_disk.leadership.node == "m1", "nothing was written"
    w.full.clear()
    _test_disks(w)
    w.run(3.0)
    assert core.participant.on_disk.leadership.node == "m2" and w.settled() == "m2"
    assert len(w.said(full, What.ADOPTED, What.BECAME_ACTIVE)) <= 2, "it is told once"
    assert w.member("m2").cluster.without_disk == set()


def test_who_cannot_write_never_votes() -> None:
    w = running(membership(2))
    w.full = {"gw1"}
    w.crash("m1")
    w.crash("gw2")
    w.run(20.0)
    assert w.holders() == [], "m2 and gw1 would be a quorum"
    assert "gw1: its disk takes nothing, so it cannot vote" in w.said("m2", What.ASKING)[-1]
    w.full.clear()
    assert w.run_until(lambda: w.settled() == "m2", limit=4.0) < 3.0, "it is asked again each time"


def test_a_server_that_rules_from_memory_does_not_count_its_own_vote() -> None:
    w = running(membership(2))
    w.full = {"m2"}
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=6.0)
    w.crash("gw1")
    w.run(4.0)
    assert w.holders() == [], "gw2 alone answers"
    w.full.clear()
    _test_disks(w)
    w.run_until(lambda: w.holders() == ["m2"], limit=3.0)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_with_full_disks_there_is_one_lease_and_peace_is_found(seed: int) -> None:
    rng = random.Random(seed)
    w = World(
        membership(rng.choice((1, 2, 3))), seed, loss=rng.choice((0.0, 0.05)), disk=(0.0, rng.choice((0.01, 0.3)))
    )
    w.start_all()
    w.run(rng.uniform(0, 8))
    for _ in range(rng.randrange(5, 25)):
        names = list(w.hosts)
        if rng.random() < 0.4:
            w.full = {name for name in names if rng.random() < 0.3}
        else:
            _misfortune(w, rng)
        for name in names:
            host = w.hosts[name]
            if name in w.full and host.core is None:
                w.full.discard(name)  # a process cannot start there
            elif isinstance(host.core, AgentVoter) and rng.random() < 0.3:
                host.core.participant.test_disk()
                w._drain(host)
        w.run(rng.choice((0.02, 0.3, 1.0, 2.5)))
    w.heal()
    w.loss = 0.0
    w.full.clear()
    for name in [name for name in w.hosts if name.endswith("'")]:
        w.crash(name)
    w.start(*(name for name, host in w.hosts.items() if host.core is None and name == host.name))
    _test_disks(w)
    w.run(3.0)
    w.run_until(w.settled, limit=40.0)
