"""Random schedules of everything that can go wrong; the rules are checked by the World at every step."""

from __future__ import annotations

import random

import pytest

from heartbeat.timing import Timing
from tests.heartbeat.ballot_world import World, membership

SEEDS = 240
PARTS = 8


def _misfortune(world: World, rng: random.Random) -> None:
    """One bad thing, or the end of one."""
    names = [name for name in world.hosts if not name.endswith("'")]
    name = rng.choice(names)
    other = rng.choice([n for n in names if n != name])
    what = rng.choice(
        "crash crash die die orphan start start flap cut cut one-way isolate heal heal pause stall verb".split()
    )
    if what == "crash":
        world.crash(name)
    elif what == "die":
        world.die(name, after=rng.choice((0.0, 0.0, 0.01, 0.5, 3.0)))
    elif what == "orphan":
        # a process whose supervisor died alone goes on; or a state directory is copied, and the copy counts on
        # from the same start, or from an earlier one. Not that of a voter: it would vote twice
        server = rng.choice(world.site.servers)
        host, votes = world.hosts[server], server in world.site.voters
        if host.core is not None and f"{server}'" not in world.hosts and not votes:
            world.orphan(server)
            # without secrets nothing tells a copy from its original when both count the same
            behind = rng.choice((0, 0, 1, 2)) if host.supervised else 0
            world.hosts[server].boots -= behind
            world.copied = world.copied or behind > 0
            world.start(server)
    elif what == "flap":
        world.crash(name)
        world.start(name)
    elif what == "start":
        world.start(*(n for n in names if world.hosts[n].core is None))
    elif what in ("cut", "one-way"):
        world.cut(name, other, both=what == "cut")
    elif what == "isolate":
        world.isolate(name)
    elif what == "heal":
        world.heal()
    elif what == "pause":
        world.pause(name, rng.choice((0.4, 1.0, 2.4, 6.0)))
    elif what == "stall":
        for peer in rng.choice(([other], names)):
            world.stall(name, peer, rng.choice((0.5, 2.0, 4.0)))
    else:
        server = rng.choice(world.site.servers)
        if world.hosts[server].core is not None:
            world.act(server, lambda member, now: member.switchover("", now))
            for voter in world.mute_voters():
                world.act(server, lambda member, now, voter=voter: member.restore_vote(voter, now))


def live_through(seed: int, timings: tuple[Timing, ...] = ()) -> World:
    """A site's troubled time, and two and a half leases of peace after it."""
    rng = random.Random(seed)
    voters = rng.choice((1, 2, 3, 3, 4, 5))
    site = membership(voters + rng.choice((0, 1)), chosen_voters=tuple(f"gw{n}" for n in range(1, voters + 1)))
    world = World(
        site,
        seed,
        loss=rng.choice((0.0, 0.0, 0.05, 0.3)),
        delay=rng.choice(((0.001, 0.003), (0.001, 0.1), (0.05, 0.8))),
        twice=rng.choice((0.0, 0.1)),
        drift=rng.choice((0.0, 0.06)),
        disk=rng.choice(((0.0, 0.0), (0.001, 0.01), (0.0, 0.5))),
        init=rng.choice((("m1",), ("m1", "m2"))),
        timings=timings or rng.choice(((), (Timing(),), (Timing(), Timing(interval=0.5)))),
        supervised=rng.choice((None, None, ("m1",), ("m2",), ())),
    )
    world.fifo = rng.random() < 0.7
    world.start_all()
    world.run(rng.uniform(0, 6))
    pace = rng.choice(((0.02, 0.3, 1.0, 2.5, 4.0), (0.01, 0.1, 0.3, 0.6), (0.5, 2.2)))
    for _ in range(rng.randrange(5, 25)):
        _misfortune(world, rng)
        world.run(rng.choice(pace))
        if voters > 2 and rng.random() < 0.1 and not world.mute_voters():
            world.lose_file(rng.choice(site.voters))
    world.heal()
    world.loss, world.twice = 0.0, 0.0
    world.delay = (0.001, 0.01)
    for name in [name for name in world.hosts if name.endswith("'")]:
        world.crash(name)
    world.start(*(name for name, host in world.hosts.items() if host.core is None and name == host.name))
    world.run(10.5)
    return world


@pytest.mark.parametrize("part", range(PARTS))
def test_the_rules_hold_whatever_happens_and_the_site_recovers(part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        world = live_through(seed)
        if not world.copied:
            world.run_until(world.settled, limit=5.0)


def test_the_rules_hold_while_site_files_differ_in_their_times() -> None:
    timings = (Timing(interval=0.5), Timing(), Timing(interval=0.3), Timing(interval=0.5, lease=4.0))
    for seed in range(100):
        live_through(seed, timings)


def test_the_side_with_a_quorum_has_an_active_server_within_a_bound() -> None:
    for seed in range(120):
        rng = random.Random(seed)
        agents = rng.randrange(1, 6)
        world = World(membership(agents), seed, loss=rng.choice((0.0, 0.05)), drift=rng.choice((0.0, 0.05)))
        world.start_all()
        world.run_until(lambda world=world: world.holders() == ["m1"], limit=8.0)
        world.run(rng.uniform(2.0, 5.0))
        side = {name for name in world.hosts if rng.random() < 0.5}
        for one in world.hosts:
            for other in world.hosts:
                if (one in side) != (other in side):
                    world.cut(one, other, both=False)
        for half in (side, set(world.hosts) - side):
            voters = [name for name in world.site.voters if name in half]
            if len(voters) >= world.site.quorum and half & set(world.site.servers):
                world.run(2.1)
                world.run_until(lambda world=world, half=half: half & set(world.holders()), limit=3.9)
