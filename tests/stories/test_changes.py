"""Re-INVITEs while everything fails: from seeds, and by name. ``python -m tests.stories.changes SEED`` shows one."""

from __future__ import annotations

import logging

import pytest

from examples.softphone_call import CALLING, TALKING, Call, Policy
from tests.stories.changes import Changes
from tests.stories.site_simulation import SiteSimulation
from tests.stories.test_stories import at_an_end, begun, heard, part, serve, taken_over

SEEDS = 60
AT_ONCE = 10


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_change_is_under_way_for_ever_and_both_ends_agree(first: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    for seed in range(first, first + AT_ONCE):
        changes = Changes(seed)
        try:
            changes.run()
        except AssertionError as error:
            last = changes.sim.world.ladder(60, calls_only=True)
            raise AssertionError(f"seed {seed}: {error}\n{last}") from error


def test_a_list_that_comes_late_leaves_nothing_for_the_next_rule() -> None:
    """Seed 415: roles change three times in a second while an agent stands still."""
    Changes(415).run()


def agree(one: Call, other: Call) -> bool:
    return one.held == other.held_there and other.held == one.held_there


def test_a_hold_that_was_told_to_have_failed_is_undone_where_it_came_about() -> None:
    """The server is heard by one agent only: the change comes about, and the device is told 500."""
    sim = begun()
    call, other = sim.talk()
    sim.world.kill("s1")
    sim.world.wires.cut("m1", "gw1")
    sim.do("west", "hold", call)
    sim.then("west", "unchanged", lambda _: setattr(call, "wanted", None))  # the user does not insist
    sim.world.run(sim.world.now + 12.0)
    assert sim.heard("west")["500 INVITE"] == 1 and not call.held and other.held_there
    sim.world.wires.heal()
    sim.world.run(sim.world.now + 30.0)
    assert not call.held and agree(call, other), sim.world.ladder(80, True)
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


def test_the_cancel_of_a_hold_reaches_the_other_side_through_the_next_server() -> None:
    sim = begun()
    call, other = sim.talk()
    sim.world.kill("m1")
    sim.do("west", "hold", call)
    sim.world.run(sim.world.now + 0.5)
    sim.world.ask("west", lambda now: call.leg.cancel(now))
    assert sim.heard("west")["487 INVITE"] == 0, "a server may have sent it on"
    taken_over(sim)
    sim.world.run(sim.world.now + 5.0)
    assert sum(sim.heard("west")[f"{status} INVITE"] for status in (487,)) + call.held == 1
    assert agree(call, other)
    if call.held:  # the other side had answered before it heard of the CANCEL
        sim.do("west", "resume", call)
        sim.world.run(sim.world.now + 0.5)
    serve(sim, call, other)
    part(sim, "east", other, call, ["answered"])


@pytest.mark.parametrize("asks", ["west", "east"])
def test_an_offer_asked_for_crosses_a_re_invite_and_a_failover(asks: str) -> None:
    """The offer is made and its answer owed when the server dies; then the side that made it asks for a change."""
    sim = begun()
    call, other = sim.talk()
    ends = {"west": call, "east": other}
    near, far = asks, "east" if asks == "west" else "west"
    sim.then(far, "changed", lambda _: sim.world.kill("m1"), after=0.0005)
    sim.do(near, "reoffer", ends[near])
    sim.world.run(sim.world.now + 0.02)
    assert not sim.world.nodes["m1"].alive
    sim.do(far, "hold", ends[far])
    taken_over(sim)
    sim.world.run(sim.world.now + 40.0)
    assert call.state is TALKING and other.state is TALKING, sim.world.ladder(80, True)
    assert ends[far].held and agree(call, other)
    serve_on(sim, call, other)


def serve_on(sim: SiteSimulation, call: Call, other: Call) -> None:
    for name, one in (("west", call), ("east", other)):
        sim.do(name, "resume", one)
        sim.world.run(sim.world.now + 0.5)
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


# -- cuts right after an answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["gw1", "gw2"])
@pytest.mark.parametrize("lasts", [5.0, 31.0, 40.0, 90.0])
def test_a_cut_right_after_the_answer_ends_no_call(agent: str, lasts: float) -> None:
    sim = begun()
    sim.policy("east", Policy(answer_after=1.0))
    call = sim.call("west", "200")
    sim.world.run(sim.world.now + 1.0)
    # between the 200 of the called device and its ACK
    assert sim.world.run_until(lambda: any(c.answered_at for c in sim.line("east").calls.values()), 5.0)
    sim.world.run(sim.world.now + (0.0035 if agent == "gw1" else 0.0045))
    for server in sim.site.servers:
        sim.world.wires.cut(agent, server, both=True)
    sim.world.run(sim.world.now + lasts)
    [other] = sim.line("east").calls.values()
    assert other.state is TALKING and call.state in (CALLING, TALKING), sim.world.ladder(60, True)
    sim.world.wires.heal()
    sim.world.run(sim.world.now + 40.0)
    assert call.state is TALKING and other.state is TALKING, sim.world.ladder(60, True)
    assert not any(word.startswith("BYE") for words in heard(sim).values() for word in words)
    serve(sim, call, other)
    part(sim, "east", other, call, ["answered"])
    at_an_end(sim, ["answered"])
