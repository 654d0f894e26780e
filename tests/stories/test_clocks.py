"""Wall clocks that differ or step, and times that go on over a takeover: what records and ringing phones are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from b2bua import views
from b2bua.alerts import alerts
from examples.softphone_call import ENDED, Policy
from heartbeat.site import load as sites
from tests.stories.site_simulation import KEYS, SiteSimulation, text_of
from tests.world import Disk


class Skewed(SiteSimulation):
    """The wall clock of m1 is ahead by so many seconds."""

    def __init__(self, ahead: float, **more: Any) -> None:
        self.ahead, self._making = ahead, ""
        super().__init__(**more)

    def make(self, name: str, disk: Disk, now: float) -> Any:
        self._making = name
        return super().make(name, disk, now)

    def wall_offset(self, now: float) -> float:
        return super().wall_offset(now) + (self.ahead if self._making == "m1" else 0.0)


def _lose(sim: SiteSimulation, agent: str) -> None:
    """An agent starts anew, and nobody can tell it what it had: its calls are lost."""
    sim.world.kill(agent)
    [active] = sim.active
    sim.server(active).agents.connections[agent].line_states.clear()
    sim.world.run(sim.world.now + 0.5)
    sim.world.start(agent)


AHEAD = pytest.mark.parametrize("ahead", [0.0, 5.0, -5.0, 3600.0, -3600.0])


@AHEAD
def test_a_record_has_the_true_times_after_a_takeover(ahead: float) -> None:
    sim = Skewed(ahead)
    sim.policy("east", Policy(answer_after=1.0))
    call = sim.call("west", "200")
    sim.world.run(sim.world.now + 11.0)
    sim.world.kill("m1")
    sim.world.run(sim.world.now + 10.0)
    [living] = sim.server("s1").calls.values()
    clock = sim.world.nodes["s1"].clock(sim.world.now)
    assert views.calls(sim.server("s1"), {}, clock).calls[0].answered_at == pytest.approx(clock - 20.0, abs=0.1)
    sim.do("west", "bye", call)
    sim.world.run(sim.world.now + 3.0)
    [record] = sim.cdrs
    assert record.duration == pytest.approx(20.0, abs=0.1)
    assert record.started is not None and record.answered is not None and record.ended is not None
    assert record.started <= record.answered <= record.ended
    assert living.state.started == record.started, "the wall clock is attached once"


@AHEAD
def test_a_record_of_a_call_that_ended_while_no_server_was_there_is_true(ahead: float) -> None:
    sim = Skewed(ahead)
    call, _ = sim.talk()
    sim.world.run(sim.world.now + 5.0)
    sim.world.kill("m1")
    sim.world.run(sim.world.now + 0.5)
    sim.do("west", "bye", call)
    sim.world.run(sim.world.now + 20.0)
    [record] = sim.cdrs
    assert record.duration == pytest.approx(5.6, abs=0.2)


@AHEAD
def test_what_an_agent_has_lost_is_released_at_once(ahead: float) -> None:
    sim = Skewed(ahead)
    sim.talk()
    sim.world.kill("m1")
    sim.world.run(sim.world.now + 6.0)
    _lose(sim, "gw1")
    other = list(sim.line("east").calls.values())[-1]
    assert sim.world.run_until(lambda: other.state is ENDED, 5.0)


@pytest.mark.parametrize("step", [-60.0, 7200.0])
def test_a_step_of_the_clock_changes_no_record_and_releases_nothing_too_late(step: float) -> None:
    sim = SiteSimulation(1)
    call, other = sim.talk()
    sim.world.run(sim.world.now + 5.0)
    sim.server("m1").records.wall_offset += step
    sim.world.run(sim.world.now + 5.0)
    _lose(sim, "gw1")
    assert sim.world.run_until(lambda: other.state is ENDED, 5.0)
    sim.world.run(sim.world.now + 2.0)
    [record] = sim.cdrs
    assert call.answered_at and record.duration == pytest.approx(10.6, abs=0.7)


def test_clocks_that_differ_are_a_warning() -> None:
    sim = Skewed(3600.0)
    for name, other, which in (("m1", "s1", "behind"), ("s1", "m1", "ahead of")):
        difference = sim.server(name).member.cluster.clocks.differences[other]
        assert abs(difference.middle) == pytest.approx(3600.0, abs=0.1)
        said = views.status(sim.server(name), {}, sim.world.nodes[name].clock(sim.world.now)).warnings
        [warning] = [one for one in said if "NTP" in one]
        assert warning.startswith(f"the clock of {other} is 3") and f" s {which} that of {name}: set" in warning
    for off in (0.0, 0.8):
        sim = Skewed(off)
        assert not sim.server("s1").member.cluster.clocks.differences["m1"].exceeds(1.0)
        assert list(views.status(sim.server("s1"), {}, sim.world.nodes["s1"].clock(sim.world.now)).warnings) == []


RINGS = pytest.mark.parametrize("ring, killed", [(8, 4.0), (8, 6.5), (5, 4.0)])


def _rings_on(text: str, number: str, ring: int, killed: float) -> None:
    """After ``ring`` seconds carl is called, or as soon as another server is there."""
    sim = SiteSimulation(1, ("west", "bert", "carl"), sites.parse(text, Path("town.toml"), KEYS))
    for name in ("bert", "carl"):
        sim.policy(name, Policy(answer_after=None))
    began = sim.world.now
    sim.call("west", number)
    sim.world.run(began + killed)
    sim.world.kill("m1")
    assert sim.world.run_until(lambda: bool(sim.line("carl").calls), 30.0)
    took = sim.world.now - began
    assert took == pytest.approx(max(ring, killed + 2.5), abs=1.5), (
        "once another server is there, the next one is due"
    )


@RINGS
def test_a_phone_does_not_ring_longer_because_of_a_takeover(ring: int, killed: float) -> None:
    _rings_on(text_of().replace("ring = 2", f"ring = {ring}"), "601", ring, killed)


@RINGS
def test_a_phone_is_not_forwarded_later_because_of_a_takeover(ring: int, killed: float) -> None:
    forward = f'forward = {{ no_answer = "1003", after = {ring} }}'
    _rings_on(text_of().replace('numbers = ["1002"]', f'numbers = ["1002"]\n{forward}'), "1002", ring, killed)


@pytest.mark.parametrize("dies", ["m1", "gw1", "gw2"])
def test_the_longest_call_is_counted_from_its_answer_whoever_dies(dies: str) -> None:
    text = text_of().replace("[lines.east]", "[lines.east]\nlongest_call = 60")
    sim = SiteSimulation(site=sites.parse(text, Path("town.toml"), KEYS))
    call, other = sim.talk()
    answered_at = sim.world.now
    sim.world.run(answered_at + 20.0)
    sim.world.kill(dies)
    sim.world.run(sim.world.now + 0.5)
    sim.world.start(dies)
    assert sim.world.run_until(lambda: call.state is ENDED and other.state is ENDED, 60.0)
    assert sim.world.now - answered_at == pytest.approx(60.0, abs=2.0)
    sim.world.run(sim.world.now + 3.0)
    [record] = sim.cdrs
    assert record.duration == pytest.approx(60.0, abs=2.0)


def _agents_tell_the_time(sim: SiteSimulation, ahead: float = 0.0) -> None:
    """The agents state their wall clocks from now on; that of gw1 is ahead by so many seconds."""
    for name in sim.site.agents:
        now = sim.world.nodes[name].clock(sim.world.now)
        sim.agent(name).wall_offset = sim.wall_offset(now) + (ahead if name == "gw1" else 0.0)


def _clocks_off(sim: SiteSimulation) -> dict[str, list[str]]:
    """What each server says of clocks."""
    now = sim.world.now
    said = {name: alerts(sim.server(name), sim.world.nodes[name].clock(now)) for name in sim.site.servers}
    return {name: [each.text for each in found if each.code == "clock"] for name, found in said.items()}


@pytest.mark.parametrize("late", [0.6, 1.5, 4.0])
def test_what_is_read_late_shows_no_clock_that_is_behind(late: float) -> None:
    sim = SiteSimulation(1)
    _agents_tell_the_time(sim)
    sim.world.wires.weather.delay = late
    for _ in range(60):
        sim.world.run(sim.world.now + 0.5)
        assert _clocks_off(sim) == {"m1": [], "s1": []}


@pytest.mark.parametrize("ahead", [7.0, -7.0, 1.3, -1.3])
def test_a_clock_that_is_off_shows_although_what_is_said_is_read_late(ahead: float) -> None:
    sim = SiteSimulation(1)
    _agents_tell_the_time(sim, ahead)
    sim.world.wires.weather.delay = 0.1
    sim.world.run(sim.world.now + 20.0)
    for said in _clocks_off(sim).values():
        [sentence] = said
        apart, which = sentence.removeprefix("the clock of gw1 is ").split(" s ", 1)
        assert float(apart) == pytest.approx(abs(ahead), abs=0.25)
        assert which.startswith("ahead of" if ahead > 0 else "behind")


def test_a_clock_that_was_set_right_is_no_longer_warned_of() -> None:
    sim = SiteSimulation(1)
    _agents_tell_the_time(sim, 60.0)
    sim.world.run(sim.world.now + 15.0)
    assert all(_clocks_off(sim).values())
    _agents_tell_the_time(sim)
    sim.world.run(sim.world.now + 15.0)
    assert not any(_clocks_off(sim).values())
