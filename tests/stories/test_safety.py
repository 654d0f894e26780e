"""Sentences of safety, told by whole systems: each test fails when the line that keeps its sentence is removed."""

from __future__ import annotations

import pytest

from examples.softphone_call import ENDED, TALKING
from tests.stories.test_stories import begun, over, state
from tests.stories.town import Town, site_of

LEASE_S = 2.0
GRACE_S = 20.0
TIMING = f"agent_grace = {GRACE_S:g}"


def voters_of(town: Town) -> set[str]:
    return set(town.site.membership().voters)


def byes_after(town: Town, seconds: float, name: str = "east") -> float:
    """How often a device was hung up ``seconds`` later."""
    town.world.run(town.world.now + seconds)
    return sum(number for word, number in town.heard(name).items() if word.startswith("BYE"))


def test_a_server_without_its_lease_releases_nothing_for_the_silence_of_an_agent_that_left() -> None:
    town = begun(site=site_of(timing=TIMING))
    assert voters_of(town) == {"gw1", "gw2", "s1"}
    _, other = town.talk()
    for name in ("gw1", "s1"):
        town.world.kill(name)
    assert byes_after(town, 3 * GRACE_S) == 0
    assert not town.active and "m1 holds" in "\n".join(town.said)
    assert state(other) is TALKING and not town.cdrs


def test_a_server_with_its_lease_releases_what_an_agent_that_left_had() -> None:
    town = begun(site=site_of(timing=TIMING))
    _, other = town.talk()
    town.world.kill("gw1")
    assert byes_after(town, GRACE_S - 3.0) == 0 and state(other) is TALKING
    assert byes_after(town, 6.0) == 1 and state(other) is ENDED


def test_it_is_released_when_the_server_has_its_lease_again() -> None:
    town = begun(site=site_of(timing=TIMING))
    _, other = town.talk()
    for name in ("gw1", "s1"):
        town.world.kill(name)
    assert byes_after(town, 1.5 * GRACE_S) == 0
    town.world.start("s1")
    assert byes_after(town, GRACE_S + 5.0) == 1 and state(other) is ENDED
    town.world.run(town.world.now + 3.0)
    assert len(town.cdrs) == 1 and not town.agent("gw2").lines["east"].busy


@pytest.mark.parametrize("holding", [False, True])
def test_nor_does_a_new_server_for_that_of_an_agent_that_never_came(holding: bool) -> None:
    town = begun(site=site_of(agents=4, timing=TIMING))
    assert voters_of(town) == {"gw1", "gw2", "gw3", "gw4", "s1"}
    _, other = town.talk()
    for name in ("m1", "gw1"):
        town.world.kill(name)
    assert town.world.run_until(lambda: town.active == ["s1"], 10.0), "\n".join(town.said)
    town.world.run(town.world.now + 3.0)
    assert state(other) is TALKING and len(town.server("s1").calls) == 1
    if holding:
        for name in ("gw3", "gw4"):
            town.world.kill(name)
    assert byes_after(town, 3 * GRACE_S) == (not holding)
    assert town.active == ([] if holding else ["s1"])
    assert state(other) is (TALKING if holding else ENDED)
    if holding:
        for name in ("gw3", "gw4"):
            town.world.start(name)
        assert byes_after(town, GRACE_S + 5.0) == 1 and state(other) is ENDED


@pytest.mark.parametrize("seed", range(4))
def test_a_stand_by_whose_own_clock_is_suspect_asks_for_no_votes(seed: int) -> None:
    """It stood still: what it has not heard it may have slept through. It watches for one lease before it acts."""
    town = begun(seed=seed, site=site_of(timing=f"lease = {LEASE_S:g}"))
    call, other = town.talk()
    town.world.kill("m1")
    town.world.pause("s1")
    town.world.run(town.world.now + 5.0)
    town.said.clear()
    town.world.resume("s1")
    woken_at = town.world.now
    assert town.world.run_until(lambda: any("s1 asks for votes" in line for line in town.said), 10.0)
    assert "s1 only watches" in town.said[0]
    assert town.world.now - woken_at >= LEASE_S
    assert town.world.run_until(lambda: town.active == ["s1"], 5.0)
    town.world.run(town.world.now + 1.0)
    town.do("west", "bye", call)
    assert town.world.run_until(lambda: over(other), 5.0)
