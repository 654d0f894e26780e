"""Sentences of safety, told by whole systems: each test fails when the line that keeps its sentence is removed."""

from __future__ import annotations

import pytest

from examples.softphone_call import ENDED, TALKING
from tests.stories.site_simulation import SiteSimulation, site_of
from tests.stories.test_stories import begun, over, state

LEASE_S = 2.0
GRACE_S = 20.0
TIMING = f"agent_grace = {GRACE_S:g}"


def voters_of(sim: SiteSimulation) -> set[str]:
    return set(sim.site.membership().voters)


def byes_after(sim: SiteSimulation, seconds: float, name: str = "east") -> float:
    """How often a device was hung up ``seconds`` later."""
    sim.world.run(sim.world.now + seconds)
    return sum(number for word, number in sim.heard(name).items() if word.startswith("BYE"))


def test_a_server_without_its_lease_releases_nothing_for_the_silence_of_an_agent_that_left() -> None:
    sim = begun(site=site_of(timing=TIMING))
    assert voters_of(sim) == {"gw1", "gw2", "s1"}
    _, other = sim.talk()
    for name in ("gw1", "s1"):
        sim.world.kill(name)
    assert byes_after(sim, 3 * GRACE_S) == 0
    assert not sim.active and "m1 holds" in "\n".join(sim.said)
    assert state(other) is TALKING and not sim.cdrs


def test_a_server_with_its_lease_releases_what_an_agent_that_left_had() -> None:
    sim = begun(site=site_of(timing=TIMING))
    _, other = sim.talk()
    sim.world.kill("gw1")
    assert byes_after(sim, GRACE_S - 3.0) == 0 and state(other) is TALKING
    assert byes_after(sim, 6.0) == 1 and state(other) is ENDED


def test_it_is_released_when_the_server_has_its_lease_again() -> None:
    sim = begun(site=site_of(timing=TIMING))
    _, other = sim.talk()
    for name in ("gw1", "s1"):
        sim.world.kill(name)
    assert byes_after(sim, 1.5 * GRACE_S) == 0
    sim.world.start("s1")
    assert byes_after(sim, GRACE_S + 5.0) == 1 and state(other) is ENDED
    sim.world.run(sim.world.now + 3.0)
    assert len(sim.cdrs) == 1 and not sim.agent("gw2").lines["east"].busy


@pytest.mark.parametrize("holding", [False, True])
def test_nor_does_a_new_server_for_that_of_an_agent_that_never_came(holding: bool) -> None:
    sim = begun(site=site_of(agents=4, timing=TIMING))
    assert voters_of(sim) == {"gw1", "gw2", "gw3", "gw4", "s1"}
    _, other = sim.talk()
    for name in ("m1", "gw1"):
        sim.world.kill(name)
    assert sim.world.run_until(lambda: sim.active == ["s1"], 10.0), "\n".join(sim.said)
    sim.world.run(sim.world.now + 3.0)
    assert state(other) is TALKING and len(sim.server("s1").calls) == 1
    if holding:
        for name in ("gw3", "gw4"):
            sim.world.kill(name)
    assert byes_after(sim, 3 * GRACE_S) == (not holding)
    assert sim.active == ([] if holding else ["s1"])
    assert state(other) is (TALKING if holding else ENDED)
    if holding:
        for name in ("gw3", "gw4"):
            sim.world.start(name)
        assert byes_after(sim, GRACE_S + 5.0) == 1 and state(other) is ENDED


@pytest.mark.parametrize("seed", range(4))
def test_a_stand_by_whose_own_clock_is_suspect_asks_for_no_votes(seed: int) -> None:
    """It stood still: what it has not heard it may have slept through. It watches for one lease before it acts."""
    sim = begun(seed=seed, site=site_of(timing=f"lease = {LEASE_S:g}"))
    call, other = sim.talk()
    sim.world.kill("m1")
    sim.world.pause("s1")
    sim.world.run(sim.world.now + 5.0)
    sim.said.clear()
    sim.world.resume("s1")
    woken_at = sim.world.now
    assert sim.world.run_until(lambda: any("s1 asks for votes" in line for line in sim.said), 10.0)
    assert "s1 only watches" in sim.said[0]
    assert sim.world.now - woken_at >= LEASE_S
    assert sim.world.run_until(lambda: sim.active == ["s1"], 5.0)
    sim.world.run(sim.world.now + 1.0)
    sim.do("west", "bye", call)
    assert sim.world.run_until(lambda: over(other), 5.0)
