"""Whole-system stories: what must come true when servers, agents and paths fail."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from b2bua import views
from examples.softphone_call import CALLING, ENDED, TALKING, Call, Policy
from gateway_agent import list_subscription
from tests.stories.rules import Rules
from tests.stories.site_simulation import SiteSimulation, site_of

PLAIN = ("west", "east")


def begun(**more: object) -> SiteSimulation:
    """A site whose rules are watched."""
    sim = SiteSimulation(**more)  # type: ignore[arg-type]
    Rules(sim)
    assert sim.active == ["m1"], "\n".join(sim.said)
    return sim


def taken_over(sim: SiteSimulation, by: str = "s1", limit: float = 10.0) -> None:
    """Wait until ``by`` rules and every agent that is there has told it all."""

    def ready() -> bool:
        return sim.active == [by] and sim.is_told(by)

    assert sim.world.run_until(ready, limit), "\n".join(sim.said)
    sim.world.run(sim.world.now + 0.5)


def state(call: Call) -> str:
    return call.state


def over(call: Call) -> bool:
    return call.state is ENDED


def heard(sim: SiteSimulation) -> dict[str, Counter[str]]:
    return {name: sim.heard(name) for name in sim.who}


def serve(sim: SiteSimulation, one: Call, other: Call, names: tuple[str, str] = PLAIN) -> None:
    """Hold, resume and a digit each way come out at the other end."""
    for near, far, call, peer in ((names[0], names[1], one, other), (names[1], names[0], other, one)):
        for verb, ours, theirs in (("hold", "sendonly", "recvonly"), ("resume", "sendrecv", "sendrecv")):
            sim.do(near, verb, call)
            sim.world.run(sim.world.now + 0.5)
            assert (call.media_direction, peer.media_direction) == (ours, theirs), sim.world.ladder(60, True)
        before = sim.heard(far)
        sim.do(near, "info", call, "7")
        sim.world.run(sim.world.now + 0.5)
        assert [word[:4] for word in (sim.heard(far) - before).elements()] == ["INFO"]


def part(sim: SiteSimulation, name: str, call: Call, other: Call, results: list[str]) -> None:
    """Hang up; there is one record a call, and nothing is left."""
    sim.do(name, "bye", call)
    sim.world.run(sim.world.now + 2.0)
    assert state(call) is ENDED and state(other) is ENDED
    at_an_end(sim, results)


def requests_votes(sim: SiteSimulation) -> bool:
    return any("requests votes for epoch 2" in line for line in sim.said)


ASKED_FOR_DIALOGS = {"yves", "zoe"}
"""Telephones at servers, which are asked for their dialogs, and do not know that."""


def at_an_end(sim: SiteSimulation, results: list[str]) -> None:
    assert sorted(record.result for record in sim.cdrs) == sorted(results), sim.cdrs
    for name in (*sim.site.servers, *sim.site.agents):
        assert not sim.calls_of(name), name
    for name in sim.who:
        asked = {"unknown"} if name in ASKED_FOR_DIALOGS else set()
        assert not {what for what in sim.odd(name) if "stray" not in what} - asked, sim.odd(name)


def test_a_talking_call_goes_on_through_the_new_server() -> None:
    sim = begun()
    call, other = sim.talk()
    before = heard(sim)
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 40.0)
    assert heard(sim) == before, "a takeover sends nothing to a device"
    serve(sim, call, other)
    part(sim, "east", other, call, ["answered"])


def test_a_held_call_is_resumed_through_the_new_server() -> None:
    sim = begun()
    call, other = sim.talk()
    sim.do("west", "hold", call)
    sim.world.run(sim.world.now + 0.5)
    sim.world.kill("m1")
    taken_over(sim)
    sim.do("west", "resume", call)
    sim.world.run(sim.world.now + 0.5)
    assert (call.media_direction, other.media_direction) == ("sendrecv", "sendrecv")
    part(sim, "west", call, other, ["answered"])


@pytest.mark.parametrize("early", [False, True])
def test_a_ringing_call_is_answered_through_the_new_server(early: bool) -> None:
    sim = begun()
    sim.policy("east", Policy(early=early))
    call = sim.call("west", "200")
    sim.world.run(sim.world.now + 1.0)
    before = heard(sim)
    sim.world.kill("m1")
    taken_over(sim)
    assert heard(sim) == before and state(call) is CALLING
    other = next(iter(sim.line("east").calls.values()))
    sim.do("east", "answer", other)
    sim.world.run(sim.world.now + 1.0)
    assert state(call) is TALKING
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


def test_many_calls_in_every_state_survive() -> None:
    sim = begun()
    pairs = [sim.talk() for _ in range(10)]
    for call, _ in pairs[:3]:
        sim.do("west", "hold", call)
    sim.policy("east", Policy())
    ringing = [sim.call("west", "200") for _ in range(3)]
    sim.world.run(sim.world.now + 1.0)
    before = heard(sim)
    sim.world.kill("m1")
    taken_over(sim)
    assert heard(sim) == before
    for call in ringing:
        sim.do("west", "cancel", call)
    for call, other in pairs:
        serve(sim, call, other)
        sim.do("east", "bye", other)
    sim.world.run(sim.world.now + 3.0)
    assert all(call.status == 487 for call in ringing)
    at_an_end(sim, ["answered"] * 10 + ["cancelled"] * 3)


@pytest.mark.parametrize("who", PLAIN)
@pytest.mark.parametrize("part", [600, 3000])
@pytest.mark.parametrize("delay", [0.1, 0.5, 0.7])
def test_who_hangs_up_while_long_lists_come_is_heard_by_the_other_side(
    who: str, part: int, delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dialog is then told twice: by the fetch for its BYE and in its turn."""
    monkeypatch.setattr(list_subscription, "MOST_PART", part)
    sim = begun()
    pairs = [sim.talk() for _ in range(32)]
    sim.world.kill("m1")
    assert sim.world.run_until(lambda: sim.active == ["s1"], 10.0)
    sim.world.wires.weather.delay = delay  # of each message: many parts take many seconds
    hung_up = pairs[:-4]
    for index, pair in enumerate(hung_up):
        sim.world.later(0.2 * index, sim.do, who, "bye", pair[PLAIN.index(who)])
    sim.world.run(sim.world.now + 0.2 * len(hung_up) + 10 * delay)
    assert all(over(call) and over(other) for call, other in hung_up)
    assert not [line for line in sim.said if "Reason" in line or "released" in line], sim.said
    sim.world.run(sim.world.now + 20 * delay)
    sim.world.wires.weather.delay = 0.0
    sim.world.run(sim.world.now + 2.0)  # what is under way still
    for call, other in pairs[-4:]:
        serve(sim, call, other)
        sim.do("west", "bye", call)
    sim.world.run(sim.world.now + 2.0)
    at_an_end(sim, ["answered"] * len(pairs))


def test_what_a_former_server_has_written_down_and_could_not_pass_on_goes_on_when_it_rules_again() -> None:
    """It slept, and wrote the end of a call before it heard that it rules no more."""
    sim = begun()
    call, other = sim.talk()
    sim.world.pause("m1")
    sim.do("west", "info", call, "1")
    sim.do("west", "bye", call)
    assert sim.world.run_until(lambda: sim.active == ["s1"], 10.0)
    sim.world.kill("s1")
    sim.world.run(sim.world.now + 1.0)
    sim.world.resume("m1")
    sim.world.run(sim.world.now + 1.0)
    assert [record.result for record in sim.records] == ["answered"]
    sim.world.start("s1")
    taken_over(sim, "m1")
    assert over(other)
    assert {"INFO", "BYE"} <= {word.split()[0] for word in sim.heard("east")}
    assert not [line for line in sim.said if "Reason" in line or "released" in line], sim.said
    at_an_end(sim, ["answered"])


def test_a_call_that_begins_in_the_gap_is_held_and_goes_through() -> None:
    sim = begun()
    sim.policy("east", Policy(answer_after=0.5))
    sim.world.kill("m1")
    sim.world.run(sim.world.now + 0.5)
    call = sim.call("west", "200")
    sim.world.run(sim.world.now + 0.3)
    assert sim.heard("west") == {"100 INVITE": 1}
    taken_over(sim)
    sim.world.run(sim.world.now + 1.0)
    other = next(iter(sim.line("east").calls.values()))
    assert state(call) is TALKING
    part(sim, "west", call, other, ["answered"])


def test_without_any_server_a_new_call_gets_503_after_a_bound_and_a_talking_one_stays() -> None:
    sim = begun()
    call, other = sim.talk()
    sim.world.kill("m1")
    sim.world.kill("s1")
    sim.world.run(sim.world.now + 1.0)
    fresh = sim.call("west", "200")
    sim.world.run(sim.world.now + sim.site.timing.hold_attempt - 0.5)
    assert state(fresh) is CALLING
    sim.world.run(sim.world.now + 1.0)
    assert fresh.status == 503
    sim.do("west", "hold", call)
    sim.world.run(sim.world.now + sim.site.timing.hold_attempt + 0.5)
    assert sim.heard("west")["500 INVITE"] == 1 and state(call) is TALKING
    sim.world.start("s1")
    taken_over(sim, limit=30.0)
    sim.world.run(sim.world.now + 12.0)
    assert call.held, "the hold was tried again"
    sim.do("east", "bye", other)
    sim.world.run(sim.world.now + 1.0)
    assert state(call) is ENDED


def test_both_servers_die_and_come_back() -> None:
    sim = begun()
    call, other = sim.talk()
    before = heard(sim)
    sim.world.kill("m1")
    sim.world.kill("s1")
    sim.world.run(sim.world.now + 5.0)
    sim.world.start("m1")
    sim.world.start("s1")
    taken_over(sim, "m1", 30.0)
    assert heard(sim) == before
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


def test_a_server_without_a_stand_by_recovers_its_own_calls() -> None:
    sim = begun(site=site_of(standby=False))
    call, other = sim.talk()
    before = heard(sim)
    sim.world.kill("m1")
    sim.world.run(sim.world.now + 1.0)
    sim.world.start("m1")
    taken_over(sim, "m1")
    assert heard(sim) == before
    serve(sim, call, other)
    part(sim, "east", other, call, ["answered"])


def test_a_paused_main_loses_the_site_and_ends_nothing_when_it_wakes() -> None:
    sim = begun()
    call, other = sim.talk()
    before = heard(sim)
    sim.world.pause("m1")
    taken_over(sim)
    sim.world.resume("m1")
    sim.world.run(sim.world.now + 10.0)
    assert sim.active == ["s1"] and heard(sim) == before
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.9, 2.3, 2.5, 5.0])
def test_a_pause_in_the_middle_of_a_re_invite_and_a_set_up(seconds: float) -> None:
    sim = begun()
    call, _ = sim.talk()
    sim.policy("east", Policy(answer_after=1.0))
    sim.do("west", "hold", call)
    fresh = sim.call("west", "200")
    sim.world.run(sim.world.now + 0.0015)
    sim.world.pause("m1")
    sim.world.run(sim.world.now + seconds)
    sim.world.resume("m1")
    sim.world.run(sim.world.now + 12.0)
    assert call.held and state(fresh) is TALKING and len(sim.active) == 1, "\n".join(sim.said)
    assert sim.heard("east")["INVITE body=a1e2ab3e"] == 2, "each call rang once"
    for each in (call, fresh):
        sim.do("west", "bye", each)
    sim.world.run(sim.world.now + 2.0)
    at_an_end(sim, ["answered", "answered"])


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
    sim = begun()
    call, other = sim.talk()
    before = heard(sim)
    sim.world.wires.cut(source, target)
    sim.world.run(sim.world.now + 60.0)
    assert heard(sim) == before and len(sim.active) == 1, "\n".join(sim.said)
    sim.world.wires.heal()
    sim.world.run(sim.world.now + 40.0)
    assert heard(sim) == before
    serve(sim, call, other)
    part(sim, "east", other, call, ["answered"])


def test_a_main_that_is_cut_off_from_all_holds_and_the_stand_by_takes_over() -> None:
    sim = begun()
    call, other = sim.talk()
    before = heard(sim)
    for node in ("s1", "gw1", "gw2"):
        sim.world.wires.cut("m1", node, both=True)
    taken_over(sim)
    assert sim.server("m1").member.state == "holding"
    sim.world.run(sim.world.now + 60.0)
    sim.world.wires.heal()
    sim.world.run(sim.world.now + 20.0)
    assert sim.active == ["s1"] and sim.server("m1").member.state == "standby" and heard(sim) == before
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


def test_one_agent_is_cut_off_with_the_main_and_comes_back_in_time() -> None:
    sim = begun()
    call, other = sim.talk()
    before = heard(sim)
    sim.world.kill("m1")
    sim.world.wires.cut("gw2", "s1", both=True)
    assert sim.world.run_until(lambda: sim.active == ["s1"], 10.0), "\n".join(sim.said)
    sim.world.run(sim.world.now + 100.0)
    assert heard(sim) == before, "a cut is no evidence of an end"
    sim.world.wires.heal()
    taken_over(sim, limit=60.0)
    sim.world.run(sim.world.now + 5.0)
    assert heard(sim) == before
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered"])


def test_an_agent_that_stays_away_is_given_up_after_its_grace() -> None:
    sim = begun(site=site_of(timing="agent_grace = 30"))
    call, other = sim.talk()
    sim.world.kill("m1")
    sim.world.wires.cut("gw2", "s1", both=True)
    assert sim.world.run_until(lambda: state(call) is ENDED, 60.0), "\n".join(sim.said)
    assert any(word.startswith("BYE Reason: ") for word in sim.heard("west"))
    assert state(other) is TALKING
    sim.world.wires.heal()
    sim.world.run(sim.world.now + 60.0)
    assert state(other) is ENDED and any(word.startswith("BYE Reason: ") for word in sim.heard("east"))


def test_an_agent_that_died_together_with_its_server_has_no_calls_and_the_other_side_is_released() -> None:
    sim = begun()
    call, other = sim.talk()
    sim.world.kill("gw2")
    sim.world.kill("m1")
    sim.world.run(sim.world.now + 5.0)
    assert state(call) is TALKING
    sim.world.start("gw2")
    assert sim.world.run_until(lambda: state(call) is ENDED, 30.0), "\n".join(sim.said)
    assert any(word.startswith("BYE Reason: ") for word in sim.heard("west"))
    sim.do("east", "bye", other)
    sim.world.run(sim.world.now + 40.0)


def test_a_callee_stops_to_ring_as_soon_as_its_caller_s_agent_is_back_without_the_call() -> None:
    sim = begun()
    sim.policy("east", Policy())
    sim.call("west", "200")
    sim.world.run(sim.world.now + 1.0)
    [other] = sim.line("east").calls.values()
    sim.world.kill("gw1")
    sim.world.kill("m1")
    assert sim.world.run_until(lambda: sim.active == ["s1"] and sim.is_told("s1"), 10.0)
    sim.world.run(sim.world.now + 2.0)
    assert not over(other), "its caller may be told still"
    sim.world.start("gw1")
    assert sim.world.run_until(lambda: sim.is_told("s1") and over(other), 5.0), "\n".join(sim.said)
    sim.world.run(sim.world.now + 1.0)
    at_an_end(sim, ["cancelled"])


@pytest.mark.parametrize("near, far", [("gw1", "m1"), ("gw2", "m1")])
def test_a_connection_that_breaks_is_made_anew_and_nothing_is_lost(near: str, far: str) -> None:
    sim = begun()
    call, other = sim.talk()
    sim.policy("east", Policy(answer_after=0.3))
    for verb in ("hold", "resume"):
        sim.do("west", verb, call)
        sim.do("east", "info", other, "1")
        fresh = sim.call("west", "200")
        sim.world.run(sim.world.now + 0.0025)
        sim.world.wires.reset(near, far)
        sim.world.run(sim.world.now + 5.0)
        assert call.held == (verb == "hold") and state(fresh) is TALKING, sim.world.ladder(120, True)
        sim.do("west", "bye", fresh)
    sim.world.run(sim.world.now + 1.0)
    assert sim.active == ["m1"] and sim.heard("west")["INFO body=f86d9346"] == 0
    part(sim, "west", call, other, ["answered"] * 3)


def test_a_planned_switchover_loses_nothing() -> None:
    sim = begun()
    call, other = sim.talk()
    sim.policy("east", Policy())
    ringing = sim.call("west", "200")
    sim.world.run(sim.world.now + 1.0)
    before = heard(sim)
    sim.switchover("m1")
    began = sim.world.now
    taken_over(sim)
    assert sim.world.now - began < 2.0 and heard(sim) == before
    sim.do("east", "answer", list(sim.line("east").calls.values())[1])
    sim.world.run(sim.world.now + 1.0)
    assert state(ringing) is TALKING
    serve(sim, call, other)
    sim.switchover("s1")
    taken_over(sim, "m1")
    sim.do("west", "bye", ringing)
    serve(sim, call, other)
    part(sim, "east", other, call, ["answered", "answered"])


def test_the_main_dies_during_a_switchover() -> None:
    for after in (0.001, 0.003, 0.005, 0.008, 0.012):
        sim = begun()
        call, other = sim.talk()
        before = heard(sim)
        sim.switchover("m1")
        sim.world.run(sim.world.now + after)
        sim.world.kill("m1")
        taken_over(sim)
        assert heard(sim) == before
        part(sim, "west", call, other, ["answered"])


def test_the_stand_by_dies_during_its_takeover() -> None:
    for after in (0.0, 0.002, 0.005, 0.05):
        sim = begun()
        call, other = sim.talk()
        before = heard(sim)
        sim.world.kill("m1")
        assert sim.world.run_until(partial(requests_votes, sim), 10.0)
        sim.world.run(sim.world.now + after)
        sim.world.kill("s1")
        sim.world.start("m1")
        taken_over(sim, "m1", 30.0)
        assert heard(sim) == before
        part(sim, "west", call, other, ["answered"])


def test_cold_lines_are_reset_and_hot_ones_stay() -> None:
    sim = begun(who=("west", "east", "cold"))
    call, other = sim.talk()
    dropped, its_other = sim.talk(number="400", callee="cold")
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.run(sim.world.now + 3.0)
    assert (call.state, dropped.state, its_other.state) == (TALKING, ENDED, ENDED)
    assert any(word.startswith("BYE Reason: ") for word in sim.heard("cold"))
    assert any(word.startswith("BYE Reason: ") for word in sim.heard("west"))
    serve(sim, call, other)
    part(sim, "west", call, other, ["answered", "reset"])


def test_the_number_to_which_a_phone_redirects_is_called_and_the_caller_hears_that_it_is() -> None:
    sim = begun(who=("anna", "bert", "carl"))
    sim.policy("bert", Policy(refuse=302, moved_to="sip:1003@127.0.0.12"))
    sim.policy("carl", Policy(answer_after=1.0))
    call = sim.call("anna", "1002")
    sim.world.run(sim.world.now + 2.0)
    assert state(call) is TALKING and state(next(iter(sim.line("carl").calls.values()))) is TALKING
    words = {word.partition(" body")[0]: number for word, number in sim.heard("anna").items()}
    assert words == {"407 INVITE": 1, "100 INVITE": 1, "180 INVITE": 1, "181 INVITE": 1, "200 INVITE": 1}
    other = next(iter(sim.line("carl").calls.values()))
    serve(sim, call, other, ("anna", "carl"))
    part(sim, "carl", other, call, ["answered"])


def test_registered_phones_are_called_through_the_new_server() -> None:
    sim = begun(who=("anna", "bert", "carl"))
    sim.world.kill("m1")
    taken_over(sim)
    call, other = sim.talk("anna", "1002", "bert")
    part(sim, "bert", other, call, ["answered"])


def test_the_main_gets_its_site_back_when_the_file_says_so() -> None:
    sim = begun(site=site_of(failover='failback = "return"\nreturn_after = 20\nhold_down = 5'))
    call, other = sim.talk()
    before = heard(sim)
    sim.world.kill("m1")
    taken_over(sim)
    sim.world.start("m1")
    sim.world.run(sim.world.now + 10.0)
    assert sim.active == ["s1"]
    taken_over(sim, "m1", 40.0)
    assert heard(sim) == before
    part(sim, "east", other, call, ["answered"])


def test_the_clock_of_a_server_jumps_ahead() -> None:
    for node in ("m1", "s1", "gw1"):
        sim = begun()
        call, other = sim.talk()
        before = heard(sim)
        sim.world.jump(node, 5.0)
        sim.world.run(sim.world.now + 20.0)
        assert len(sim.active) == 1 and heard(sim) == before, "\n".join(sim.said)
        serve(sim, call, other)
        sim.do("west", "bye", call)
        sim.world.run(sim.world.now + 2.0)
        assert state(other) is ENDED


def test_loss_and_delay_between_agents_and_devices_are_repaired_by_sip() -> None:
    sim = begun(seed=5)
    sim.world.wires.weather.loss = 0.2
    sim.world.wires.weather.late = 0.2
    sim.world.wires.weather.double = 0.1
    sim.policy("east", Policy(answer_after=2.0, hang_up_after=8.0))
    calls = [sim.call("west", "200") for _ in range(5)]
    sim.world.run(sim.world.now + 3.0)
    sim.world.kill("m1")
    sim.world.run(sim.world.now + 80.0)
    assert all(state(call) is ENDED and call.status == 200 for call in calls), [call.status for call in calls]
    assert sorted(record.result for record in sim.cdrs) == ["answered"] * 5


def test_an_agent_that_was_away_while_the_other_side_hung_up_hears_of_it_when_it_is_back() -> None:
    for away in (5.0, 45.0, 100.0):
        sim = begun()
        call, other = sim.talk()
        sim.world.wires.cut("gw2", "m1", both=True)
        sim.world.wires.cut("gw2", "s1", both=True)
        sim.world.run(sim.world.now + 1.0)
        sim.do("west", "bye", call)
        sim.world.run(sim.world.now + away)
        assert state(other) is TALKING
        sim.world.wires.heal()
        assert sim.world.run_until(partial(over, other), 60.0), away
        sim.world.run(sim.world.now + 3.0)
        at_an_end(sim, ["answered"])


def test_with_the_way_between_the_servers_cut_status_says_no_more_than_is_known() -> None:
    sim = SiteSimulation(1)
    sim.world.wires.cut("m1", "s1", both=True)
    sim.world.run(sim.world.now + 20)
    said = {
        name: [
            alert.text
            for alert in views.status(sim.server(name), {}, sim.world.nodes[name].clock(sim.world.now)).alerts
            if alert.code != "route-out"  # nobody has registered the phones of this site
        ]
        for name in ("m1", "s1")
    }
    cut = "the way between the `beat` addresses is cut"
    assert said["m1"] == [f"s1 is not heard: it is off, and the site has no stand-by, or {cut}"]
    assert said["s1"] == [f"m1 is not heard here, but agents hear it: {cut}"]
    sim.world.kill("m1")
    assert sim.world.run_until(lambda: sim.active == ["s1"], 10.0)


def test_a_hung_agent_costs_nobody_anything_at_a_takeover() -> None:
    sim = SiteSimulation(1, PLAIN, site_of(agents=3))
    world = sim.world
    sim.policy("east", Policy(answer_after=0.0))
    world.run(world.now + 3.0)
    world.pause("gw3")
    world.kill("m1")
    assert world.run_until(lambda: sim.active == ["s1"], 6.0)
    clock = world.nodes["s1"].clock
    server = sim.server("s1")
    assert views.status(server, {}, clock(world.now)).state == "active"
    assert world.run_until(lambda: not [each for each in server.agents.incomplete if each.name != "gw3"], 2.0)
    dialled = world.now
    call = sim.call("west", "200")
    assert world.run_until(lambda: call.answered_at > 0, 5.0) and world.now - dialled < 0.5
    world.run(world.now + 3.0)
    hung = [said for said in views.status(server, {}, clock(world.now)).warnings if said.startswith("gw3 ")]
    since = clock(world.now) - server.agents.begun_at
    assert hung == [
        f"gw3 is connected and has not obeyed s1 for {since:.0f} s, so it takes no new"
        " calls: see `gateway-agent status --agent gw3`"
    ]
    assert world.run_until(lambda: server.agents.all_complete, 8.0), "nobody waits for who says nothing"
    assert [said for said in sim.said if " s1: the lists of all agents reached are complete" in said]
    world.resume("gw3")
    assert world.run_until(lambda: not server.agents.incomplete, 8.0), "it tells its list when it goes on"


@pytest.mark.parametrize("cut_for", [3.0, 7.3, 20.1])
def test_an_agent_is_connected_again_half_a_second_after_a_cut(cut_for: float) -> None:
    sim = SiteSimulation(1)
    world = sim.world
    for server in ("m1", "s1"):
        world.wires.cut("gw1", server, both=True)
        world.wires.reset(server, "gw1")
    world.run(world.now + cut_for)
    world.wires.heal()
    healed = world.now

    def reached() -> bool:
        return all("gw1" in sim.server(name).agents.reached for name in ("m1", "s1"))

    assert not reached() and world.run_until(reached, 5.0)
    assert world.now - healed < 1.0


def test_a_switchover_whose_winner_dies_says_what_came_of_it() -> None:
    sim = begun()
    world, server = sim.world, sim.server("m1")
    order = world.ask("m1", lambda now: server.admin_commands.command("switchover", {}, now))
    assert world.run_until(lambda: not server.serving, 3.0)
    world.kill("s1")
    assert world.run_until(lambda: sim.active == ["m1"], 20.0)
    told = server.admin_commands.progress(order.id, world.nodes["m1"].clock(world.now))
    assert (told.state, told.sentence) == (
        "failed",
        f"s1 did not take over: m1 rules again under epoch {server.epoch}",
    )
