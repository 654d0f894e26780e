"""A site whose nodes come up in any order: it starts once, and calls placed at once go through."""

from __future__ import annotations

from random import Random

import pytest

from examples.softphone_call import TALKING
from tests.stories.rules import Rules
from tests.stories.town import Town, site_of

NOISE = ("holds under", "has its lease back", "stands by", "hands over")


def started(seed: int, agents: int, again: bool = False) -> Town:
    """A town whose servers and agents come up within three seconds; ``again``: for the second time."""
    chance = Random(seed)
    town = Town(seed, site=site_of(agents=agents), start=8.0 if again else 0.0)
    names = [*town.site.servers, *town.site.agents]
    for name in names:
        town.world.kill(name)
    town.said.clear()
    Rules(town)
    for name in names:
        town.world.later(chance.uniform(0.0, 3.0), town.world.start, name)
    return town


def is_calm(town: Town) -> None:
    servers = [line.split(" ", 1)[1] for line in town.said if line.split()[1].rstrip(":") in town.site.servers]
    assert sum(" is active under epoch " in line for line in servers) == 1, "\n".join(town.said)
    assert [line for line in servers if any(noise in line for noise in NOISE)] == [], "\n".join(town.said)


@pytest.mark.parametrize("agents", [2, 3, 4, 7, 10])
@pytest.mark.parametrize("again", [False, True])
def test_a_site_starts_once_whatever_comes_up_first(agents: int, again: bool) -> None:
    for seed in range(3):
        town = started(seed, agents, again)
        town.world.run(town.world.now + 20.0)
        is_calm(town)
        assert town.server("m1").member.participant.epoch == (2 if again else 1)


def test_a_call_that_is_placed_as_soon_as_a_server_rules_goes_through() -> None:
    for seed in range(5):
        town = started(seed, 7)
        assert town.world.run_until(lambda town=town: bool(town.active), 10.0)
        assert town.world.run_until(lambda town=town: {"gw1", "gw2"} <= set(town.server("m1").agents.reached), 5.0)
        one, other = town.talk()
        town.world.run(town.world.now + 10.0)
        assert one.state is TALKING and other.state is TALKING
        is_calm(town)
