"""Stories of a trunk that the servers own, beside lines of agents."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.softphone_call import ENDED, TALKING, Policy
from heartbeat.site import load as sites
from tests.stories.rules import Rules
from tests.stories.site_simulation import KEYS, SERVED, SiteSimulation, text_of
from tests.stories.test_stories import part, serve, taken_over


def town_with_own_trunk(
    who: tuple[str, ...] = ("west", "east"), more: str = "", timer: bool = True
) -> SiteSimulation:
    """East is a trunk of the servers, with a session timer of 90 s; west is a line of gw1."""
    text = text_of(more=more)
    for number in (1, 2):
        listen = f'listen = "tcp:127.0.0.{number}:5161"'
        text = text.replace(listen, f'{listen}\nsip = ["udp:127.0.0.{number}:5060"]')
    expires = "session_timer = { expires = 90 }\n" if timer else ""
    owned = f'kind = "trunk"\n{expires}peer = "sip:127.0.0.22'
    text = text.replace('kind = "trunk"\nagent = "gw2"\npeer = "sip:127.0.0.22', owned)
    sim = SiteSimulation(who=who, site=sites.parse(text, Path("town.toml"), KEYS))
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


@pytest.mark.parametrize("timer", [True, False])
@pytest.mark.parametrize("caller", ["west", "east"])
def test_a_call_over_a_trunk_of_the_servers_outlives_its_server(caller: str, timer: bool) -> None:
    sim = town_with_own_trunk(timer=timer)
    call, other = sim.talk() if caller == "west" else sim.talk("east", "300", "west")
    west, east = sim.heard("west"), sim.heard("east")
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 2.0)
    assert sim.heard("west") == west, "a takeover sends nothing to a device of an agent"
    assert list((sim.heard("east") - east).elements()) == ["UPDATE"], "and to a trunk where its calls are now"
    serve(sim, call, other, (caller, "east" if caller == "west" else "west"))
    sim.world.run(sim.world.now + 200.0)
    assert (call.state, other.state) == (TALKING, TALKING)
    part(sim, "east", other if caller == "west" else call, call if caller == "west" else other, ["answered"])


@pytest.mark.parametrize(("first", "second"), [("200", "1003"), ("1003", "200")])
@pytest.mark.parametrize("attended", [False, True])
def test_a_party_or_target_of_a_transfer_is_a_trunk_of_the_servers(first: str, second: str, attended: bool) -> None:
    sim = town_with_own_trunk(("vera", "east", "carl"), SERVED)
    names = {"200": "east", "1003": "carl"}
    call, other = sim.talk("vera", first, names[first])
    instead = sim.talk("vera", second, names[second])[0] if attended else None
    sim.policy(names[second], Policy(answer_after=0.2))
    sim.do("vera", "transfer", call, second, instead)
    sim.world.run(sim.world.now + 1.5)
    target = next(iter(sim.line(names[second]).calls.values()))
    sim.do("vera", "bye", call)
    sim.world.run(sim.world.now + 1.0)
    assert (call.state, other.state, target.state) == (ENDED, TALKING, TALKING), sim.world.ladder(60, True)
    serve(sim, other, target, (names[first], names[second]))
    part(sim, names[second], target, other, ["answered"] * (3 if attended else 2))


@pytest.mark.parametrize("attended", [False, True])
def test_a_trunk_of_the_servers_has_calls_transferred(attended: bool) -> None:
    more = SERVED.replace('agent = "gw1"\n', "")
    sim = town_with_own_trunk(("west", "vera", "carl"), more)
    other, call = sim.talk("west", "6500", "vera")
    target, instead = sim.talk("carl", "6501", "vera") if attended else (None, None)
    sim.policy("carl", Policy(answer_after=0.2))
    sim.do("vera", "transfer", call, "1003", instead)
    sim.world.run(sim.world.now + 1.5)
    target = target or next(iter(sim.line("carl").calls.values()))
    assert sim.heard("vera")["202 REFER"] == 1
    sim.do("vera", "bye", call)
    sim.world.run(sim.world.now + 1.0)
    assert (call.state, other.state, target.state) == (ENDED, TALKING, TALKING), sim.world.ladder(60, True)
    serve(sim, other, target, ("west", "carl"))
    part(sim, "carl", target, other, ["answered"] * (3 if attended else 2))


def test_what_a_trunk_of_the_servers_does_not_have_served_is_refused() -> None:
    sim = town_with_own_trunk()
    call, other = sim.talk()
    sim.do("west", "transfer", call, "1003", None)  # that line passes transfers on, to none of a server's
    sim.world.run(sim.world.now + 0.5)
    assert sim.heard("west")["603 REFER"] == 1
    serve(sim, call, other)
