"""Several sites whose stand-bys are one process: they die together, and are taken over one by one or all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.softphone_call import TALKING
from heartbeat.site import load as sites
from heartbeat.site.model import Site
from tests.stories.rules import Rules
from tests.stories.site_simulation import KEYS, SiteSimulation, text_of
from tests.stories.test_stories import part, serve, state
from tests.wires import Delivery

NAMES = ("paris", "lyon", "nice")


def site_named(name: str) -> Site:
    keys = {**KEYS, "TOWN_KEY": f"the key of {name}, long enough"}
    return sites.parse(text_of().replace('"town"', f'"{name}"'), Path(f"{name}.toml"), keys)


class Country:
    """Sites in worlds of their own, at one time. The cores of a process share nothing but its life."""

    def __init__(self, seed: int) -> None:
        self.towns = {name: SiteSimulation(seed + at, site=site_named(name)) for at, name in enumerate(NAMES)}
        for town in self.towns.values():
            Rules(town)

    def run(self, seconds: float) -> None:
        for town in self.towns.values():
            town.world.run(town.world.now + seconds)

    def kill(self, node: str, *names: str) -> None:
        for name in names:
            self.towns[name].world.kill(node)

    def start(self, node: str, *names: str) -> None:
        for name in names:
            self.towns[name].world.start(node)

    @property
    def active(self) -> list[list[str]]:
        return [town.active for town in self.towns.values()]


@pytest.mark.parametrize("seed", range(3))
def test_two_mains_die_at_once_and_the_third_site_is_as_it_was(seed: int) -> None:
    country = Country(10 * seed)
    calls = {name: town.talk() for name, town in country.towns.items()}
    heard = {name: [town.heard(each) for each in town.who] for name, town in country.towns.items()}
    country.kill("m1", "paris", "nice")
    country.run(4.0)
    assert country.active == [["s1"], ["m1"], ["s1"]]
    assert [town.epoch_of("gw1") for town in country.towns.values()] == [2, 1, 2]
    for name, town in country.towns.items():
        one, other = calls[name]
        assert [town.heard(each) for each in town.who] == heard[name], "devices notice nothing"
        serve(town, one, other)
        part(town, "west", one, other, ["answered"])


def test_the_process_of_all_stand_bys_dies_while_it_leads_two_of_them() -> None:
    country = Country(1)
    calls = {name: town.talk() for name, town in country.towns.items()}
    country.kill("m1", "paris", "nice")
    country.run(4.0)
    country.start("m1", "paris", "nice")
    country.run(3.0)
    country.kill("s1", *NAMES)
    country.run(4.0)
    assert country.active == [["m1"], ["m1"], ["m1"]]
    assert [town.epoch_of("gw1") for town in country.towns.values()] == [3, 1, 3]
    for name, town in country.towns.items():
        one, other = calls[name]
        assert state(one) is TALKING and state(other) is TALKING
        part(town, "east", other, one, ["answered"])


def test_what_was_said_in_one_site_means_nothing_in_another() -> None:
    """Its nodes have the same names and addresses, and another key."""
    country = Country(1)
    paris, lyon = country.towns["paris"], country.towns["lyon"]
    said: list[Delivery] = []
    paris.world.listeners.append(said.append)
    country.run(2.0)
    paris.world.kill("m1")
    country.run(4.0)
    assert paris.active == ["s1"] and lyon.active == ["m1"]
    between = [each for each in said if each.target in lyon.site.servers and each.flow.transport == "udp"]
    assert len(between) > 5
    requests = {
        name: sum(each.target == name and each.data[:3] != b"SIP" for each in between) for name in ("m1", "s1")
    }
    for each in between:
        lyon.world.ask(each.target, lyon.world.nodes[each.target].core.receive, each.data, each.flow)
    country.run(4.0)
    assert [lyon.epoch_of(name) for name in lyon.site.agents] == [1, 1] and lyon.active == ["m1"]
    assert all(lyon.server(name).stack.counters["bad beats"] >= number for name, number in requests.items())
