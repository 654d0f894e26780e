"""Stories of telephones that register with the servers, with no agent between."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.softphone_call import ENDED, TALKING, Call, Policy
from heartbeat.site import load as sites
from sip.actions import Flow
from tests.stories.matrix import of_calls
from tests.stories.own_trunks import with_listeners
from tests.stories.rules import Rules
from tests.stories.site_simulation import DIRECT, KEYS, SiteSimulation, text_of
from tests.stories.test_stories import at_an_end, part, serve, taken_over
from tests.world import Crash

SERVERS = {"m1": "127.0.0.1", "s1": "127.0.0.2"}


def town(who: tuple[str, ...] = ("west", "yves", "zoe")) -> SiteSimulation:
    site = sites.parse(with_listeners(text_of(more=DIRECT)), Path("town.toml"), KEYS)
    sim = SiteSimulation(1, who, site)
    Rules(sim)
    assert sim.active == ["m1"]
    return sim


def registers(sim: SiteSimulation, name: str, server: str = "s1") -> None:
    """A telephone goes to another server, with what it asks in its calls as well."""
    phone, line = sim.phone(name), sim.line(name)
    line.flow = Flow("udp", phone.listen, (SERVERS[server], 5060))
    line.registration = None
    sim.world.ask(name, phone.register, line)
    for call in line.calls.values():
        call.leg.moved(line.flow)
    sim.world.run(sim.world.now + 0.5)


def told_to(sim: SiteSimulation, name: str) -> list[str]:
    """What that telephone was asked in its calls."""
    words = [what.split(" ")[0].split(":")[0] for what in sim.heard(name).elements()]
    return [word for word in words if word in ("INVITE", "UPDATE", "BYE", "CANCEL")]


@pytest.mark.parametrize("caller", ["west", "yves"])
def test_a_call_with_an_agent_s_device_outlives_the_server(caller: str) -> None:
    sim = town(("west", "yves"))
    call, other = sim.talk("west", "1008", "yves") if caller == "west" else sim.talk("yves", "300", "west")
    west = sim.heard("west")
    before = told_to(sim, "yves")
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 2.0)
    assert sim.heard("west") == west, "a takeover sends nothing to a device of an agent"
    assert told_to(sim, "yves")[len(before) :] == ["UPDATE"], "and to the telephone where its call is now"
    names = (caller, "yves" if caller == "west" else "west")
    serve(sim, call, other, names)
    registers(sim, "yves")
    serve(sim, call, other, names)
    part(sim, "yves", other if caller == "west" else call, call if caller == "west" else other, ["answered"])


def test_a_call_of_the_telephone_rings_on() -> None:
    sim = town(("west", "yves"))
    sim.policy("west", Policy(answer_after=6.0))
    call = sim.call("yves", "300")
    sim.world.run(sim.world.now + 1.0)
    west = sim.heard("west")
    sim.world.kill("m1")
    taken_over(sim)
    assert sim.heard("west") == west, "the phone rings on"
    sim.world.run(sim.world.now + 6.0)
    (other,) = sim.line("west").calls.values()
    assert (call.state, other.state) == (TALKING, TALKING)
    part(sim, "west", other, call, ["answered"])


def test_a_call_to_the_telephone_that_rings_is_called_off_and_rings_again() -> None:
    sim = town(("west", "yves"))
    sim.policy("yves", Policy(answer_after=8.0))
    call = sim.call("west", "1008")
    sim.world.run(sim.world.now + 1.0)
    sim.world.kill("m1")
    registers(sim, "yves")
    taken_over(sim)
    sim.world.run(sim.world.now + 1.0)
    standing = [one for one in sim.line("yves").calls.values() if one.state is not ENDED]
    assert len(standing) == 1, "one call rings there, not two"
    sim.world.run(sim.world.now + 9.0)
    assert (call.state, standing[0].state) == (TALKING, TALKING)
    part(sim, "west", call, standing[0], ["answered"])


@pytest.mark.parametrize("first", ["yves", "zoe"])
def test_a_call_between_two_telephones_comes_back_with_the_first_who_asks_something(first: str) -> None:
    sim = town()
    call, other = sim.talk("yves", "1009", "zoe")
    sim.world.kill("m1")
    for name in ("yves", "zoe"):
        registers(sim, name)
    taken_over(sim)
    mine, theirs = (call, other) if first == "yves" else (other, call)
    sim.do(first, "hold", mine)
    sim.world.run(sim.world.now + 0.5)
    assert (mine.media_direction, theirs.media_direction) == ("sendonly", "recvonly")
    sim.do(first, "resume", mine)
    sim.world.run(sim.world.now + 6.0)
    serve(sim, call, other, ("yves", "zoe"))
    assert sim.calls_of("s1") == 1
    part(sim, "zoe", other, call, ["answered"])


def test_such_a_call_comes_back_after_two_deaths() -> None:
    sim = town()
    call, other = sim.talk("yves", "1009", "zoe")
    for dead, next_one in (("m1", "s1"), ("s1", "m1")):
        if dead == "s1":
            sim.world.start("m1")
            sim.world.run(sim.world.now + 15.0)
        sim.world.kill(dead)
        for name in ("yves", "zoe"):
            registers(sim, name, next_one)
        taken_over(sim, next_one, 40.0)
        sim.do("yves", "hold", call)
        sim.world.run(sim.world.now + 0.5)
        assert other.media_direction == "recvonly", sim.world.ladder(40)
        sim.do("yves", "resume", call)
        sim.world.run(sim.world.now + 6.0)
    part(sim, "yves", call, other, ["answered"])


def test_a_call_that_ended_does_not_come_back_with_an_old_contact() -> None:
    sim = town()
    call, other = sim.talk("yves", "1009", "zoe")
    sim.do("yves", "bye", call)
    sim.world.run(sim.world.now + 1.0)
    assert (call.state, other.state) == (ENDED, ENDED)
    sim.world.kill("m1")
    for name in ("yves", "zoe"):
        registers(sim, name)
    taken_over(sim)
    sim.world.run(sim.world.now + 40.0)
    at_an_end(sim, ["answered"])


@pytest.mark.parametrize("index", range(7))
def test_the_server_dies_at_any_message_of_a_call_between_two_telephones(index: int) -> None:
    """What it was about to do comes to nothing, as nobody else knows of it; but nothing is left that nobody ends."""
    sim = town()
    sim.policy("zoe", Policy(answer_after=0.5))
    crash = Crash("m1", index, "after", of_calls)
    sim.world.crashes.append(crash)
    calls: list[Call] = [sim.call("yves", "1009")]
    sim.world.run(sim.world.now + 2.0)
    if crash.happened_at is None:
        assert index == 6
        sim.world.kill("m1")
    for name in ("yves", "zoe"):
        registers(sim, name)
    taken_over(sim)
    calls += sim.line("zoe").calls.values()
    sim.world.run(sim.world.now + 45.0)
    for name, call in zip(("yves", "zoe"), calls, strict=False):
        if call.state is not ENDED:
            sim.do(name, "bye" if call.state is TALKING else "cancel", call)
            sim.world.run(sim.world.now + 40.0)
    # who has heard that it rings gives up by a CANCEL, to which nobody is left who answers its INVITE
    assert all(call.state is not TALKING for call in calls)
    assert not sim.calls_of("s1")
