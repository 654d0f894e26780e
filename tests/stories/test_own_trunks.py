"""Stories of a trunk that the servers own, beside lines of agents."""

from __future__ import annotations

from pathlib import Path

from examples.softphone_call import ENDED, TALKING
from heartbeat.site import load as sites
from tests.stories.rules import Rules
from tests.stories.site_simulation import KEYS, SiteSimulation, text_of
from tests.stories.test_stories import at_an_end, over, part, serve, taken_over


def town_with_own_trunk() -> SiteSimulation:
    """East is a trunk of the servers, with a session timer of 90 s; west is a line of gw1."""
    text = text_of()
    for number in (1, 2):
        listen = f'listen = "tcp:127.0.0.{number}:5161"'
        text = text.replace(listen, f'{listen}\nsip = ["udp:127.0.0.{number}:5060"]')
    owned = 'kind = "trunk"\nsession_timer = { expires = 90 }\npeer = "sip:127.0.0.22'
    text = text.replace('kind = "trunk"\nagent = "gw2"\npeer = "sip:127.0.0.22', owned)
    sim = SiteSimulation(site=sites.parse(text, Path("town.toml"), KEYS))
    Rules(sim)
    assert sim.active == ["m1"]
    return sim


def test_a_call_over_a_trunk_of_the_servers_is_kept_alive_on_its_hop_and_changes() -> None:
    sim = town_with_own_trunk()
    call, other = sim.talk()
    serve(sim, call, other)
    west, east = sim.heard("west"), sim.heard("east")
    sim.world.run(sim.world.now + 200.0)
    assert (call.state, other.state) == (TALKING, TALKING)
    assert [what[:6] for what in (sim.heard("east") - east).elements()].count("UPDATE") == 4  # each 45 s
    assert sim.heard("west") == west, "a session timer is a matter of one hop"
    serve(sim, call, other)
    part(sim, "east", other, call, ["answered"])


def test_a_call_over_a_trunk_of_the_servers_ends_with_its_server_and_is_recorded() -> None:
    sim = town_with_own_trunk()
    call, other = sim.talk()
    sim.world.kill("m1")
    taken_over(sim)
    assert sim.world.run_until(lambda: over(call), 20.0), sim.world.ladder(80)
    assert other.state is TALKING  # nobody speaks for the dead server; its own timer will tell
    sim.do("east", "bye", other)
    sim.world.run(sim.world.now + 40.0)
    assert other.state is ENDED
    at_an_end(sim, ["answered"])
    again, callee = sim.talk()
    serve(sim, again, callee)
    part(sim, "west", again, callee, ["answered", "answered"])
