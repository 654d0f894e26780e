"""Whole-system stories: an agent dies, starts again and has back what it had (docs/wire.md, Line-State)."""

from __future__ import annotations

import pytest

from examples.softphone_call import CALLING, TALKING, Policy
from examples.softphone_core import _Registering
from tests.stories.site_simulation import SiteSimulation
from tests.stories.test_stories import begun, heard, part, serve, state

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
