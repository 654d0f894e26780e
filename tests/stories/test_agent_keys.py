"""Agents with keys of their own: all that a site outlives, and how it comes to such keys (docs/deploy.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from heartbeat.agent_key import OWN, SITE
from heartbeat.carrier import VOTES
from heartbeat.persistent_state import PersistentState, encode
from heartbeat.site import load as sites
from heartbeat.site.model import Site
from tests.agent_keys import own_site
from tests.stories.rules import Rules
from tests.stories.site_simulation import KEYS, SiteSimulation, site_of, text_of
from tests.stories.test_agent_deaths import die
from tests.stories.test_stories import part, serve, taken_over

OLD, NEW = '{ env = "TOWN_KEY" }', '{ env = "NEXT_KEY" }'
SERVERS, AGENTS = ("m1", "s1"), ("gw1", "gw2")


def begun(own: tuple[str, ...] = AGENTS, site: Site | None = None, **more: object) -> SiteSimulation:
    """A site in which the agents ``own`` have keys of their own."""
    site = site or site_of()
    sim = SiteSimulation(site=site, own_sites={name: own_site(site, name) for name in own}, **more)  # type: ignore[arg-type]
    Rules(sim)
    assert sim.active == ["m1"], "\n".join(sim.said)
    return sim


def sorts(sim: SiteSimulation, server: str = "m1") -> list[str]:
    """By which keys the agents speak to a server."""
    return [sim.server(server).leadership.keyring.sort_of(name) for name in sim.site.agents]


def keys(key: str, previous: str = "") -> Site:
    """The site with this key, and the previous one."""
    words = [f"key = {key}", *([f"previous_key = {previous}"] if previous else [])]
    text = text_of().replace(f"key = {OLD}", "\n".join(words))
    return sites.parse(text, Path("town.toml"), {**KEYS, "NEXT_KEY": "another key of the town, as long"})


def reload(sim: SiteSimulation, name: str, site: Site) -> None:
    """One node reads this file."""
    sim.own_sites[name] = site
    sim.world.ask(name, sim.world.nodes[name].core.reload, site)
    sim.world.run(sim.world.now + 3.0)


def bad_beats(sim: SiteSimulation) -> int:
    return sum(
        sim.world.nodes[name].core.stack.counters["bad beats"] + sim.world.nodes[name].core.counters["bad beats"]
        if name in AGENTS
        else sim.world.nodes[name].core.stack.counters["bad beats"]
        for name in (*SERVERS, *AGENTS)
        if sim.world.nodes[name].alive
    )


@pytest.mark.parametrize("own", [AGENTS, ("gw1",), ("gw2",)])
@pytest.mark.parametrize("how", ["dies", "hands over"])
def test_a_call_goes_on_through_both_servers(own: tuple[str, ...], how: str) -> None:
    """Also in a site of which one agent has the site key still."""
    sim = begun(own)
    assert sorts(sim) == sorts(sim, "s1") == [OWN if name in own else SITE for name in AGENTS]
    call, other = sim.talk()
    for server, successor in (("m1", "s1"), ("s1", "m1")):
        if how == "dies":
            sim.world.kill(server)
            taken_over(sim, successor)
            sim.world.start(server)
        else:
            sim.switchover(server)
            taken_over(sim, successor)
        sim.world.run(sim.world.now + 35.0)
    assert sim.epoch_of("gw1") == sim.epoch_of("gw2") == 3
    serve(sim, call, other)
    assert not bad_beats(sim)
    part(sim, "east", other, call, ["answered"])


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_that_dies_has_its_calls_back(name: str) -> None:
    sim = begun()
    call, other = sim.talk()
    die(sim, name)
    serve(sim, call, other)
    sim.world.kill("m1")
    taken_over(sim)
    die(sim, name)
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


@pytest.mark.parametrize("own", [AGENTS, ("gw1",), ()])
@pytest.mark.parametrize("alone", [False, True])
def test_a_server_that_lost_its_disk_learns_what_it_must(own: tuple[str, ...], alone: bool) -> None:
    """From the active server or, when that is dead (``alone``), from the agents: by which list it asks for votes."""
    sim = begun(own)
    call, other = sim.talk()
    if alone:
        sim.world.kill("m1")
    sim.world.kill("s1")
    disk = sim.world.nodes["s1"].disk
    disk.clear()
    disk[VOTES] = encode(PersistentState(incarnation=1000))
    sim.world.start("s1")
    sim.world.run(sim.world.now + 10.0)
    if not alone:
        sim.world.kill("m1")
    taken_over(sim, limit=60.0)
    serve(sim, call, other)
    assert not bad_beats(sim)
    part(sim, "east", other, call, ["answered"])


@pytest.mark.parametrize("own", [AGENTS, ("gw1",)])
def test_the_voters_change(own: tuple[str, ...]) -> None:
    def site(voters: str, generation: int) -> Site:
        return site_of(agents=3, failover=f"voters = {voters}\ngeneration = {generation}")

    sim = begun(own, site('["gw1", "gw2", "gw3"]', 1))
    call, other = sim.talk()
    sim.site = site('["gw2"]', 2)
    sim.own_sites = {name: own_site(sim.site, name) for name in own}
    for name in ("s1", "gw3", "gw1", "gw2", "m1"):
        sim.world.kill(name)
        sim.world.run(sim.world.now + 1.0)
        sim.world.start(name)
        sim.world.run(sim.world.now + 40.0)
    [active] = sim.active
    lists = [sim.server(name).member.participant.voter.state.voters for name in SERVERS]
    lists += [sim.agent(name).connections.voter.participant.voter.state.voters for name in ("gw2", "gw3")]
    assert {each.names for each in lists} == {("gw2",)}, lists
    sim.world.kill(active)
    taken_over(sim, *[name for name in SERVERS if name != active])
    serve(sim, call, other)
    part(sim, "east", other, call, ["answered"])


@pytest.mark.parametrize("active", SERVERS)
def test_a_running_site_comes_to_such_keys_agent_by_agent(active: str) -> None:
    """Each agent reads its own key with the site key beside it, and then the own one alone; calls go on."""
    sim = begun(())
    if active == "s1":
        sim.switchover("m1")
        taken_over(sim)
    call, other = sim.talk()
    assert sorts(sim, active) == [SITE, SITE]
    for at, name in enumerate(AGENTS, 1):
        both = own_site(keys(OLD, OLD), name, previous=False)
        reload(sim, name, both)
        assert sorts(sim, active)[:at] == [OWN] * at, "heard in the answer to the next beat"
        reload(sim, name, own_site(site_of(), name))
        serve(sim, call, other)
    assert sorts(sim) == sorts(sim, "s1") == [OWN, OWN]
    for name in AGENTS:
        die(sim, name)  # what servers keep of it is sealed with its own key by now
    sim.world.kill(active)
    taken_over(sim, "s1" if active == "m1" else "m1")
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


def test_the_second_step_may_follow_the_first_at_once() -> None:
    """Before a server heard the agent's own key: the agent opens a new connection by it."""
    sim = begun(())
    call, other = sim.talk()
    for site in (own_site(keys(OLD, OLD), "gw1", previous=False), own_site(site_of(), "gw1")):
        sim.own_sites["gw1"] = site
        sim.world.ask("gw1", sim.agent("gw1").reload, site)
    sim.world.run(sim.world.now + 3.0)
    assert sorts(sim) == sorts(sim, "s1") == [OWN, SITE]
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


def test_an_agent_goes_back_to_the_site_key_by_a_restart() -> None:
    sim = begun()
    call, other = sim.talk()
    back = keys(OLD, OLD)
    own = own_site(back, "gw1")
    sim.own_sites["gw1"] = replace(back, identity=replace(back.identity, previous_key=own.identity.key))
    die(sim, "gw1")
    assert sorts(sim) == [SITE, OWN]
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


Order = Callable[[SiteSimulation, Site], None]


def all_at_once(sim: SiteSimulation, site: Site) -> None:
    sim.site = site
    sim.own_sites = {name: own_site(site, name) for name in AGENTS}
    sim.reload(site)
    sim.world.run(sim.world.now + 3.0)


def one_by_one(sim: SiteSimulation, site: Site) -> None:
    sim.site = site
    for name in ("gw2", "s1", "gw1", "m1"):
        reload(sim, name, own_site(site, name) if name in AGENTS else site)


@pytest.mark.parametrize("order", [all_at_once, one_by_one])
def test_the_site_key_changes_under_calls(order: Order) -> None:
    sim = begun()
    call, other = sim.talk()
    for site in (keys(OLD, NEW), keys(NEW, OLD), keys(NEW)):
        order(sim, site)
        serve(sim, call, other)
    assert sorts(sim) == sorts(sim, "s1") == [OWN, OWN]
    for name in AGENTS:
        die(sim, name)
    sim.world.kill("m1")
    taken_over(sim)
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


def test_who_is_dealt_no_new_key_is_out_when_the_old_one_goes() -> None:
    """A stolen agent has connections that were proved: they are closed, and no new one comes about."""
    sim = begun(who=("bert", "carl", "west"))
    call, other = sim.talk("bert", "1003", "carl")
    for server in SERVERS:
        reload(sim, server, keys(OLD, NEW))
    for server in SERVERS:
        reload(sim, server, keys(NEW, OLD))
    reload(sim, "gw2", own_site(keys(NEW, OLD), "gw2"))
    reload(sim, "gw2", own_site(keys(NEW), "gw2"))
    sim.do("bert", "info", call, "1")  # its token is signed with the new key from now on
    sim.world.run(sim.world.now + 1.0)
    assert sim.server("m1").agents.reached == ["gw1", "gw2"]
    for server in SERVERS:
        reload(sim, server, keys(NEW))
    sim.world.run(sim.world.now + 30.0)
    assert sim.server("m1").agents.reached == sim.server("s1").agents.reached == ["gw2"]
    assert sim.server("m1").stack.counters["refused openings"] > 3
    sim.world.kill("m1")
    taken_over(sim, limit=60.0)
    serve(sim, call, other, ("bert", "carl"))
    sim.do("carl", "bye", other)
    sim.world.run(sim.world.now + 2.0)
    assert [record.result for record in sim.cdrs] == ["answered"]
