"""Whole-system stories: what must come true when servers, agents and paths fail."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from b2bua import views
from examples.softphone_call import CALLING, ENDED, TALKING, Call, Policy
from tests.stories.rules import Rules
from tests.stories.town import Town, site_of

PLAIN = ("west", "east")


def begun(**more: object) -> Town:
    """A town whose rules are watched."""
    town = Town(**more)  # type: ignore[arg-type]
    Rules(town)
    assert town.active == ["m1"], "\n".join(town.said)
    return town


def taken_over(town: Town, by: str = "s1", limit: float = 10.0) -> None:
    """Wait until ``by`` rules and every agent that is there has told it all."""

    def ready() -> bool:
        return town.active == [by] and town.is_told(by)

    assert town.world.run_until(ready, limit), "\n".join(town.said)
    town.world.run(town.world.now + 0.5)


def state(call: Call) -> str:
    return call.state


def over(call: Call) -> bool:
    return call.state is ENDED


def heard(town: Town) -> dict[str, Counter[str]]:
    return {name: town.heard(name) for name in town.who}


def serve(town: Town, one: Call, other: Call, names: tuple[str, str] = PLAIN) -> None:
    """Hold, resume and a digit each way come out at the other end."""
    for near, far, call, peer in ((names[0], names[1], one, other), (names[1], names[0], other, one)):
        for verb, ours, theirs in (("hold", "sendonly", "recvonly"), ("resume", "sendrecv", "sendrecv")):
            town.do(near, verb, call)
            town.world.run(town.world.now + 0.5)
            assert (call.media_direction, peer.media_direction) == (ours, theirs), town.world.ladder(60, True)
        before = town.heard(far)
        town.do(near, "info", call, "7")
        town.world.run(town.world.now + 0.5)
        assert [word[:4] for word in (town.heard(far) - before).elements()] == ["INFO"]


def part(town: Town, name: str, call: Call, other: Call, results: list[str]) -> None:
    """Hang up; there is one record a call, and nothing is left."""
    town.do(name, "bye", call)
    town.world.run(town.world.now + 2.0)
    assert state(call) is ENDED and state(other) is ENDED
    at_an_end(town, results)


def requests_votes(town: Town) -> bool:
    return any("requests votes for epoch 2" in line for line in town.said)


def at_an_end(town: Town, results: list[str]) -> None:
    assert sorted(record.result for record in town.cdrs) == sorted(results), town.cdrs
    for name in (*town.site.servers, *town.site.agents):
        assert not town.calls_of(name), name
    for name in town.who:
        assert not {what for what in town.odd(name) if "stray" not in what}, town.odd(name)


def test_a_talking_call_goes_on_through_the_new_server() -> None:
    town = begun()
    call, other = town.talk()
    before = heard(town)
    town.world.kill("m1")
    taken_over(town)
    town.world.run(town.world.now + 40.0)
    assert heard(town) == before, "a takeover sends nothing to a device"
    serve(town, call, other)
    part(town, "east", other, call, ["answered"])


def test_a_held_call_is_resumed_through_the_new_server() -> None:
    town = begun()
    call, other = town.talk()
    town.do("west", "hold", call)
    town.world.run(town.world.now + 0.5)
    town.world.kill("m1")
    taken_over(town)
    town.do("west", "resume", call)
    town.world.run(town.world.now + 0.5)
    assert (call.media_direction, other.media_direction) == ("sendrecv", "sendrecv")
    part(town, "west", call, other, ["answered"])


@pytest.mark.parametrize("early", [False, True])
def test_a_ringing_call_is_answered_through_the_new_server(early: bool) -> None:
    town = begun()
    town.policy("east", Policy(early=early))
    call = town.call("west", "200")
    town.world.run(town.world.now + 1.0)
    before = heard(town)
    town.world.kill("m1")
    taken_over(town)
    assert heard(town) == before and state(call) is CALLING
    other = next(iter(town.line("east").calls.values()))
    town.do("east", "answer", other)
    town.world.run(town.world.now + 1.0)
    assert state(call) is TALKING
    serve(town, call, other)
    part(town, "west", call, other, ["answered"])


def test_many_calls_in_every_state_survive() -> None:
    town = begun()
    pairs = [town.talk() for _ in range(10)]
    for call, _ in pairs[:3]:
        town.do("west", "hold", call)
    town.policy("east", Policy())
    ringing = [town.call("west", "200") for _ in range(3)]
    town.world.run(town.world.now + 1.0)
    before = heard(town)
    town.world.kill("m1")
    taken_over(town)
    assert heard(town) == before
    for call in ringing:
        town.do("west", "cancel", call)
    for call, other in pairs:
        serve(town, call, other)
        town.do("east", "bye", other)
    town.world.run(town.world.now + 3.0)
    assert all(call.status == 487 for call in ringing)
    at_an_end(town, ["answered"] * 10 + ["cancelled"] * 3)


def test_a_call_that_begins_in_the_gap_is_held_and_goes_through() -> None:
    town = begun()
    town.policy("east", Policy(answer_after=0.5))
    town.world.kill("m1")
    town.world.run(town.world.now + 0.5)
    call = town.call("west", "200")
    town.world.run(town.world.now + 0.3)
    assert town.heard("west") == {"100 INVITE": 1}
    taken_over(town)
    town.world.run(town.world.now + 1.0)
    other = next(iter(town.line("east").calls.values()))
    assert state(call) is TALKING
    part(town, "west", call, other, ["answered"])


def test_without_any_server_a_new_call_gets_503_after_a_bound_and_a_talking_one_stays() -> None:
    town = begun()
    call, other = town.talk()
    town.world.kill("m1")
    town.world.kill("s1")
    town.world.run(town.world.now + 1.0)
    fresh = town.call("west", "200")
    town.world.run(town.world.now + town.site.timing.hold_attempt - 0.5)
    assert state(fresh) is CALLING
    town.world.run(town.world.now + 1.0)
    assert fresh.status == 503
    town.do("west", "hold", call)
    town.world.run(town.world.now + town.site.timing.hold_attempt + 0.5)
    assert town.heard("west")["500 INVITE"] == 1 and state(call) is TALKING
    town.world.start("s1")
    taken_over(town, limit=30.0)
    town.world.run(town.world.now + 12.0)
    assert call.held, "the hold was tried again"
    town.do("east", "bye", other)
    town.world.run(town.world.now + 1.0)
    assert state(call) is ENDED


def test_both_servers_die_and_come_back() -> None:
    town = begun()
    call, other = town.talk()
    before = heard(town)
    town.world.kill("m1")
    town.world.kill("s1")
    town.world.run(town.world.now + 5.0)
    town.world.start("m1")
    town.world.start("s1")
    taken_over(town, "m1", 30.0)
    assert heard(town) == before
    serve(town, call, other)
    part(town, "west", call, other, ["answered"])


def test_a_server_without_a_stand_by_recovers_its_own_calls() -> None:
    town = begun(site=site_of(standby=False))
    call, other = town.talk()
    before = heard(town)
    town.world.kill("m1")
    town.world.run(town.world.now + 1.0)
    town.world.start("m1")
    taken_over(town, "m1")
    assert heard(town) == before
    serve(town, call, other)
    part(town, "east", other, call, ["answered"])


def test_a_paused_main_loses_the_site_and_ends_nothing_when_it_wakes() -> None:
    town = begun()
    call, other = town.talk()
    before = heard(town)
    town.world.pause("m1")
    taken_over(town)
    town.world.resume("m1")
    town.world.run(town.world.now + 10.0)
    assert town.active == ["s1"] and heard(town) == before
    serve(town, call, other)
    part(town, "west", call, other, ["answered"])


@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.9, 2.3, 2.5, 5.0])
def test_a_pause_in_the_middle_of_a_re_invite_and_a_set_up(seconds: float) -> None:
    town = begun()
    call, _ = town.talk()
    town.policy("east", Policy(answer_after=1.0))
    town.do("west", "hold", call)
    fresh = town.call("west", "200")
    town.world.run(town.world.now + 0.0015)
    town.world.pause("m1")
    town.world.run(town.world.now + seconds)
    town.world.resume("m1")
    town.world.run(town.world.now + 12.0)
    assert call.held and state(fresh) is TALKING and len(town.active) == 1, "\n".join(town.said)
    assert town.heard("east")["INVITE body=a1e2ab3e"] == 2, "each call rang once"
    for each in (call, fresh):
        town.do("west", "bye", each)
    town.world.run(town.world.now + 2.0)
    at_an_end(town, ["answered", "answered"])


@pytest.mark.parametrize(
    "source, target",
    [
        ("m1", "s1"),
        ("s1", "m1"),
        ("m1", "gw1"),
        ("gw1", "m1"),
        ("m1", "gw2"),
        ("gw2", "m1"),
        ("s1", "gw1"),
        ("gw1", "s1"),
    ],
)
def test_a_path_cut_one_way_ends_no_call(source: str, target: str) -> None:
    town = begun()
    call, other = town.talk()
    before = heard(town)
    town.world.wires.cut(source, target)
    town.world.run(town.world.now + 60.0)
    assert heard(town) == before and len(town.active) == 1, "\n".join(town.said)
    town.world.wires.heal()
    town.world.run(town.world.now + 40.0)
    assert heard(town) == before
    serve(town, call, other)
    part(town, "east", other, call, ["answered"])


def test_a_main_that_is_cut_off_from_all_holds_and_the_stand_by_takes_over() -> None:
    town = begun()
    call, other = town.talk()
    before = heard(town)
    for node in ("s1", "gw1", "gw2"):
        town.world.wires.cut("m1", node, both=True)
    taken_over(town)
    assert town.server("m1").member.state == "holding"
    town.world.run(town.world.now + 60.0)
    town.world.wires.heal()
    town.world.run(town.world.now + 20.0)
    assert town.active == ["s1"] and town.server("m1").member.state == "standby" and heard(town) == before
    serve(town, call, other)
    part(town, "west", call, other, ["answered"])


def test_one_agent_is_cut_off_with_the_main_and_comes_back_in_time() -> None:
    town = begun()
    call, other = town.talk()
    before = heard(town)
    town.world.kill("m1")
    town.world.wires.cut("gw2", "s1", both=True)
    assert town.world.run_until(lambda: town.active == ["s1"], 10.0), "\n".join(town.said)
    town.world.run(town.world.now + 100.0)
    assert heard(town) == before, "a cut is no evidence of an end"
    town.world.wires.heal()
    taken_over(town, limit=60.0)
    town.world.run(town.world.now + 5.0)
    assert heard(town) == before
    serve(town, call, other)
    part(town, "west", call, other, ["answered"])


def test_an_agent_that_stays_away_is_given_up_after_its_grace() -> None:
    town = begun(site=site_of(timing="agent_grace = 30"))
    call, other = town.talk()
    town.world.kill("m1")
    town.world.wires.cut("gw2", "s1", both=True)
    assert town.world.run_until(lambda: state(call) is ENDED, 60.0), "\n".join(town.said)
    assert any(word.startswith("BYE Reason: ") for word in town.heard("west"))
    assert state(other) is TALKING
    town.world.wires.heal()
    town.world.run(town.world.now + 60.0)
    assert state(other) is ENDED and any(word.startswith("BYE Reason: ") for word in town.heard("east"))


def test_an_agent_that_died_has_no_calls_and_the_other_side_is_released() -> None:
    town = begun()
    call, other = town.talk()
    town.world.kill("gw2")
    town.world.run(town.world.now + 5.0)
    assert state(call) is TALKING
    town.world.start("gw2")
    assert town.world.run_until(lambda: state(call) is ENDED, 30.0), "\n".join(town.said)
    assert any(word.startswith("BYE Reason: ") for word in town.heard("west"))
    town.do("east", "bye", other)
    town.world.run(town.world.now + 40.0)


@pytest.mark.parametrize("near, far", [("gw1", "m1"), ("gw2", "m1")])
def test_a_connection_that_breaks_is_made_anew_and_nothing_is_lost(near: str, far: str) -> None:
    town = begun()
    call, other = town.talk()
    town.policy("east", Policy(answer_after=0.3))
    for verb in ("hold", "resume"):
        town.do("west", verb, call)
        town.do("east", "info", other, "1")
        fresh = town.call("west", "200")
        town.world.run(town.world.now + 0.0025)
        town.world.wires.reset(near, far)
        town.world.run(town.world.now + 5.0)
        assert call.held == (verb == "hold") and state(fresh) is TALKING, town.world.ladder(120, True)
        town.do("west", "bye", fresh)
    town.world.run(town.world.now + 1.0)
    assert town.active == ["m1"] and town.heard("west")["INFO body=f86d9346"] == 0
    part(town, "west", call, other, ["answered"] * 3)


def test_a_planned_switchover_loses_nothing() -> None:
    town = begun()
    call, other = town.talk()
    town.policy("east", Policy())
    ringing = town.call("west", "200")
    town.world.run(town.world.now + 1.0)
    before = heard(town)
    town.switchover("m1")
    began = town.world.now
    taken_over(town)
    assert town.world.now - began < 2.0 and heard(town) == before
    town.do("east", "answer", list(town.line("east").calls.values())[1])
    town.world.run(town.world.now + 1.0)
    assert state(ringing) is TALKING
    serve(town, call, other)
    town.switchover("s1")
    taken_over(town, "m1")
    town.do("west", "bye", ringing)
    serve(town, call, other)
    part(town, "east", other, call, ["answered", "answered"])


def test_the_main_dies_during_a_switchover() -> None:
    for after in (0.001, 0.003, 0.005, 0.008, 0.012):
        town = begun()
        call, other = town.talk()
        before = heard(town)
        town.switchover("m1")
        town.world.run(town.world.now + after)
        town.world.kill("m1")
        taken_over(town)
        assert heard(town) == before
        part(town, "west", call, other, ["answered"])


def test_the_stand_by_dies_during_its_takeover() -> None:
    for after in (0.0, 0.002, 0.005, 0.05):
        town = begun()
        call, other = town.talk()
        before = heard(town)
        town.world.kill("m1")
        assert town.world.run_until(partial(requests_votes, town), 10.0)
        town.world.run(town.world.now + after)
        town.world.kill("s1")
        town.world.start("m1")
        taken_over(town, "m1", 30.0)
        assert heard(town) == before
        part(town, "west", call, other, ["answered"])


def test_cold_lines_are_reset_and_hot_ones_stay() -> None:
    town = begun(who=("west", "east", "cold"))
    call, other = town.talk()
    dropped, its_other = town.talk(number="400", callee="cold")
    town.world.kill("m1")
    taken_over(town)
    town.world.run(town.world.now + 3.0)
    assert (call.state, dropped.state, its_other.state) == (TALKING, ENDED, ENDED)
    assert any(word.startswith("BYE Reason: ") for word in town.heard("cold"))
    assert any(word.startswith("BYE Reason: ") for word in town.heard("west"))
    serve(town, call, other)
    part(town, "west", call, other, ["answered", "reset"])


def test_the_number_to_which_a_phone_redirects_is_called_and_the_caller_hears_nothing_of_it() -> None:
    town = begun(who=("anna", "bert", "carl"))
    town.policy("bert", Policy(refuse=302, moved_to="sip:1003@127.0.0.12"))
    town.policy("carl", Policy(answer_after=1.0))
    call = town.call("anna", "1002")
    town.world.run(town.world.now + 2.0)
    assert state(call) is TALKING and state(next(iter(town.line("carl").calls.values()))) is TALKING
    words = {word.partition(" body")[0]: number for word, number in town.heard("anna").items()}
    assert words == {"407 INVITE": 1, "100 INVITE": 1, "180 INVITE": 1, "200 INVITE": 1}
    other = next(iter(town.line("carl").calls.values()))
    serve(town, call, other, ("anna", "carl"))
    part(town, "carl", other, call, ["answered"])


def test_registered_phones_are_called_through_the_new_server() -> None:
    town = begun(who=("anna", "bert", "carl"))
    town.world.kill("m1")
    taken_over(town)
    call, other = town.talk("anna", "1002", "bert")
    part(town, "bert", other, call, ["answered"])


def test_the_main_gets_its_site_back_when_the_file_says_so() -> None:
    town = begun(site=site_of(failover='failback = "return"\nreturn_after = 20\nhold_down = 5'))
    call, other = town.talk()
    before = heard(town)
    town.world.kill("m1")
    taken_over(town)
    town.world.start("m1")
    town.world.run(town.world.now + 10.0)
    assert town.active == ["s1"]
    taken_over(town, "m1", 40.0)
    assert heard(town) == before
    part(town, "east", other, call, ["answered"])


def test_the_clock_of_a_server_jumps_ahead() -> None:
    for node in ("m1", "s1", "gw1"):
        town = begun()
        call, other = town.talk()
        before = heard(town)
        town.world.jump(node, 5.0)
        town.world.run(town.world.now + 20.0)
        assert len(town.active) == 1 and heard(town) == before, "\n".join(town.said)
        serve(town, call, other)
        town.do("west", "bye", call)
        town.world.run(town.world.now + 2.0)
        assert state(other) is ENDED


def test_loss_and_delay_between_agents_and_devices_are_repaired_by_sip() -> None:
    town = begun(seed=5)
    town.world.wires.weather.loss = 0.2
    town.world.wires.weather.late = 0.2
    town.world.wires.weather.double = 0.1
    town.policy("east", Policy(answer_after=2.0, hang_up_after=8.0))
    calls = [town.call("west", "200") for _ in range(5)]
    town.world.run(town.world.now + 3.0)
    town.world.kill("m1")
    town.world.run(town.world.now + 80.0)
    assert all(state(call) is ENDED and call.status == 200 for call in calls), [call.status for call in calls]
    assert sorted(record.result for record in town.cdrs) == ["answered"] * 5


def test_an_agent_that_was_away_while_the_other_side_hung_up_hears_of_it_when_it_is_back() -> None:
    for away in (5.0, 45.0, 100.0):
        town = begun()
        call, other = town.talk()
        town.world.wires.cut("gw2", "m1", both=True)
        town.world.wires.cut("gw2", "s1", both=True)
        town.world.run(town.world.now + 1.0)
        town.do("west", "bye", call)
        town.world.run(town.world.now + away)
        assert state(other) is TALKING
        town.world.wires.heal()
        assert town.world.run_until(partial(over, other), 60.0), away
        town.world.run(town.world.now + 3.0)
        at_an_end(town, ["answered"])


def test_with_the_way_between_the_servers_cut_status_says_no_more_than_is_known() -> None:
    town = Town(1)
    town.world.wires.cut("m1", "s1", both=True)
    town.world.run(town.world.now + 20)
    said = {
        name: views.status(town.server(name), {}, town.world.nodes[name].clock(town.world.now)).warnings
        for name in ("m1", "s1")
    }
    cut = "the way between the `beat` addresses is cut"
    assert list(said["m1"]) == [f"s1 is not heard: it is off, or {cut}"]
    assert list(said["s1"]) == [f"m1 is not heard here, but agents hear it: {cut}"]
    town.world.kill("m1")
    assert town.world.run_until(lambda: town.active == ["s1"], 10.0)
