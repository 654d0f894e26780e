"""Heartbeats between servers by streams: deaths, cuts and orders are met as with datagrams."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from heartbeat.site import load as sites
from heartbeat.site.model import Site
from tests.stories.rules import Rules
from tests.stories.site_simulation import KEYS, SiteSimulation, text_of
from tests.stories.test_stories import serve, taken_over


@cache
def by_streams() -> Site:
    return sites.parse(text_of().replace('beat = "udp:', 'beat = "tcp:'), Path("town.toml"), KEYS)


def begun() -> SiteSimulation:
    sim = SiteSimulation(site=by_streams())
    Rules(sim)
    assert sim.active == ["m1"], "\n".join(sim.said)
    return sim


def hears(sim: SiteSimulation, server: str, other: str) -> bool:
    """Whether a server has just heard another one."""
    node = sim.world.nodes[server]
    peer = node.core.member.cluster.peers.get(other)
    return peer is not None and peer.heard_at is not None and node.clock(sim.world.now) - peer.heard_at < 1.5


def test_servers_hear_each_other() -> None:
    sim = begun()
    sim.world.run(sim.world.now + 5)
    assert hears(sim, "m1", "s1") and hears(sim, "s1", "m1")


def test_the_death_of_the_main_is_survived() -> None:
    sim = begun()
    call, other = sim.talk()
    sim.world.kill("m1")
    assert sim.world.run_until(lambda: sim.active == ["s1"], 10.0), "\n".join(sim.said)
    taken_over(sim)
    serve(sim, call, other)
    sim.world.start("m1")
    assert sim.world.run_until(lambda: hears(sim, "m1", "s1") and hears(sim, "s1", "m1"), 5.0)
    assert sim.active == ["s1"]


def test_a_cut_between_the_servers_takes_nothing_over_and_is_mended() -> None:
    sim = begun()
    call, other = sim.talk()
    sim.world.wires.cut("m1", "s1", both=True)
    sim.world.run(sim.world.now + 8)
    assert sim.active == ["m1"] and not hears(sim, "s1", "m1")
    sim.world.wires.heal()
    assert sim.world.run_until(lambda: hears(sim, "m1", "s1") and hears(sim, "s1", "m1"), 5.0)
    assert sim.active == ["m1"]
    serve(sim, call, other)
