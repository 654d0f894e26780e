"""Stories of a trunk that the servers own, beside lines of agents."""

from __future__ import annotations

import pytest

from examples.softphone_call import ENDED, TALKING, Call, Policy
from tests.stories.matrix import of_calls
from tests.stories.own_trunks import play, town_with_own_trunk
from tests.stories.site_simulation import SERVED, SiteSimulation
from tests.stories.test_rehearsal import rehearsed
from tests.stories.test_stories import at_an_end, over, part, serve, taken_over
from tests.world import Crash


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
    found = rehearsed(sim)
    assert (found["kept"], found["lost"]) == (1, 0)
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 2.0)
    assert sim.heard("west") == west, "a takeover sends nothing to a device of an agent"
    assert list((sim.heard("east") - east).elements()) == ["UPDATE"], "and to a trunk where its calls are now"
    serve(sim, call, other, (caller, "east" if caller == "west" else "west"))
    sim.world.run(sim.world.now + 200.0)
    assert (call.state, other.state) == (TALKING, TALKING)
    part(sim, "east", other if caller == "west" else call, call if caller == "west" else other, ["answered"])


@pytest.mark.parametrize("by", ["west", "east"])
def test_who_hangs_up_while_there_is_no_server_ends_the_call_for_both(by: str) -> None:
    sim = town_with_own_trunk()
    call, other = sim.talk()
    sim.world.kill("m1")
    sim.do(by, "bye", call if by == "west" else other)
    taken_over(sim)
    sim.world.run(sim.world.now + 40.0)
    assert (call.state, other.state) == (ENDED, ENDED)
    at_an_end(sim, ["answered"])


def test_the_calls_of_a_cold_trunk_of_the_servers_end_with_their_server() -> None:
    sim = town_with_own_trunk(settings='recovery = "cold"\n')
    call, other = sim.talk()
    assert rehearsed(sim)["lost"] == 1
    sim.world.kill("m1")
    taken_over(sim)
    assert sim.world.run_until(lambda: over(call), 20.0), sim.world.ladder(80)
    assert other.state is TALKING  # nobody speaks for the dead server; its own timer will tell
    sim.do("east", "bye", other)
    sim.world.run(sim.world.now + 40.0)
    at_an_end(sim, ["answered"])


def test_the_peer_of_a_stream_gets_a_new_one() -> None:
    sim = town_with_own_trunk(timer=False, transport="tcp")
    call, other = sim.talk()
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 2.0)
    serve(sim, call, other)
    part(sim, "east", other, call, ["answered"])


def test_a_call_of_the_peer_rings_on_and_is_answered_through_the_new_server() -> None:
    sim = town_with_own_trunk()
    sim.policy("west", Policy(answer_after=6.0))
    call = sim.call("east", "300")
    sim.world.run(sim.world.now + 1.0)
    west = sim.heard("west")
    sim.world.kill("m1")
    taken_over(sim)
    assert sim.heard("west") == west, "the phone rings on"
    sim.world.run(sim.world.now + 6.0)
    (other,) = sim.line("west").calls.values()
    assert (call.state, other.state) == (TALKING, TALKING)
    serve(sim, call, other, ("east", "west"))
    part(sim, "west", other, call, ["answered"])


def test_a_call_outlives_a_switchover_and_two_deaths() -> None:
    sim = town_with_own_trunk()
    call, other = sim.talk()
    sim.switchover("m1")
    taken_over(sim)
    serve(sim, call, other)
    sim.world.kill("s1")
    taken_over(sim, "m1", 40.0)
    sim.world.run(sim.world.now + 2.0)
    serve(sim, call, other)
    part(sim, "east", other, call, ["answered"])


@pytest.mark.parametrize("moment", ["before", "partly"])
@pytest.mark.parametrize("caller", ["west", "east"])
def test_at_whatever_message_a_server_dies_no_call_is_left_half(caller: str, moment: str) -> None:
    index = 0
    while (played := play(caller, index, moment)).died_at is not None:
        sim, states = played.sim, {call.state for call in played.calls}
        where = f"message {index}\n{sim.world.ladder(60, True)}"
        known = 0.0 < played.known_at <= played.died_at
        if known:
            assert len(states) == 1 and states <= {TALKING, ENDED}, where
        for name in sim.who:
            for call in sim.phone(name).calls:
                sim.do(name, "hang_up", call)
        sim.world.run(sim.world.now + 35.0)
        assert not [call for name in sim.who for call in sim.phone(name).calls if call.state is not ENDED], where
        assert not any(sim.calls_of(name) for name in ("s1", "gw1", "gw2")), where
        assert len(sim.cdrs) == 1 if known else len(sim.cdrs) < 2, where
        index += 1
    assert index > 12


@pytest.mark.parametrize(("first", "second"), [("200", "1003"), ("1003", "200")])
@pytest.mark.parametrize("attended", [False, True])
def test_a_party_or_target_of_a_transfer_is_a_trunk_of_the_servers(first: str, second: str, attended: bool) -> None:
    sim = town_with_own_trunk(("vera", "east", "carl"), more=SERVED)
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
    sim = town_with_own_trunk(("west", "vera", "carl"), more=more)
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


TWO_CALLS = """
[lines.yvo]
kind = "phone"
agent = "gw2"
numbers = ["1008"]
password = { env = "PASSWORD" }
channels = 2
transfer = "pass"
"""
NUMBERS = {"west": "300", "east": "200", "yvo": "1008"}
ATTENDED = [("west", "east", "yvo"), ("west", "yvo", "east"), ("east", "west", "yvo"), ("east", "yvo", "west")]
"""Who refers, who stays and who is the target, of two calls that stand."""


def passed(
    sim: SiteSimulation, who: tuple[str, str, str], crash: Crash | None = None
) -> tuple[tuple[Call, Call], tuple[Call, Call], list[Call]]:
    """Two calls of who refers, and what becomes of the second one as who stays calls in its place."""
    referrer, stays, target = who
    first = sim.talk(referrer, NUMBERS[stays], stays)
    second = sim.talk(referrer, NUMBERS[target], target)
    made: list[Call] = []
    sim.then(stays, "refer", lambda call: made.append(sim.world.ask(stays, sim.phone(stays).follow, call)))
    if crash is not None:
        sim.world.crashes.append(crash)
    sim.do(referrer, "transfer", first[0], NUMBERS[target], second[0])
    return first, second, made


@pytest.mark.parametrize("who", ATTENDED, ids=" ".join)
def test_an_attended_transfer_crosses_a_trunk_of_the_servers(who: tuple[str, str, str]) -> None:
    sim = town_with_own_trunk(("west", "east", "yvo"), more=TWO_CALLS)
    first, second, made = passed(sim, who)
    sim.world.run(sim.world.now + 2.0)
    assert made and made[0].state is TALKING and second[1].state is TALKING, sim.world.ladder(80, True)
    assert second[0].state is ENDED, "its place is taken"
    sim.do(who[0], "hang_up", first[0])
    sim.world.run(sim.world.now + 1.0)
    serve(sim, made[0], second[1], who[1:])
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 2.0)
    serve(sim, made[0], second[1], who[1:])
    part(sim, who[2], second[1], made[0], ["answered", "answered"])


@pytest.mark.parametrize("who", ATTENDED, ids=" ".join)
def test_at_whatever_message_a_server_dies_a_transfer_leaves_no_call_half(
    who: tuple[str, str, str],
) -> None:
    index, happened = 0, True
    while happened:
        sim = town_with_own_trunk(("west", "east", "yvo"), more=TWO_CALLS)
        crash = Crash("m1", index, "after", of_calls)
        passed(sim, who, crash)
        sim.world.run(sim.world.now + 20.0)
        happened = crash.happened_at is not None
        where = f"message {index}\n{sim.world.ladder(80, True)}"
        sim.world.crashes.clear()
        for name in sim.who:
            for call in sim.phone(name).calls:
                sim.do(name, "hang_up", call)
        sim.world.run(sim.world.now + 35.0)
        assert not [call for name in sim.who for call in sim.phone(name).calls if call.state is not ENDED], where
        assert not any(sim.calls_of(name) for name in ("s1", "gw1", "gw2")), where
        index += 1
    assert index > 6


def test_an_attended_transfer_is_refused_where_a_trunk_of_the_servers_refuses_transfers() -> None:
    sim = town_with_own_trunk()
    call, other = sim.talk()
    sim.do("west", "transfer", call, "200", None)
    named = f"Replaces: {other.leg.dialog.call_id};to-tag={other.leg.dialog.remote_tag};from-tag=x"
    second = sim.call("east", "300", lines=[named])
    sim.world.run(sim.world.now + 0.5)
    assert second.status == 481
    serve(sim, call, other)


def test_a_call_that_goes_on_with_somebody_else_between_two_deaths_has_rising_numbers() -> None:
    """What the second server begins with is not what the first one had to begin with, and counts on from there."""
    sim = town_with_own_trunk(("vera", "east", "carl"), more=SERVED)
    call, other = sim.talk("vera", "200", "east")
    sim.world.run(sim.world.now + 40.0)
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 2.0)
    serve(sim, call, other, ("vera", "east"))
    sim.policy("carl", Policy(answer_after=0.2))
    sim.do("vera", "transfer", call, "1003", None)
    sim.world.run(sim.world.now + 1.5)
    (target,) = sim.line("carl").calls.values()
    sim.do("vera", "bye", call)
    sim.world.run(sim.world.now + 1.0)
    sim.world.start("m1")
    sim.world.run(sim.world.now + 12.0)
    sim.world.kill("s1")
    taken_over(sim, "m1", 40.0)
    sim.world.run(sim.world.now + 2.0)
    serve(sim, other, target, ("east", "carl"))
    part(sim, "carl", target, other, ["answered", "answered"])
