"""What is provisioned at the server that leads comes to every node, whoever dies meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from b2bua.alerts import alerts
from heartbeat.agent_key import derive
from heartbeat.part_exchange import PIECE, TakePart
from heartbeat.site import load as sites
from heartbeat.site.model import Site
from heartbeat.site.provisioned import Change, Provisioned, Version
from tests.agent_keys import own_site
from tests.stories.site_simulation import KEYS, SiteSimulation, text_of

NODES = ("m1", "s1", "gw1", "gw2")


class Provisioning(SiteSimulation):
    """A site whose file takes what is provisioned; a shell takes each part at once."""

    def __init__(self, *own: str) -> None:
        """``own``: agents with keys of their own."""
        self.own = own
        self.text = text_of().replace("[site]\n", '[site]\nprovisioned = "last"\n')
        self.took: list[str] = []
        self.refuses: set[str] = set()
        self.unsealed: list[str] = []
        """Agents whose part no server had made."""
        super().__init__(
            who=(), site=self.of(Provisioned()), own_sites={name: self.of(Provisioned(), name) for name in own}
        )
        for name in NODES:
            self.world.nodes[name].others[TakePart] = lambda part, name=name: self.take(name, part)
        assert self.world.run_until(lambda: self.is_told("m1"), 10.0)

    def of(self, part: Provisioned, name: str = "") -> Site:
        site = sites.parse(self.text, Path("town.toml"), KEYS, provisioned=part)
        return own_site(site, name) if name in self.own else site

    def part(self, name: str) -> Provisioned:
        return self.world.nodes[name].core.site.provisioned

    def take(self, name: str, part: TakePart) -> None:
        self.took.append(name)
        if name not in self.refuses:
            found = Provisioned.unpack(part.packed)
            if part.agent and not found.is_sealed("town", (KEYS["TOWN_KEY"].encode(),)):
                self.unsealed.append(part.agent)
                return
            site = self.of(found, name)
            self.world.at(self.world.now, self.world.ask, name, self.world.nodes[name].core.reload, site)

    def put(self, server: str, many: int = 1, epoch: int = 1) -> Provisioned:
        """Put routes at one server; the part that it lives by then."""
        routes = {f"r{i}": {"match": f"77{i:04}", "to": ["west"], "prefix": f"{i * 7919:08}"} for i in range(many)}
        part = self.part(server).changed(Change(routes=routes), epoch).sealed("town", KEYS["TOWN_KEY"].encode())
        self.world.ask(server, self.world.nodes[server].core.reload, self.of(part))
        return part


@pytest.fixture(params=[(), ("gw1", "gw2"), ("gw2",)])
def sim(request: pytest.FixtureRequest) -> Provisioning:
    return Provisioning(*request.param)


@pytest.mark.parametrize("many", [1, 400])
def test_all_nodes_have_it_within_a_few_beats(sim: Provisioning, many: int) -> None:
    part = sim.put("m1", many)
    assert (len(part.packed) > 3 * PIECE) == (many > 1)
    assert sim.world.run_until(lambda: all(sim.part(name) == part for name in NODES), 5.0)
    assert sorted(sim.took) == ["gw1", "gw2", "s1"], "each of them once"
    assert all(sim.world.nodes[name].core.site.routes[-1].name == f"r{many - 1}" for name in NODES)
    sim.world.run(sim.world.now + 3.0)
    assert sim.server("m1").leadership.part_exchange.behind == {}


def test_the_next_server_goes_on_with_what_an_agent_was_given_last(sim: Provisioning) -> None:
    sim.refuses.add("s1")
    part = sim.put("m1")
    assert sim.world.run_until(lambda: sim.part("gw1") == part, 5.0)
    assert sim.part("s1").version == Version()
    sim.refuses.clear()
    sim.world.kill("m1")
    assert sim.world.run_until(lambda: sim.active == ["s1"], 10.0)
    sim.world.run(sim.world.now + 40.0)
    assert sim.part("s1") == part
    later = sim.put("s1", epoch=sim.server("s1").epoch)
    assert later.version > part.version
    assert sim.world.run_until(lambda: sim.part("gw1") == sim.part("gw2") == later, 5.0)


def test_what_a_node_cannot_live_by_is_offered_again_but_seldom_and_is_told(sim: Provisioning) -> None:
    sim.refuses.add("gw2")
    sim.put("m1")
    sim.world.run(sim.world.now + 20.0)
    assert sim.took.count("gw2") == 1
    assert list(sim.server("m1").leadership.part_exchange.behind) == ["gw2"]
    found = alerts(sim.server("m1"), sim.world.nodes["m1"].clock(sim.world.now))
    said = [alert.text for alert in found if alert.code in ("provisioned", "drift")]
    assert said == ["gw2 has not taken version 1.1 of what is provisioned: its log says why"]
    sim.world.kill("gw2")
    sim.world.run(sim.world.now + 1.0)
    found = alerts(sim.server("m1"), sim.world.nodes["m1"].clock(sim.world.now))
    assert "provisioned" not in {alert.code for alert in found}, "who is not there is not asked for it"
    sim.world.start("gw2")
    sim.refuses.clear()
    sim.world.run(sim.world.now + 15.0)
    assert sim.took.count("gw2") == 2 and sim.part("gw2") == sim.part("m1")


def test_a_site_that_takes_nothing_asks_for_nothing() -> None:
    sim = Provisioning()
    closed = sites.parse(text_of(), Path("town.toml"), KEYS)
    sim.world.ask("gw1", sim.agent("gw1").reload, closed)
    sim.put("m1")
    sim.world.run(sim.world.now + 5.0)
    assert sorted(sim.took) == ["gw2", "s1"]


def lie(sim: Provisioning, name: str, part: Provisioned) -> None:
    """An agent that was stolen lives by what it likes."""
    sim.world.ask(name, sim.agent(name).reload, sim.of(part, name))


def made_up(version: Version) -> Provisioned:
    return replace(
        Provisioned().changed(Change(routes={"evil": {"match": "0*", "to": ["west"]}}), 1), version=version
    )


def test_what_an_agent_makes_up_is_taken_by_nobody_and_keeps_nothing_away() -> None:
    sim = Provisioning("gw1", "gw2")
    lie(sim, "gw1", made_up(Version(99, 1)))
    sim.world.run(sim.world.now + 5.0)
    assert sim.unsealed and set(sim.unsealed) == {"gw1"}
    assert all(sim.part(name).version == Version() for name in ("m1", "s1", "gw2"))
    assert sim.server("m1").leadership.part_exchange.newest == Version(), "it keeps nobody from provisioning"
    part = sim.put("m1")
    assert sim.world.run_until(lambda: sim.part("s1") == sim.part("gw2") == part, 5.0)
    lie(sim, "gw1", made_up(Version(99, 2)).sealed("town", derive(KEYS["TOWN_KEY"].encode(), "town", "gw1")))
    tried = len(sim.unsealed)
    sim.world.run(sim.world.now + 60.0)
    assert tried < len(sim.unsealed) <= tried + 6, "asked seldom"
    assert all(sim.part(name) == part for name in ("m1", "s1", "gw2"))


def test_an_agent_that_never_says_the_whole_does_not_keep_away_what_another_has() -> None:
    sim = Provisioning("gw1", "gw2")
    sim.refuses.add("s1")
    part = sim.put("m1")
    assert sim.world.run_until(lambda: sim.part("gw2") == part, 5.0)
    sim.refuses.clear()
    sim.world.kill("m1")
    lie(sim, "gw1", made_up(Version(99, 1)))
    exchange = sim.agent("gw1").connections.part_exchange
    exchange.answer = lambda asked: exchange._participant.stamp(
        asked.node, kind="fetch", re=(0, 0), piece="99.1/0/9/"
    )  # type: ignore[method-assign]
    assert sim.world.run_until(lambda: sim.part("s1") == part, 40.0)
