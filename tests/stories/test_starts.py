"""A site whose nodes come up in any order: it starts once, and calls placed at once go through."""

from __future__ import annotations

from random import Random

import pytest

from examples.softphone_call import TALKING
from tests.stories.rules import Rules
from tests.stories.site_simulation import SiteSimulation, site_of

NOISE = ("holds under", "has its lease back", "stands by", "hands over")


def started(seed: int, agents: int, again: bool = False) -> SiteSimulation:
    """A site whose servers and agents come up within three seconds; ``again``: for the second time."""
    chance = Random(seed)
    sim = SiteSimulation(seed, site=site_of(agents=agents), start=8.0 if again else 0.0)
    names = [*sim.site.servers, *sim.site.agents]
    for name in names:
        sim.world.kill(name)
    sim.said.clear()
    Rules(sim)
    for name in names:
        sim.world.later(chance.uniform(0.0, 3.0), sim.world.start, name)
    return sim


def is_calm(sim: SiteSimulation) -> None:
    servers = [line.split(" ", 1)[1] for line in sim.said if line.split()[1].rstrip(":") in sim.site.servers]
    assert sum(" is active under epoch " in line for line in servers) == 1, "\n".join(sim.said)
    assert [line for line in servers if any(noise in line for noise in NOISE)] == [], "\n".join(sim.said)


@pytest.mark.parametrize("agents", [2, 3, 4, 7, 10])
@pytest.mark.parametrize("again", [False, True])
def test_a_site_starts_once_whatever_comes_up_first(agents: int, again: bool) -> None:
    for seed in range(3):
        sim = started(seed, agents, again)
        sim.world.run(sim.world.now + 20.0)
        is_calm(sim)
        assert sim.server("m1").member.participant.epoch == (2 if again else 1)


def test_a_call_that_is_placed_as_soon_as_a_server_rules_goes_through() -> None:
    for seed in range(5):
        sim = started(seed, 7)
        assert sim.world.run_until(lambda sim=sim: bool(sim.active), 10.0)
        assert sim.world.run_until(lambda sim=sim: {"gw1", "gw2"} <= set(sim.server("m1").agents.reached), 5.0)
        one, other = sim.talk()
        sim.world.run(sim.world.now + 10.0)
        assert one.state is TALKING and other.state is TALKING
        is_calm(sim)
