"""Random schedules of everything that can go wrong; the rules are checked by the World at every step."""

from __future__ import annotations

import random

import pytest

from tests.heartbeat.ballot_world import World, membership

SEEDS = 240


def _misfortune(world: World, rng: random.Random) -> None:
    """One bad thing, or the end of one."""
    names = list(world.hosts)
    name = rng.choice(names)
    what = rng.choice("crash crash start start cut cut one-way isolate heal pause verb".split())
    if what == "crash":
        world.crash(name)
    elif what == "start":
        world.start(*(n for n in names if world.hosts[n].core is None))
    elif what in ("cut", "one-way"):
        other = rng.choice([n for n in names if n != name])
        world.cut(name, other, both=what == "cut")
    elif what == "isolate":
        world.isolate(name)
    elif what == "heal":
        world.heal()
    elif what == "pause":
        world.pause(name, rng.choice((0.4, 1.0, 2.4, 6.0)))
    else:
        server = rng.choice(world.site.server_names)
        if world.hosts[server].core is not None:
            world.act(server, lambda member, now: member.switchover("", now))


def _live_through(seed: int) -> World:
    rng = random.Random(seed)
    voters = rng.choice((1, 2, 3))
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
    )
    world.start_all()
    world.run(rng.uniform(0, 6))
    lost = False
    for _ in range(rng.randrange(3, 12)):
        _misfortune(world, rng)
        world.run(rng.choice((0.02, 0.3, 1.0, 2.5, 4.0)))
        if not lost and voters == 3 and rng.random() < 0.1 and not world.mute_voters():
            world.lose_file(rng.choice(site.voters))
            lost = True
    world.heal()
    world.loss, world.twice = 0.0, 0.0
    world.delay = (0.001, 0.01)
    world.start(*(name for name, host in world.hosts.items() if host.core is None))
    world.run(6.5)
    return world


@pytest.mark.parametrize("part", range(8))
def test_the_rules_hold_whatever_happens_and_the_site_recovers(part: int) -> None:
    for seed in range(part, SEEDS, 8):
        world = _live_through(seed)
        world.run_until(world.settled, limit=20.0)
