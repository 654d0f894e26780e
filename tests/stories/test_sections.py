"""Video telephones in calls whose other side changes: no session loses a section or its origin (RFC 3264).

What a device gets is checked by `tests.stories.sessions` at each message, here as in all other stories.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.softphone_call import ENDED, TALKING, Call, Policy
from heartbeat.site import load as sites
from sip.wire import sdp
from tests.stories.matrix import of_calls
from tests.stories.own_trunks import town_with_own_trunk, with_listeners
from tests.stories.rules import Rules
from tests.stories.site_simulation import DIRECT, KEYS, SERVED, WATCHERS, SiteSimulation, site_of, text_of
from tests.stories.test_agent_deaths import die
from tests.stories.test_direct import registers
from tests.stories.test_pickup import picked
from tests.stories.test_replacement import named
from tests.stories.test_stories import part, serve, taken_over
from tests.stories.test_subscriptions import watch
from tests.world import MOMENTS, Crash

VIDEO, PLAIN = Policy(video=True, answer_after=0.0), Policy(answer_after=0.0)
KINDS = ("agents", "trunk")


def begun(who: tuple[str, ...], kind: str = "agents", more: str = "") -> tuple[SiteSimulation, Rules]:
    """A town; ``kind``: east is a line of an agent, or a trunk of the servers."""
    if kind == "trunk":
        sim = town_with_own_trunk(who, more=more)
    else:
        sim = SiteSimulation(1, who, site_of(more=more))
    return sim, Rules(sim)


def with_camera(sim: SiteSimulation, *names: str) -> None:
    """These are video telephones from now on, and all others are not."""
    for name in sim.who:
        sim.policy(name, VIDEO if name in names else PLAIN)


def shown(call: Call) -> list[tuple[str, bool]]:
    """The sections that a device was told last, and whether they are refused."""
    return [(place.media, place.rejected) for place in sdp.endpoints(call.received_sdp)]


BOTH, ONE, OFF = (
    [("audio", False), ("video", False)],
    [("audio", False)],
    [("audio", False), ("video", True)],
)


@pytest.mark.parametrize("dies", ["", "server", "agent", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_who_comes_without_a_camera_takes_none_of_the_sections_away(kind: str, dies: str) -> None:
    sim, rules = begun(("west", "east"), kind)
    with_camera(sim, "west", "east")
    first, other = sim.talk("west", "200", "east", True)
    assert shown(other) == shown(first) == BOTH
    with_camera(sim, "east")
    second = sim.call("west", "200", lines=named(first))
    sim.world.run(sim.world.now + 1.0)
    assert (first.state, second.state, other.state) == (ENDED, TALKING, TALKING), sim.world.ladder(60, True)
    assert (shown(other), shown(second), rules.sessions.padded) == (OFF, ONE, 1)
    if dies in ("server", "both"):
        sim.world.kill("m1")
        taken_over(sim)
    if dies in ("agent", "both"):
        die(sim, "gw2" if kind == "agents" else "gw1")
    sim.world.run(sim.world.now + 2.0)
    serve(sim, second, other)
    assert (shown(other), shown(second)) == (OFF, BOTH), "east has offered it once more"
    with_camera(sim, "west", "east")
    third = sim.call("west", "200", lines=named(second))
    sim.world.run(sim.world.now + 1.0)
    assert (second.state, third.state, shown(other), shown(third)) == (ENDED, TALKING, BOTH, BOTH)
    serve(sim, third, other)
    part(sim, "west", third, other, ["answered"])


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_who_comes_with_a_camera_is_seen_once_it_is_wanted(kind: str, dies: bool) -> None:
    sim, rules = begun(("west", "east"), kind)
    with_camera(sim)
    first, other = sim.talk("west", "200", "east")
    with_camera(sim, "west")
    second = sim.call("west", "200", lines=named(first))
    sim.world.run(sim.world.now + 1.0)
    assert (first.state, shown(other), shown(second)) == (ENDED, BOTH, OFF)
    with_camera(sim)
    third = sim.call("west", "200", lines=named(second))
    sim.world.run(sim.world.now + 1.0)
    assert (second.state, shown(other), shown(third)) == (ENDED, OFF, ONE), "what it was offered once, it knows"
    if dies:
        sim.world.kill("m1")
        taken_over(sim)
        die(sim, "gw1")
    serve(sim, third, other)
    assert rules.sessions.padded > 0
    part(sim, "west", third, other, ["answered"])


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_dies_at_any_message_by_which_the_other_side_changes(kind: str, moment: str) -> None:
    index, happened = 0, True
    while happened:
        sim, _ = begun(("west", "east"), kind)
        with_camera(sim, "west", "east")
        first, other = sim.talk("west", "200", "east", True)
        with_camera(sim, "east")
        crash = Crash("m1", index, moment, of_calls)
        sim.world.crashes.append(crash)
        second = sim.call("west", "200", lines=named(first))
        sim.world.run(sim.world.now + 12.0)
        happened = crash.happened_at is not None
        sim.world.crashes.clear()
        where = f"message {index}\n{sim.world.ladder(60, True)}"
        talks = second if second.state is TALKING else first
        if other.state is TALKING:
            assert talks.state is TALKING, where
            serve(sim, talks, other)
        index += 1
    assert index > 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("calls", "picks"), [("west", ""), ("", "wanda"), ("west", "wanda"), ("east", "")])
def test_a_call_that_is_picked_up(kind: str, calls: str, picks: str) -> None:
    caller_name = "east" if calls == "east" or kind == "trunk" else "west"
    sim, rules = begun((caller_name, "wanda", "xaver"), kind, WATCHERS)
    watch(sim, "wanda", "1007", "dialog")
    with_camera(sim, *(caller_name if calls else "", picks))
    sim.policy("xaver", Policy(video=True))
    caller = sim.call(caller_name, "1007")
    sim.world.run(sim.world.now + 1.0)
    second = picked(sim)
    assert (caller.state, second.state) == (TALKING, TALKING), sim.world.ladder(60, True)
    expected = BOTH if calls and picks else OFF if picks or calls else ONE
    assert shown(second) == (BOTH if calls else expected)
    assert shown(caller) == (expected if calls else ONE), "an answer has the sections of its offer"
    assert rules.sessions.padded == bool(picks and not calls)
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 2.0)
    serve(sim, caller, second, (caller_name, "wanda"))
    part(sim, "wanda", second, caller, ["answered"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attended", [False, True])
@pytest.mark.parametrize("cameras", [("vera", "east"), ("vera", "carl"), ("east",), ("carl",), ("east", "carl")])
def test_a_transfer_that_the_server_makes(kind: str, attended: bool, cameras: tuple[str, ...]) -> None:
    sim = begun(("vera", "east", "carl"), kind, SERVED)[0]
    with_camera(sim, *cameras)
    call, other = sim.talk("vera", "200", "east", "east" in cameras)
    instead = sim.talk("vera", "1003", "carl", "carl" in cameras)[0] if attended else None
    sim.do("vera", "transfer", call, "1003", instead)
    sim.world.run(sim.world.now + 1.5)
    target = next(iter(sim.line("carl").calls.values()))
    sim.do("vera", "bye", call)
    sim.world.run(sim.world.now + 1.0)
    assert (call.state, other.state, target.state) == (ENDED, TALKING, TALKING), sim.world.ladder(60, True)
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 2.0)
    serve(sim, other, target, ("east", "carl"))
    if kind == "agents":
        die(sim, "gw2")
        serve(sim, other, target, ("east", "carl"))
    part(sim, "carl", target, other, ["answered"] * (3 if attended else 2))


@pytest.mark.parametrize("deaths", [0, 1, 2])
def test_a_call_that_its_telephones_carry(deaths: int) -> None:
    more = DIRECT.replace("channels = 2\n", 'channels = 2\ntransfer = "pass"\n')
    site = sites.parse(with_listeners(text_of(more=more)), Path("town.toml"), KEYS)
    sim = SiteSimulation(1, ("yves", "zoe"), site)
    rules = Rules(sim)
    with_camera(sim, "yves", "zoe")
    first, other = sim.talk("yves", "1009", "zoe", True)
    with_camera(sim, "zoe")
    second = sim.call("yves", "1009", lines=named(first))
    sim.world.run(sim.world.now + 1.0)
    assert (first.state, second.state, shown(other), shown(second)) == (ENDED, TALKING, OFF, ONE)
    for dead, following in (("m1", "s1"), ("s1", "m1"))[:deaths]:
        if dead == "s1":
            sim.world.start("m1")
            sim.world.run(sim.world.now + 15.0)
        sim.world.kill(dead)
        for name in ("yves", "zoe"):
            registers(sim, name, following)
        taken_over(sim, following, 40.0)
        sim.world.run(sim.world.now + 3.0)
        # who speaks first brings it back: what it carries knows what it was told, and what the other one was
        who, call = ("yves", second) if dead == "m1" else ("zoe", other)
        sim.do(who, "hold", call)
        sim.world.run(sim.world.now + 1.0)
        sim.do(who, "resume", call)
        sim.world.run(sim.world.now + 6.0)
    assert rules.sessions.padded > 0
    serve(sim, second, other, ("yves", "zoe"))
    part(sim, "yves", second, other, ["answered"])
