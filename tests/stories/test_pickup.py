"""Calls that ring, picked up at another telephone (RFC 3891 section 3), as its lamp has named them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from examples.softphone_call import CALLING, ENDED, INCOMING, TALKING, Call, Policy
from heartbeat.site.model import Site
from tests.stories.own_trunks import town_with_own_trunk
from tests.stories.site_simulation import SERVED, WATCHERS, SiteSimulation, site_of
from tests.stories.test_messages import said
from tests.stories.test_stories import begun, part, serve
from tests.stories.test_subscriptions import watch
from tests.stories.test_transfers import Heard
from tests.stories.test_trunk_subscriptions import OWNED
from tests.world import AFTER, BEFORE, KILL, MOMENTS, PARTLY, RESET, Crash, method_of

WHO = ("west", "wanda", "xaver", "yvo", "anna")


def watched(site: Site | None = None, who: tuple[str, ...] = WHO) -> SiteSimulation:
    """Wanda, at the other agent, has a lamp for xaver."""
    town = begun(who=who, site=site or site_of(more=WATCHERS))
    watch(town, "wanda", "1007", "dialog")
    town.policy("xaver", Policy())
    return town


def rings(town: SiteSimulation, who: str = "west", **more: Any) -> tuple[Call, Call]:
    """Xaver is called, and his telephone rings."""
    caller = town.call(who, "1007", **more)
    town.world.run(town.world.now + 1.0)
    return caller, next(iter(town.line("xaver").calls.values()))


def named(town: SiteSimulation, name: str = "wanda", early: str = ";early-only") -> str:
    """The Replaces that a telephone makes of what its lamp has told it last."""
    text = [text for text in said(town, name, "notified") if "call-id" in text][-1]
    call_id, ours, theirs = (
        re.findall(f'{key}="([^"]*)"', text)[-1] for key in ("call-id", "local-tag", "remote-tag")
    )
    return f"Replaces: {call_id};to-tag={theirs};from-tag={ours}{early}"


def picked(town: SiteSimulation, name: str = "wanda", line: str = "", wait: float = 2.0) -> Call:
    call = town.call(name, "1007", lines=[line or named(town)])
    town.world.run(town.world.now + wait)
    return call


@pytest.mark.parametrize("early", ["", ";early-only"])
def test_the_caller_talks_with_who_picks_up_and_those_that_ring_are_told_so(early: str) -> None:
    town = watched()
    heard = Heard(town, "xaver")
    caller, ringing = rings(town)
    second = picked(town, line=named(town, early=early))
    assert (caller.state, second.state, ringing.state) == (TALKING, TALKING, ENDED), town.world.ladder(80, True)
    cancel = next(heard.of("xaver", "CANCEL "))
    assert b'Reason: SIP;cause=200;text="Call completed elsewhere"' in cancel
    serve(town, caller, second, ("west", "wanda"))
    part(town, "wanda", second, caller, ["answered"])
    record = town.cdrs[0]
    assert (record.caller_line, record.callee_line, record.callee, record.dialled) == (
        "west/1",
        "wanda",
        "wanda",
        "1007",
    )


def test_some_telephones_exchange_the_tags_of_their_lamp() -> None:
    town = watched()
    caller, _ = rings(town)
    line = named(town).replace("to-tag", "x-tag").replace("from-tag", "to-tag").replace("x-tag", "from-tag")
    assert picked(town, line=line).state is TALKING and caller.state is TALKING


def test_a_caller_that_makes_no_offer_is_asked_for_the_answer() -> None:
    town = watched()
    caller, _ = rings(town, delayed=True)
    second = picked(town)
    assert (caller.state, second.state) == (TALKING, TALKING)
    assert caller.sent_sdp and caller.received_sdp
    serve(town, caller, second, ("west", "wanda"))


@pytest.mark.parametrize(
    ("who", "line", "status"),
    [
        ("anna", "", 603),  # her line passes no subscriptions
        ("west", "", 603),  # nor does that trunk
        ("yvo", "", 200),
        ("wanda", "unknown", 481),
        ("wanda", "offerless", 488),
    ],
)
def test_who_may_watch_a_telephone_may_pick_up_what_rings_there(who: str, line: str, status: int) -> None:
    town = watched()
    caller, ringing = rings(town)
    wanted = "Replaces: x;to-tag=1;from-tag=pickup" if line == "unknown" else named(town)
    call = town.call(who, "1007", lines=[wanted], delayed=line == "offerless")
    town.world.run(town.world.now + 4.0)
    assert call.status == status
    if status != 200:
        assert (caller.state, ringing.state) == (CALLING, INCOMING)
        town.do("xaver", "answer", ringing)
        town.world.run(town.world.now + 1.0)
        assert (caller.state, ringing.state) == (TALKING, TALKING)


def test_no_place_of_a_call_that_was_answered_is_taken_by_what_a_lamp_says() -> None:
    town = watched()
    caller, ringing = rings(town)
    line = named(town, early="")
    town.do("xaver", "answer", ringing)
    town.world.run(town.world.now + 1.0)
    for name in ("wanda", "yvo"):
        assert picked(town, name, line).status == 486
    assert "call-id" not in said(town, "wanda", "notified")[-1]
    serve(town, caller, ringing, ("west", "xaver"))


def test_of_two_who_pick_up_one_has_the_call() -> None:
    town = watched()
    caller, ringing = rings(town)
    calls = [town.call(name, "1007", lines=[named(town)]) for name in ("wanda", "yvo")]
    town.world.run(town.world.now + 2.0)
    assert (caller.state, ringing.state) == (TALKING, ENDED)
    assert sorted(call.state for call in calls) == sorted((TALKING, ENDED))


@pytest.mark.parametrize("verb", ["answer", "cancel", "bye", "reject"])
@pytest.mark.parametrize("after_ms", range(0, 30, 2))
def test_whatever_else_happens_meanwhile_two_talk_or_nobody(verb: str, after_ms: int) -> None:
    town = watched()
    caller, ringing = rings(town)
    second = town.call("wanda", "1007", lines=[named(town)])
    town.world.run(town.world.now + after_ms / 1000)
    who, call = {"cancel": ("west", caller), "bye": ("wanda", second)}.get(verb, ("xaver", ringing))
    town.do(who, verb, call, *([486] if verb == "reject" else []))
    town.world.run(town.world.now + 3.0)
    where = town.world.ladder(60, True)
    talking = sum(one.state is TALKING for one in (caller, ringing, second))
    if verb == "bye" and caller.state is CALLING:
        assert (ringing.state, second.state) == (INCOMING, ENDED), where
        town.do("west", "cancel", caller)
    else:
        assert talking in (0, 2) and (caller.state is TALKING) == (talking == 2), where
        assert len(town.server("m1").calls) == talking // 2
        if talking:
            town.do("west", "bye", caller)
    town.world.run(town.world.now + 3.0)
    assert {one.state for one in (caller, ringing, second)} == {ENDED}, where
    assert len(town.cdrs) == 1 and not any(town.calls_of(name) for name in ("m1", "gw1", "gw2")), where


@pytest.mark.parametrize("after_ms", range(10))
def test_a_telephone_that_changes_its_session_meanwhile_is_asked_again(after_ms: int) -> None:
    town = watched()
    caller, _ = rings(town)
    second = town.call("wanda", "1007", lines=[named(town)])
    assert town.world.run_until(lambda: second.state is TALKING, 1.0)
    town.world.run(town.world.now + after_ms / 1000)
    town.do("wanda", "hold", second)
    town.world.run(town.world.now + 6.0)
    assert (caller.state, second.state) == (TALKING, TALKING), town.world.ladder(60, True)
    town.do("wanda", "resume", second)
    town.world.run(town.world.now + 6.0)
    serve(town, caller, second, ("west", "wanda"))


def test_the_target_of_a_transfer_rings_and_is_picked_up() -> None:
    town = watched(site_of(more=WATCHERS + SERVED), ("vera", "east", "wanda", "xaver"))
    first, other = town.talk("vera", "200", "east")
    town.do("vera", "transfer", first, "1007", None)
    town.world.run(town.world.now + 1.0)
    second = picked(town)
    town.world.run(town.world.now + 5.0)
    assert (first.state, other.state, second.state) == (ENDED, TALKING, TALKING), town.world.ladder(60, True)
    serve(town, other, second, ("east", "wanda"))


@pytest.mark.parametrize(
    ("dies", "moment"), [(None, ""), *((index, moment) for index in range(3) for moment in MOMENTS), (3, PARTLY)]
)
def test_a_call_of_a_trunk_of_the_servers_is_picked_up(dies: int | None, moment: str) -> None:
    town = town_with_own_trunk(("east", "wanda", "xaver"), more=WATCHERS)
    watch(town, "wanda", "1007", "dialog")
    town.policy("xaver", Policy())
    caller, ringing = rings(town, "east")
    if dies is not None:
        town.world.crashes.append(Crash("m1", dies, moment, _of_calls))
    second = picked(town, wait=10.0)
    assert (caller.state, second.state, ringing.state) == (TALKING, TALKING, ENDED), town.world.ladder(60, True)
    serve(town, caller, second, ("east", "wanda"))
    part(town, "wanda", second, caller, ["answered"])


def _of_calls(delivery: Any) -> bool:
    return delivery is not None and method_of(delivery.data) in ("INVITE", "ACK", "CANCEL", "BYE")


DEATHS = (
    *(("m1", KILL, index, moment) for index in range(7) for moment in MOMENTS),
    *(("m1", RESET, index, moment) for index in range(7) for moment in (BEFORE, AFTER)),
    *(("gw1", KILL, index, moment) for index in range(10) for moment in MOMENTS),
    *(("gw2", KILL, index, moment) for index in range(2) for moment in MOMENTS),
)


@pytest.mark.parametrize(("node", "how", "index", "moment"), DEATHS)
def test_it_is_picked_up_whatever_dies(node: str, how: str, index: int, moment: str) -> None:
    town = watched()
    caller, ringing = rings(town)
    crash = Crash(node, index, moment, _of_calls, how, 0.5 if node.startswith("gw") else 0.0)
    town.world.crashes.append(crash)
    second = picked(town, wait=10.0)
    assert crash.happened_at is not None
    assert (caller.state, second.state, ringing.state) == (TALKING, TALKING, ENDED), town.world.ladder(80, True)
    serve(town, caller, second, ("west", "wanda"))
    part(town, "wanda", second, caller, ["answered"])


OWN_DEATHS = (
    (None, ""),
    (0, AFTER),
    *((index, moment) for index in range(1, 5) for moment in MOMENTS),
)


@pytest.mark.parametrize(("dies", "moment"), OWN_DEATHS)
def test_a_telephone_behind_a_trunk_of_the_servers_picks_up(dies: int | None, moment: str) -> None:
    town = own_town()
    caller, ringing = rings(town)
    crash = Crash("m1", -1 if dies is None else dies, moment, _of_calls)
    if dies is not None:
        town.world.crashes.append(crash)
    second = picked(town, "voice", named(town, "voice"), 12.0)
    assert dies is None or crash.happened_at is not None
    assert (caller.state, second.state, ringing.state) == (TALKING, TALKING, ENDED), town.world.ladder(80, True)
    serve(town, caller, second, ("west", "voice"))
    part(town, "voice", second, caller, ["answered"])
    assert (town.cdrs[0].callee_line, town.cdrs[0].dialled) == ("voice", "1007")


def own_town() -> SiteSimulation:
    """Voice is behind a trunk of the servers, and has a lamp for xaver."""
    town = town_with_own_trunk(("west", "east", "voice", "wanda", "xaver"), more=OWNED)
    watch(town, "voice", "1007", "dialog")
    town.policy("xaver", Policy())
    return town


@pytest.mark.parametrize(("caller_line", "moment"), [("west", BEFORE), ("west", PARTLY), ("east", AFTER)])
def test_and_where_it_cannot_go_on_the_call_rings_on(caller_line: str, moment: str) -> None:
    """The server dies at the INVITE itself: nobody heard of that, or the caller has no agent that could be told."""
    town = own_town()
    caller, ringing = rings(town, caller_line)
    crash = Crash("m1", 0, moment, _of_calls)
    town.world.crashes.append(crash)
    second = picked(town, "voice", named(town, "voice"), 6.0)
    assert crash.happened_at is not None
    assert (caller.state, ringing.state) == (CALLING, INCOMING), town.world.ladder(80, True)
    town.do("xaver", "answer", ringing)
    town.world.run(town.world.now + 2.0)
    assert (caller.state, ringing.state) == (TALKING, TALKING), town.world.ladder(80, True)
    if second.state is TALKING:
        town.do("voice", "bye", second)
    town.world.run(town.world.now + 40.0)
    assert (caller.state, ringing.state, second.state) == (TALKING, TALKING, ENDED), town.world.ladder(80, True)
    town.do("xaver", "bye", ringing)
    town.world.run(town.world.now + 3.0)
    assert caller.state is ENDED and len(town.cdrs) == 1
    assert not any(town.calls_of(name) for name in ("s1", "gw1", "gw2"))
