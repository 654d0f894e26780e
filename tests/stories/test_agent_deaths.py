"""Whole-system stories: an agent dies, starts again and has back what it had (docs/wire.md, Line-State)."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2bua import views
from examples.softphone_call import CALLING, TALKING, Policy
from examples.softphone_core import _Registering
from heartbeat.console.contract import Refused
from heartbeat.site import load as sites
from sip.offer_answer import OfferAnswerState
from tests.stories import matrix, pairs
from tests.stories.site_simulation import KEYS, SiteSimulation, text_of
from tests.stories.test_stories import begun, heard, part, serve, state
from tests.world import AFTER, BEFORE, KILL, PARTLY, PAUSE, UNSENT, Crash

AWAY_S = 0.5
"""Seconds between death and start: the connections' ends were heard."""


def die(town: SiteSimulation, name: str, away: float = AWAY_S) -> None:
    """Kill an agent, and start it again."""
    town.world.kill(name)
    town.world.run(town.world.now + away)
    town.world.start(name)
    agent = town.agent(name)
    assert town.world.run_until(lambda: agent.returning.complete, 5.0), "\n".join(town.said)
    town.world.run(town.world.now + 0.5)


@pytest.mark.parametrize("name", ["gw1", "gw2"])
def test_a_talking_call_outlives_its_agent(name: str) -> None:
    town = begun()
    one, other = town.talk()
    before = heard(town)
    die(town, name)
    assert heard(town) == before
    assert town.calls_of(name) == 1
    assert state(one) is TALKING and state(other) is TALKING
    serve(town, one, other)
    part(town, "west", one, other, ["answered"])


@pytest.mark.parametrize("name", ["gw1", "gw2"])
def test_a_held_call_outlives_its_agent(name: str) -> None:
    town = begun()
    one, other = town.talk()
    town.do("east", "hold", other)
    town.world.run(town.world.now + 0.5)
    before = heard(town)
    die(town, name)
    assert heard(town) == before
    town.do("east", "resume", other)
    town.world.run(town.world.now + 0.5)
    assert one.media_direction == "sendrecv"
    serve(town, one, other)
    part(town, "east", other, one, ["answered"])


@pytest.mark.parametrize("name", ["gw1", "gw2"])
def test_a_ringing_call_outlives_its_agent(name: str) -> None:
    town = begun()
    town.policy("east", Policy(answer_after=3.0))
    one = town.call("west", "200")
    town.world.run(town.world.now + 1.0)
    assert state(one) is CALLING
    before = heard(town)
    die(town, name)
    assert heard(town) == before, town.world.ladder(60, True)
    assert town.world.run_until(lambda: one.answered_at > 0, 5.0), town.world.ladder(80, True)
    town.world.run(town.world.now + 0.5)
    other = list(town.line("east").calls.values())[-1]
    serve(town, one, other)
    part(town, "west", one, other, ["answered"])


def test_registered_phones_stay_registered() -> None:
    town = begun(who=("anna", "bert"))
    assert town.agent("gw2").lines["bert"].far_side.contacts == 1
    before = town.line("bert").heard.copy()
    die(town, "gw2")
    assert town.agent("gw2").lines["bert"].far_side.contacts == 1
    assert town.line("bert").heard == before, "it had to register anew"
    one, other = town.talk("anna", "1002", "bert")
    serve(town, one, other, ("anna", "bert"))
    die(town, "gw1")
    serve(town, one, other, ("anna", "bert"))
    part(town, "bert", other, one, ["answered"])


def test_a_phone_that_unregistered_stays_away() -> None:
    town = begun(who=("anna", "bert"))
    phone, line = town.phone("bert"), town.line("bert")
    assert line.registration is not None
    line.registration.stop(town.world.nodes["bert"].clock(town.world.now))
    town.world.ask("bert", lambda now: _Registering(phone, line).pump(now))
    town.world.run(town.world.now + 0.5)
    assert town.agent("gw2").lines["bert"].far_side.contacts == 0
    die(town, "gw2")
    assert town.agent("gw2").lines["bert"].far_side.contacts == 0


@pytest.mark.parametrize(
    ("agent", "what", "flow", "place", "moment"),
    [
        # a refusal that came while the agent was away is still told to the caller
        ("gw1", matrix.CALLS, "busy", 0, AFTER),
        ("gw1", matrix.CALLS, "busy", 2, BEFORE),
        ("gw1", matrix.CALLS, "redirection of a trunk passed on", 1, AFTER),
        # so is one that the dead agent had acknowledged, and not passed on
        ("gw1", matrix.CALLS, "re-INVITE from both sides at once", 8, AFTER),
        ("gw1", matrix.CALLS, "re-INVITE from both sides at once", 10, BEFORE),
        # an answer that crossed a CANCEL, of which only the server knows, is ended
        ("gw1", matrix.CALLS, "CANCEL crossing the answer", 4, BEFORE),
        # a CANCEL whose 200 was all that left reaches the device from the next start, as it was
        ("gw2", matrix.CALLS, "CANCEL while ringing", 2, PARTLY),
        ("gw2", matrix.CALLS, "hunting to the third target", 5, AFTER),
        # an INVITE that its device repeats meanwhile is the one that comes back
        ("gw1", matrix.CALLS, "hunting to the third target", 0, PARTLY),
        ("gw2", matrix.CALLS, "hold and resume by the called side", 8, PARTLY),
        # the other devices of a fork that was answered are told so
        ("gw2", matrix.CALLS, "fork, one answers", 3, PARTLY),
        ("gw2", matrix.OTHERS, "fork, early media and an answer", 0, UNSENT),
        # numbers that were used in an early dialog are not used again
        ("gw2", matrix.OTHERS, "INFO early and late", 2, BEFORE),
        # a session is refreshed with its description, and a refresh is known as one
        ("gw2", matrix.OTHERS, "session refreshed by the agent", 0, BEFORE),
        ("gw2", matrix.OTHERS, "session refreshed by the device", 0, UNSENT),
        # a refresh whose answer nobody heard is made again
        ("gw2", matrix.TIMED, "session refreshed by the agent", 0, PARTLY),
        # an answer that the device got plainly is in the 200 all the same
        ("gw1", matrix.TIMED, "reliable responses unknown to the caller", 0, UNSENT),
        # what waits for its PRACK is said again under its number, and the PRACK of an early dialog finds it
        ("gw1", matrix.OTHERS, "offer in a reliable response", 0, PARTLY),
        ("gw1", matrix.CALLS, "offer in a reliable response", 4, UNSENT),
        ("gw1", matrix.CALLS, "reliable early media", 3, PARTLY),
        # one that goes on reliably is not told before its number, and a PRACK that never left is sent
        ("gw1", matrix.CALLS, "UPDATE before the answer", 2, PARTLY),
        ("gw1", matrix.CALLS, "offer in a reliable response", 2, PARTLY),
        ("gw2", matrix.CALLS, "reliable early media", 1, PARTLY),
        ("gw2", matrix.CALLS, "UPDATE before the answer", 1, PARTLY),
        # the number of a PRACK of ours is not used again
        ("gw2", matrix.OTHERS, "reliable responses unknown to the caller", 3, PARTLY),
        # an UPDATE in an early dialog is taken again
        ("gw1", matrix.CALLS, "UPDATE before the answer", 4, AFTER),
        ("gw2", matrix.CALLS, "UPDATE before the answer", 3, UNSENT),
        # what an UPDATE has described is known, so that the next one has a version that is new to the device
        ("gw2", matrix.CALLS, "UPDATE before the answer", 6, BEFORE),
        # how a transfer goes waits for the call that it is told in
        ("gw2", matrix.OTHERS, "blind transfer", 7, BEFORE),
        # who was replaced while its agent was away hears of it
        ("gw1", matrix.OTHERS, "attended transfer", 7, UNSENT),
        # a device that had only a 100 of its refresh repeats it
        ("gw2", matrix.CALLS, "session refreshed by the device", 0, PARTLY),
    ],
)
def test_what_was_under_way_when_an_agent_died(agent: str, what: str, flow: str, place: int, moment: str) -> None:
    kind = next(one for one in matrix.ELSEWHERE if one.name == f"{agent}, restart at {what}")
    found, _ = matrix.cell(kind, matrix.flow_of(flow), place, moment)
    assert found.faults == ()


@pytest.mark.parametrize("agent", ["gw1", "gw2"])
def test_what_an_update_has_described_is_known_to_the_next_start(agent: str) -> None:
    town = begun()
    one, _ = town.talk()
    first = described(town, agent)
    town.do("west", "update", one, True)
    town.world.run(town.world.now + 2.0)
    agreed = described(town, agent)
    assert agreed != first
    town.world.kill(agent)
    town.world.run(town.world.now + 0.5)
    town.world.start(agent)
    town.world.run(town.world.now + 3.0)
    assert described(town, agent) == agreed


def described(town: SiteSimulation, agent: str) -> tuple[OfferAnswerState, OfferAnswerState]:
    """What the only call of that agent has described on both of its sides."""
    [call] = town.agent(agent).calls.values()
    return call.description.device.export(), call.description.server.export()


def test_nobody_is_to_hand_over_before_an_agent_has_its_calls_back() -> None:
    town = begun()
    one, other = town.talk()
    core = town.server("m1")
    assert not core.agents.uncovered
    town.world.kill("gw1")
    town.world.run(town.world.now + AWAY_S)
    town.world.start("gw1")
    assert town.world.run_until(lambda: bool(core.agents.uncovered), 5.0)
    now = town.world.nodes["m1"].clock(town.world.now)
    said = "gw1 is not covered yet: if it died now, calls of it would be lost"
    assert said in views.status(core, {}, now).warnings
    with pytest.raises(Refused, match="gw1 would lose calls by a death during it"):
        core.admin_commands.command("switchover", {}, now)
    assert town.world.run_until(lambda: not core.agents.uncovered, 5.0)
    assert said not in views.status(core, {}, now).warnings
    town.switchover("m1")
    assert town.world.run_until(lambda: town.active == ["s1"], 5.0)
    town.world.run(town.world.now + 2.0)
    serve(town, one, other)
    part(town, "west", one, other, ["answered"])


def test_agents_that_came_back_while_nobody_led_are_covered_once_they_have_told_their_lists() -> None:
    town = begun()
    for agent in ("gw1", "gw2"):
        town.world.kill(agent)
    town.world.run(town.world.now + 8.0)  # without them no server has a quorum
    for agent in ("gw1", "gw2"):
        town.world.start(agent)
    assert town.world.run_until(
        lambda: len(town.active) == 1 and not town.server(town.active[0]).agents.incomplete, 15
    )
    core = town.server(town.active[0])
    assert core.agents.reached and not core.agents.uncovered
    one, other = town.talk()
    part(town, "west", one, other, ["answered"])


def test_a_call_of_which_too_much_is_to_be_known_is_said_not_to_come_back() -> None:
    town = begun()
    town.talk()
    core = town.server("m1")
    (call_id,) = core.agents.connections["gw1"].line_states._kept
    core.agents.connections["gw1"].line_states.note(call_id, "1.99999999999.9.-.mac", 0.0)
    said = "a call of gw1 could not come back after its death: what it alone knows of it is too long"
    assert said in views.status(core, {}, 0.0).warnings


def test_a_former_start_that_wakes_up_is_told_and_falls_silent() -> None:
    """The same agent runs on two machines: the one that stood still finds out when it speaks to a server."""
    town = begun()
    one, _ = town.talk()
    town.world.run(town.world.now + 1.0)
    core = town.agent("gw1")
    connection = town.server("m1").agents.connections["gw1"]
    connection.incarnation += 1  # a later start has proved itself, and this one's connection is closed
    assert connection.flow is not None
    town.server("m1").agents.close(connection.flow)
    town.world.ask("m1", lambda now: None)  # so that it is done
    assert town.world.run_until(lambda: bool(core.silence.because), 5.0)
    before = heard(town)
    town.do("west", "hang_up", one)
    town.world.run(town.world.now + AWAY_S)
    assert heard(town) == before, "its device is not answered by it"


def test_calls_come_back_under_a_key_that_was_changed_meanwhile() -> None:
    """Its three steps, each on all nodes before the next (docs/deploy.md)."""
    town = begun(who=("anna", "bert"))
    one, other = town.talk("anna", "1002", "bert")
    old, new = '{ env = "TOWN_KEY" }', '{ env = "NEXT_KEY" }'
    keys = {**KEYS, "NEXT_KEY": "another key of the town, as long"}
    for key, previous in ((old, new), (new, old), (new, "")):
        words = [f"key = {key}", *([f"previous_key = {previous}"] if previous else [])]
        town.site = sites.parse(text_of().replace(f"key = {old}", "\n".join(words)), Path("town.toml"), keys)
        town.reload(town.site)
        town.world.run(town.world.now + 3.0)
        assert town.active == ["m1"]
    states = town.server("m1").agents.connections["gw2"].line_states
    assert len(states) and states.lines
    die(town, "gw2")
    assert town.agent("gw2").returning.withheld == 0 and town.calls_of("gw2") == 1
    assert town.agent("gw2").lines["bert"].far_side.contacts == 1
    serve(town, one, other, ("anna", "bert"))
    part(town, "anna", one, other, ["answered"])


def test_an_answer_that_comes_before_its_call_is_back_is_not_lost() -> None:
    """It would come again only half a second later, and then ever more seldom."""
    town = begun()
    one = town.call("west", "200")
    town.world.run(town.world.now + 1.0)
    other = list(town.line("east").calls.values())[-1]
    town.world.kill("gw2")
    town.world.run(town.world.now + AWAY_S)
    town.world.start("gw2")
    town.do("east", "answer", other)
    assert town.world.run_until(lambda: town.agent("gw2").returning.complete, 5.0)
    assert town.world.run_until(lambda: one.answered_at > 0, 0.2), town.world.ladder(40, True)
    town.world.run(town.world.now + 0.5)
    serve(town, one, other)
    part(town, "west", one, other, ["answered"])


def test_a_call_that_was_cancelled_and_answered_while_its_agent_stood_still_is_ended_by_its_next_start() -> None:
    """It dies with the ACK said to the server, and the BYE not."""
    flow = matrix.flow_of("CANCEL crossing the answer")
    kinds = tuple(
        next(one for one in matrix.ELSEWHERE if one.name == f"gw1, {what} at {matrix.CALLS}")
        for what in ("pause", "restart")
    )
    paused = Crash("gw1", 3, AFTER, matrix.of_calls, PAUSE, 0.6)
    killed = Crash("gw1", 2, PARTLY, lambda _: paused.happened_at is not None, KILL, 1.2)
    _, faults = pairs.crashed(flow, paused, killed, kinds=kinds)
    assert killed.happened_at is not None and faults == ()


@pytest.mark.parametrize("lasts", [0.5, 3.0])
def test_what_crossed_a_cancel_and_was_acknowledged_does_not_stand_in_the_way_of_the_others(lasts: float) -> None:
    """The server keeps nothing of a 2xx whose ACK came: there is nothing in it by which to know its dialog."""
    flow = next(each for each in matrix.FLOWS if each.name == "CANCEL crossing the answer")
    kind = next(each for each in matrix.ELSEWHERE if each.name == "gw1, restart at other messages")

    def crashes() -> tuple[Crash, ...]:
        return (Crash("gw1", 2, UNSENT, matrix.counts_of(kind), KILL, lasts),)

    _, faults = pairs.crashed(flow, *crashes(), kinds=(kind,), again=crashes)
    assert not faults, "; ".join(faults)


def test_an_agent_that_dies_again_before_its_device_heard_of_it_still_has_a_call_that_has_ended() -> None:
    """What ended by way of the connection of its first start is given back to the third."""
    flow = matrix.flow_of("CANCEL crossing the answer")
    kind = next(one for one in matrix.ELSEWHERE if one.name == f"gw1, restart at {matrix.CALLS}")

    def crashes() -> tuple[Crash, ...]:
        first = Crash("gw1", 5, AFTER, matrix.of_calls, KILL, 1.56)
        return first, Crash("gw1", 7, PARTLY, lambda _: first.happened_at is not None, KILL, 0.8)

    sim, faults = pairs.crashed(flow, *crashes(), kinds=(kind, kind), again=crashes)
    assert not faults, "; ".join(faults) + sim.world.ladder(60, True)
