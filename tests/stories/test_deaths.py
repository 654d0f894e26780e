"""Servers that die and say so, and requests that kill them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from examples.softphone_call import CALLING, ENDED, TALKING, Policy
from tests.stories.rules import Rules
from tests.stories.site_simulation import SiteSimulation, site_of
from tests.stories.test_stories import heard, serve, state, taken_over
from tests.world import UNSENT, Crash

POISON = "poison-7f3a"


def begun(**more: object) -> SiteSimulation:
    sim = SiteSimulation(supervised=True, **more)  # type: ignore[arg-type]
    Rules(sim)
    assert sim.active == ["m1"], "\n".join(sim.said)
    return sim


def test_a_death_that_is_said_costs_no_silence_and_no_call() -> None:
    sim = begun()
    call, other = sim.talk()
    before = heard(sim)
    died_at = sim.world.now
    sim.die("m1")
    assert sim.world.run_until(lambda: sim.active == ["s1"], 5.0)
    assert sim.world.now - died_at < 0.1
    taken_over(sim)
    assert heard(sim) == before
    serve(sim, call, other)


def test_both_die_one_after_the_other_and_nobody_waits() -> None:
    sim = begun()
    call, other = sim.talk()
    for dead, next_one in (("m1", "s1"), ("s1", "m1"), ("m1", "s1")):
        died_at = sim.world.now
        sim.die(dead)
        assert sim.world.run_until(lambda one=next_one: sim.active == [one], 5.0), "\n".join(sim.said)  # type: ignore[misc]
        assert sim.world.now - died_at < 0.1, "hold_down is not for deaths that are said"
        taken_over(sim, next_one)
        sim.world.start(dead)
        sim.world.run(sim.world.now + 1.5)
    serve(sim, call, other)


def test_a_lone_server_goes_on_as_soon_as_it_is_started_again() -> None:
    sim = begun(site=site_of(standby=False))
    call, other = sim.talk()
    sim.die("m1")
    sim.world.run(sim.world.now + 0.2)
    sim.world.start("m1")
    started_at = sim.world.now
    assert sim.world.run_until(lambda: sim.active == ["m1"], 5.0)
    assert sim.world.now - started_at < 1.0, "it showed its secret; the voters did not wait"
    taken_over(sim, "m1")
    serve(sim, call, other)


def poisoned(sim: SiteSimulation, kills: Callable[[bytes], bool], moment: str = UNSENT) -> None:
    """Whoever of the servers gets what ``kills`` dies of it, before it says anything, and is started again in 1 s."""
    for node in ("m1", "s1"):
        for index in range(8):
            sim.world.crashes.append(
                Crash(node, index, moment, lambda one: one is not None and kills(one.data), lasts=1.0)
            )


def deaths(sim: SiteSimulation) -> int:
    return sum(crash.happened_at is not None for crash in sim.world.crashes)


@pytest.mark.parametrize("method", ["INVITE", "INFO", "BYE"])
def test_a_request_in_a_call_that_kills_is_shown_to_two_servers_and_then_answered(method: str) -> None:
    sim = begun()
    bystander, bystander_other = sim.talk()
    call, other = sim.talk()
    [ours] = [one for one in sim.agent("gw1").calls.values() if one.device.dialog.call_id == call.leg.dialog.call_id]
    dialog = ours.server.dialog
    marks = dialog.call_id.encode(), f"CSeq: {dialog.local_cseq + 1} {method}".encode()
    poisoned(sim, lambda data: all(mark in data for mark in marks))
    sim.do(
        "west", {"INVITE": "hold", "INFO": "info", "BYE": "bye"}[method], call, *(["7"] if method == "INFO" else [])
    )
    sim.world.run(sim.world.now + 25.0)
    assert deaths(sim) == 2, "\n".join(sim.said)
    sim.world.crashes.clear()  # later messages of the same numbers are others
    assert len([line for line in sim.said if f"servers died while they had {method}" in line]) == 1
    if method == "BYE":
        assert state(call) is ENDED and state(other) is ENDED
    else:
        refused = [word for word in sim.heard("west").elements() if word.startswith(f"500 {method}")]
        assert len(refused) == 1 and "Servers died" in refused[0] and state(call) is TALKING
        serve(sim, call, other)
    serve(sim, bystander, bystander_other)


def test_an_invite_that_kills_is_shown_to_two_servers_and_refused() -> None:
    sim = begun()
    bystander, bystander_other = sim.talk()
    poisoned(sim, lambda data: POISON.encode() in data)
    call = sim.call("west", "200", subject=POISON)
    sim.world.run(sim.world.now + 25.0)
    assert deaths(sim) == 2 and call.status == 500, "\n".join(sim.said)
    [record] = [one for one in sim.cdrs if one.status == 500]
    assert "Servers died while they had this request" in record.reason
    serve(sim, bystander, bystander_other)


def test_what_comes_of_an_invite_may_kill_four_servers() -> None:
    """They die of the far device's answer, each time that it is told anew; all had said 100 before."""
    sim = begun()
    bystander, bystander_other = sim.talk()
    before = set(sim.line("east").calls)
    sim.policy("east", Policy(answer_after=None))
    poisoned(sim, lambda data: data.startswith(b"SIP/2.0 180") and b"Call-Origin" in data)
    call = sim.call("west", "200")
    sim.world.run(sim.world.now + 60.0)
    # the server that then ends what rings there hears it once more
    assert deaths(sim) in (4, 5) and call.status == 500, "\n".join(sim.said)
    sim.world.crashes.clear()
    assert not set(sim.line("east").calls) - before, "and nothing rings there any more"
    serve(sim, bystander, bystander_other)


def test_a_call_that_rings_through_two_deaths_rings_on() -> None:
    sim = begun()
    sim.policy("east", Policy(answer_after=None))
    call = sim.call("west", "200")
    sim.world.run(sim.world.now + 3.0)
    for dead, next_one in (("m1", "s1"), ("s1", "m1")):
        sim.die(dead)
        taken_over(sim, next_one)
        sim.world.start(dead)
        sim.world.run(sim.world.now + 3.0)
    assert state(call) is not ENDED and not call.status
    ringing = next(iter(sim.line("east").calls.values()))
    sim.do("east", "answer", ringing)
    sim.world.run(sim.world.now + 1.0)
    assert state(call) is TALKING


def test_a_goodbye_is_no_death() -> None:
    sim = begun()
    sim.policy("east", Policy(answer_after=None))
    call = sim.call("west", "200")
    sim.world.run(sim.world.now + 0.1)
    for _ in range(4):
        sim.switchover(sim.active[0])
        sim.world.run(sim.world.now + 1.0)
    assert state(call) is CALLING and not call.status
