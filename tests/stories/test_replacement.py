"""INVITE with Replaces (RFC 3891): which place may be taken, and by whom."""

from __future__ import annotations

import pytest

from examples.softphone_call import ENDED, TALKING, Call, Policy
from tests.stories.site_simulation import SiteSimulation
from tests.stories.test_stories import begun, serve


def named(call: Call, more: str = "") -> list[str]:
    """The lines of an INVITE in place of a call, as the device of that call names its dialog."""
    dialog = call.leg.dialog
    return [f"Replaces: {dialog.call_id};to-tag={dialog.remote_tag};from-tag={dialog.local_tag}{more}"]


def dialled(town: SiteSimulation, name: str, lines: list[str]) -> Call:
    call = town.call(name, "200", lines=lines)
    assert town.world.run_until(lambda: call.status > 0, 10.0), town.world.ladder(60, True)
    town.world.run(town.world.now + 0.5)
    return call


def test_the_new_side_talks_and_the_former_one_is_told() -> None:
    town = begun()
    first, other = town.talk()
    second = dialled(town, "west", named(first))
    assert second.status == 200 and first.state is ENDED and other.state is TALKING
    assert len(town.server("m1").calls) == 1, "it is the same call"
    serve(town, second, other)
    town.do("east", "bye", other)
    town.world.run(town.world.now + 1.0)
    assert second.state is ENDED and not town.server("m1").calls
    assert len(town.cdrs) == 1


@pytest.mark.parametrize(
    ("who", "lines", "status"),
    [
        ("west", ["Replaces: x;to-tag=1;from-tag=2"], 481),
        ("west", ["Replaces: x;to-tag=1"], 400),
        ("west", ["Replaces: x;to-tag=1;from-tag=2", "Replaces: y;to-tag=1;from-tag=2"], 400),
        ("west", [], 486),
        ("timed", [], 603),
    ],
)
def test_a_place_that_cannot_be_taken(who: str, lines: list[str], status: int) -> None:
    town = begun(who=("west", "east", "timed"))
    first, other = town.talk()
    if status == 603:  # named as it would be after a REFER
        dialog = next(iter(town.agent("gw1").calls.values())).server_side.leg.dialog
        lines = [f"Replaces: {dialog.call_id};to-tag={dialog.remote_tag};from-tag={dialog.local_tag}"]
    second = dialled(town, who, lines or named(first, ";early-only"))
    assert second.status == status
    assert (first.state, other.state) == (TALKING, TALKING)
    serve(town, first, other)


def test_a_place_is_not_taken_while_the_other_end_changes_the_session() -> None:
    town = begun()
    first, other = town.talk()
    town.do("east", "hold", other)
    second = town.call("west", "200", lines=named(first))
    assert town.world.run_until(lambda: second.status > 0, 10.0)
    town.world.run(town.world.now + 1.0)
    assert second.status == 491
    assert (first.state, other.state, other.media_direction) == (TALKING, TALKING, "sendonly")


def test_a_call_that_rings_is_not_replaced() -> None:
    town = begun()
    town.policy("east", Policy())
    first = town.call("west", "200")
    town.world.run(town.world.now + 0.5)
    second = dialled(town, "west", named(first))
    assert second.status == 481


@pytest.mark.parametrize("after_ms", range(0, 41, 2))
def test_who_is_to_be_replaced_hangs_up_meanwhile(after_ms: int) -> None:
    """Whoever is first, the two others talk with each other or neither of them does."""
    town = begun()
    first, other = town.talk()
    second = town.call("west", "200", lines=named(first))
    town.world.run(town.world.now + after_ms / 1000)
    town.do("west", "bye", first)
    town.world.run(town.world.now + 3.0)
    assert first.state is ENDED
    assert (second.state is TALKING) == (other.state is TALKING), (
        second.state,
        other.state,
        town.world.ladder(60, True),
    )
    assert len(town.server("m1").calls) == (second.state is TALKING)
