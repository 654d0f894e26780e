"""Servers and agents together, one story each: times are those of the default site unless said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.beat import HOLDING, STANDBY
from heartbeat.decision import Persist, What
from heartbeat.fence import Fence
from heartbeat.membership import RETURN, STOP, Membership, Server, Timing
from tests.heartbeat.ballot_world import World, membership


def running(site: Membership | None = None, **world: object) -> World:
    """A site in its fifth second of peace, ruled by m1."""
    w = World(site or membership(2), **world)  # type: ignore[arg-type]
    w.start_all()
    w.run_until(lambda: w.settled() == "m1", limit=6.0)
    w.run(5.0)
    assert w.settled() == "m1"
    return w


def test_a_site_starts_and_the_preferred_main_is_first() -> None:
    for seed in range(10):
        w = World(membership(2), seed=seed, init=("m1", "m2"))
        w.start_all()
        took = w.run_until(w.settled, limit=6.0)
        assert w.settled() == "m1" and took < 3.0
        assert w.said("m2", What.BECAME_ACTIVE) == []


def test_a_stand_by_alone_starts_the_site_a_little_later() -> None:
    w = World(membership(2), init=("m2",))
    w.start("m2", "gw1", "gw2")
    assert 3.0 < w.run_until(lambda: w.holders() == ["m2"], limit=8.0) < 6.0


def test_without_init_nobody_rules_and_the_reason_is_said() -> None:
    w = World(membership(2), init=())
    w.start_all()
    w.run(20.0)
    assert w.holders() == []
    assert len(w.said("m1", What.REFUSED)) == 1
    assert w.said("m1", What.REFUSED)[0].startswith(
        "m1 cannot ask for votes: it knows no list of voters; `b2bua init`"
    )


@pytest.mark.parametrize("interval, bound", [(0.5, 2.5), (0.1, 0.65)])
def test_the_decision_takes_lease_and_margin(interval: float, bound: float) -> None:
    took = []
    for seed in range(12):
        w = running(membership(2, timing=Timing(interval=interval)), seed=seed, disk=(0.001, 0.005))
        w.crash("m1")
        took.append(w.run_until(lambda w=w: w.holders() == ["m2"], limit=6.0))
    assert max(took) < bound


def test_a_takeover_is_told_step_by_step() -> None:
    w = running()
    w.crash("m1")
    w.run(4.0)
    steps = [d.what for d in w.hosts["m2"].log[-5:]]
    assert steps == [What.SUSPECT, What.DEAD, What.ASKING, What.TAKING_OVER, What.BECAME_ACTIVE]
    last = w.hosts["m2"].log[-1]
    assert last.epoch == 2 and last.proof is not None and not last.again
    assert str(last).startswith("m2 is active under epoch 2: m1 is dead; 2 of 3 for it, 2 needed")
    assert w.fence("gw1").refusal("m1", 1) == "gw1 obeys m2 under epoch 2, not m1 under epoch 1"
    assert w.fence("gw1").refusal("m2", 2) == ""


def test_main_and_one_of_two_agents_may_die_together() -> None:
    w = running()
    w.crash("m1")
    w.crash("gw1")
    assert w.run_until(lambda: w.holders() == ["m2"], limit=6.0) < 3.0


def test_with_one_agent_the_site_lives_as_long_as_it() -> None:
    w = running(membership(1))
    w.crash("m1")
    assert w.run_until(lambda: w.holders() == ["m2"], limit=6.0) < 3.0


def test_stand_by_and_one_of_two_agents_off_the_main_holds_and_serves() -> None:
    w = running()
    w.crash("m2")
    w.crash("gw1")
    w.run(5.0)
    m1 = w.member("m1")
    assert m1.state == HOLDING and m1.serves and not m1.may_act(w.clock("m1"))
    assert w.said("m1", What.HOLDING) == [
        "m1 holds under epoch 1: only 1 of 3 voters answer (gw2), 2 are needed",
    ]
    w.start("gw1")
    assert w.run_until(lambda: w.holders() == ["m1"], limit=2.0) < 1.5
    assert m1.epoch == 1 and w.said("m1", What.LEASE_BACK) == ["m1 has its lease back: gw1, gw2 answer"]


def test_by_the_policy_stop_a_holding_server_serves_nobody() -> None:
    w = running(membership(2, on_lost_quorum=STOP))
    w.isolate("m1")
    w.run(2.2)
    assert w.member("m1").state == HOLDING and not w.member("m1").serves


def test_a_cut_between_the_servers_only_is_no_reason() -> None:
    w = running()
    w.cut("m1", "m2")
    w.run(20.0)
    assert w.settled() == "m1" and w.member("m2").detector.state == "suspect"
    assert w.said("m2", What.ASKING) == []


def test_a_cut_off_main_fences_itself_before_the_other_rules_and_yields_when_it_is_back() -> None:
    w = running()
    w.isolate("m1")
    w.run_until(lambda: w.holders() == ["m2"], limit=4.0)
    assert w.member("m1").state == HOLDING
    w.heal()
    w.run(1.5)
    assert w.member("m1").state == STANDBY and w.settled() == "m2"
    assert w.said("m1", What.STOOD_DOWN)[-1] == "m1 stands by: m2 rules under epoch 2"


def test_a_main_that_is_heard_but_hears_nobody_is_replaced() -> None:
    w = running()
    for name in ("m2", "gw1", "gw2"):
        w.cut(name, "m1", both=False)
    w.run_until(lambda: w.holders() == ["m2"], limit=8.0)


def test_a_paused_main_comes_back_as_stand_by() -> None:
    w = running()
    w.pause("m1", 6.0)
    w.run(7.0)
    assert w.settled() == "m2" and w.member("m1").state == STANDBY


def test_a_stall_of_a_second_makes_nobody_nervous() -> None:
    for name in ("m1", "m2", "gw1", "gw2"):
        w = running()
        for _ in range(5):
            w.pause(name, 1.0)
            w.run(3.0)
        assert w.settled() == "m1", name
        assert w.member("m1").epoch == 1


def test_a_late_stand_by_only_watches() -> None:
    w = running()
    w.crash("m1")
    w.pause("m2", 8.0)
    w.run(8.001)
    assert w.said("m2", What.WATCHING)[-1].startswith("m2 only watches for 2 s: its own timer came 7.")
    w.run(1.0)
    assert w.holders() == [], "first it listens"
    w.run_until(lambda: w.holders() == ["m2"], limit=4.0)


def test_five_in_a_hundred_lost_costs_no_takeover_in_ten_minutes() -> None:
    w = running(loss=0.05, seed=3)
    w.run(600.0)
    assert w.member("m1").epoch == 1 and w.settled() == "m1"


def test_a_restarted_main_recovers_itself_under_the_next_epoch() -> None:
    w = running()
    w.crash("m1")
    w.start("m1")
    assert w.run_until(lambda: w.holders() == ["m1"], limit=2.0) < 0.7
    assert w.member("m1").epoch == 2
    last = next(d for d in reversed(w.hosts["m1"].log) if d.what is What.BECAME_ACTIVE)
    assert not last.again, "its calls are not in its memory"


def test_a_planned_switchover_takes_no_silence() -> None:
    w = running()
    assert w.act("m1", lambda member, now: member.switchover("m2", now)) == ""
    assert w.run_until(lambda: w.settled() == "m2", limit=3.0) < 0.05
    assert w.said("m1", What.STOOD_DOWN) == ["m1 let go of epoch 1: m2 takes over, an operator asks for it"]
    w.run(40.0)
    assert w.settled() == "m2" and w.member("m2").epoch == 2


def test_a_switchover_to_a_server_without_a_quorum_is_called_off() -> None:
    w = running()
    for agent in ("gw1", "gw2"):
        w.cut("m2", agent)
    w.act("m1", lambda member, now: member.switchover("m2", now))
    w.run(6.0)
    assert w.settled() == "m1" and w.member("m1").epoch == 1
    assert w.said("m1", What.CALLED_OFF) == [
        "the switchover to m2 is called off: it asks the voters, and is not ready",
    ]


def test_what_cannot_be_switched_over_says_why() -> None:
    w = running()
    assert w.act("m2", lambda member, now: member.switchover("m1", now)) == "m2 does not rule; m1 does, ask it"
    assert w.act("m1", lambda member, now: member.switchover("m9", now)) == "m9 is no other server of this site"
    w.crash("m2")
    w.run(10.0)
    assert w.act("m1", lambda member, now: member.switchover("", now)) == (
        "m2 is not there: nothing was heard of it lately"
    )


def test_when_the_stand_by_dies_in_a_switchover_the_old_one_comes_back() -> None:
    w = running()
    w.act("m1", lambda member, now: member.switchover("m2", now))
    w.run_until(lambda: w.member("m1").state == STANDBY, limit=1.0)
    w.crash("m2")
    w.run_until(lambda: w.settled() == "m1", limit=8.0)
    assert w.member("m1").epoch > 1


def test_a_goodbye_is_taken_over_at_once() -> None:
    w = running()
    w.act("m1", lambda member, now: member.leave(now))
    assert w.run_until(lambda: w.holders() == ["m2"], limit=3.0) < 0.1


def test_force_takes_who_can_be_reached_and_the_old_one_yields_when_it_learns() -> None:
    w = running()
    for name in ("m1", "gw2"):
        w.cut("m2", name)
    w.act("m2", lambda member, now: member.force(now))
    w.run(0.2)
    m2 = w.member("m2")
    assert m2.forced and m2.may_act(w.clock("m2")) and w.fence("gw1").obeys("m2", 2)
    assert w.fence("gw2").obeys("m1", 1)


def test_force_becomes_an_ordinary_rule_when_a_quorum_answers() -> None:
    w = running()
    w.crash("m1")
    w.act("m2", lambda member, now: member.force(now))
    w.run(2.0)
    assert w.member("m2").forced, "the old lease may still be running"
    w.run(1.0)
    assert not w.member("m2").forced and w.settled() == "m2"


@pytest.mark.parametrize("allowed", [False, True])
def test_takeover_without_a_quorum_is_a_choice(allowed: bool) -> None:
    w = running(membership(3, takeover_without_quorum=allowed))
    for name in ("m1", "gw1", "gw2"):
        w.crash(name)
    w.run(10.0)
    assert w.member("m2").forced is allowed
    assert w.fence("gw3").obeys("m2", 2) is allowed


def test_without_a_quorum_it_still_obeys_one_that_says_no() -> None:
    w = running(membership(3, takeover_without_quorum=True))
    w.cut("m1", "m2")
    w.hosts["m2"].core.detector._change("dead", "the test says so")  # type: ignore[union-attr]
    w.run(20.0)
    assert w.settled() == "m1"


def test_paused_means_no_automatic_takeover() -> None:
    w = running()
    w.act("m2", lambda member, now: member.pause(now))
    w.crash("m1")
    w.run(10.0)
    assert w.holders() == []
    w.act("m2", lambda member, now: member.resume(now))
    w.run_until(lambda: w.holders() == ["m2"], limit=2.0)


def test_after_an_automatic_takeover_the_next_one_waits_unless_all_voters_agree() -> None:
    w = running(membership(3))
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=6.0)
    w.start("m1")
    w.run(3.0)
    w.member("m1").known.changed_at = w.clock("m1")
    w.crash("m2")
    w.cut("m1", "gw3")
    w.run(20.0)
    assert w.holders() == [], "gw3 cannot be asked"
    w.run_until(lambda: w.holders() == ["m1"], limit=20.0)


def test_hold_down_is_over_when_every_voter_misses_the_new_server() -> None:
    w = running(membership(3))
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=6.0)
    w.start("m1")
    w.run(3.0)
    w.member("m1").known.changed_at = w.clock("m1")
    w.crash("m2")
    w.run_until(lambda: w.holders() == ["m1"], limit=4.0)


def test_failback_return_waits_until_the_main_is_well() -> None:
    w = running(membership(2, failback=RETURN, timing=Timing(return_after=20.0)))
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=6.0)
    w.start("m1")
    w.run(15.0)
    assert w.settled() == "m2"
    w.run_until(lambda: w.settled() == "m1", limit=10.0)
    assert "m1 is preferred and has been well for" in w.said("m2", What.HANDING_OVER)[0]
    w.run(60.0)
    assert w.member("m1").epoch == 3


@pytest.mark.parametrize("failback", ["stay", "manual"])
def test_other_failbacks_stay(failback: str) -> None:
    w = running(membership(2, failback=failback, timing=Timing(return_after=5.0)))
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=6.0)
    w.start("m1")
    w.run(30.0)
    assert w.settled() == "m2"


def test_who_reaches_fewer_agents_hands_over_after_five_seconds() -> None:
    w = running(membership(4, chosen_voters=("gw1", "gw2", "gw3")))
    w.cut("m1", "gw4")
    w.run(7.0)
    assert w.holders() == ["m1"]
    w.run_until(lambda: w.settled() == "m2", limit=5.0)
    assert w.said("m1", What.HANDING_OVER) == [
        "m1 hands over to m2: m2 reaches agents that m1 does not, for long enough"
    ]
    w.run(30.0)
    assert w.member("m2").epoch == 2, "and that is the end of it"


def test_connections_count_for_what_is_reached() -> None:
    w = running()
    m1 = w.member("m1")
    assert m1._reach(w.clock("m1")) == 0b11
    m1.peers_reached(["gw2"], w.clock("m1"))
    assert m1._reach(w.clock("m1")) == 0b10


def test_a_promise_above_our_epoch_makes_us_hold_and_win_a_newer_one() -> None:
    w = running(membership(3))
    m2 = w.member("m2")
    term = 2
    claim = m2.stamp("gw1", w.clock("m2"), kind="grant", term=term, list=m2.on_disk.voters.text)
    w.fence("gw1").voter.heard = None
    w._deliver("m2", "gw1", claim)
    w.run_until(lambda: w.member("m1").epoch == 3 and w.holders(), limit=3.0)
    assert w.holders() == ["m1"]
    assert w.said("m1", What.HOLDING) == ["m1 holds under epoch 1: gw1 promised epoch 2 to another"]
    last = next(d for d in reversed(w.hosts["m1"].log) if d.what is What.BECAME_ACTIVE)
    assert last.again, "nobody can have ruled in between"


def test_a_voter_that_lost_its_file_is_readmitted_by_an_operator() -> None:
    w = running(membership(3))
    w.lose_file("gw1")
    w.start("gw1")
    w.run(5.0)
    assert w.mute_voters() == ["gw1"] and w.settled() == "m1"
    assert w.said("m1", What.NO_VOTE) == ["gw1 has no vote: it has no epoch file of its own"]
    assert w.act("m2", lambda member, now: member.readmit("gw1", now)).startswith("m2 has no lease")  # type: ignore[union-attr]
    assert w.act("m1", lambda member, now: member.readmit("gw9", now)) == "gw9 is no voter of this site"
    assert w.act("m1", lambda member, now: member.readmit("gw1", now)) == ""
    w.run_until(lambda: w.settled() == "m1" and not w.mute_voters() and w.member("m1").epoch > 1, limit=5.0)
    w.run(5.0)
    assert w.settled() == "m1"
    assert {host.file.voters.generation for host in w.hosts.values() if host.file} == {101}
    w.crash("m1")
    w.crash("gw2")
    w.run_until(lambda: w.holders() == ["m2"], limit=5.0)


def test_the_only_voter_is_readmitted_by_force() -> None:
    w = running(membership(1))
    w.lose_file("gw1")
    w.start("gw1")
    w.run(5.0)
    assert w.holders() == []
    assert w.act("m1", lambda member, now: member.readmit("gw1", now, True)) == ""
    w.run_until(lambda: w.settled() == "m1", limit=6.0)


def test_the_lists_of_the_site_file_are_followed_one_voter_at_a_time() -> None:
    w = running(membership(4, chosen_voters=("gw1", "gw2", "gw3")))
    changed = replace(w.site, chosen_voters=("gw2", "gw3", "gw4"), generation=2)
    w.site = changed
    for host in w.hosts.values():
        assert host.core is not None
        host.core.reload(changed)
    w.run_until(lambda: w.member("m1").on_disk.voters.filed == 2 and w.settled(), limit=12.0)
    w.run(8.0)
    assert w.member("m1").on_disk.voters.names == ("gw2", "gw3", "gw4")
    assert w.fence("gw4").voter.has_vote and not w.fence("gw1").voter.has_vote
    w.crash("m1")
    w.crash("gw2")
    w.run_until(lambda: w.holders() == ["m2"], limit=5.0)


def test_nothing_is_said_before_it_is_on_disk() -> None:
    w = World(membership(1), disk=(1.0, 1.0))
    w.start_all()
    w.run_until(lambda: w.said("gw1", What.GRANTED), limit=6.0)
    fence = w.fence("gw1")
    assert fence.voter.kept.promise == 1 and fence.on_disk.promise == 0
    w.run(0.9)
    assert w.member("m1").campaign is not None and w.member("m1").campaign.grants == {}
    w.run_until(lambda: w.settled() == "m1", limit=6.0)


def test_a_disk_that_refuses_gives_no_grant_and_says_why() -> None:
    w = World(membership(1))
    w._write = lambda host, core, persist: core.not_persisted(  # type: ignore[method-assign]
        persist.kept, "no space left", host.clock(w.now)
    )
    w.start_all()
    w.run(8.0)
    assert w.holders() == [] and "gw1 cannot keep its epochs: no space left" in w.said("gw1", What.DISK)
    del w._write
    w.run_until(lambda: w.settled() == "m1", limit=10.0)


def test_a_server_alone_needs_nobody() -> None:
    site = Membership("paris", (Server("m1"),))
    w = World(site)
    w.start_all()
    w.run(0.1)
    assert w.holders() == ["m1"]
    w.run(100.0)
    assert w.holders() == ["m1"] and w.member("m1").epoch == 1


def test_drift_of_the_site_file_is_said_once() -> None:
    w = World(membership(1, config="aaaa"))
    w.start_all()
    w.member("m2").membership = replace(w.site, config="bbbb")
    w.run(8.0)
    assert w.said("m1", What.DRIFT) == ["m2 runs from another site file (bbbb, ours is aaaa)"]


def test_what_is_not_for_us_is_counted_and_dropped() -> None:
    w = running()
    m1, gw1, now = w.member("m1"), w.fence("gw1"), w.clock("gw1")
    beat = m1.stamp("gw1", w.clock("m1"))
    for wrong, sender in (
        (replace(beat, site="rome"), "m1"),
        (beat, "m2"),
        (replace(beat, to="gw2"), "m1"),
        (replace(beat, seq=1), "m1"),
        (replace(beat, node="eve"), "eve"),
        (replace(beat, re=(1, 1)), "m1"),
        (replace(beat, kind="dance"), "m1"),
    ):
        gw1.receive(wrong, sender, now)
    assert gw1.to_do() == []
    assert sum(gw1.ignored.values()) == 7
    before = sum(m1.ignored.values())
    m1.receive(replace(gw1.stamp("m1", now), kind="beat", re=(1, 1)), "gw1", now)
    m1.receive(gw1.stamp("m1", now), "eve", now)
    m1.receive(replace(w.member("m2").stamp("m1", now), kind="dance"), "m2", now)
    assert sum(m1.ignored.values()) == before + 3


def test_a_refused_request_of_a_call_teaches_who_rules() -> None:
    w = running()
    w.cut("m1", "m2")
    refusal = w.fence("gw1").stamp("m1", w.clock("gw1"), holder="m2", promise=2)
    w.member("m1").receive(replace(refusal, epoch=2), "gw1", w.clock("m1"))
    assert w.member("m1").state == STANDBY and not w.member("m1").may_act(w.clock("m1"))


def test_an_agent_that_obeys_nobody_says_so() -> None:
    fence = Fence("gw1", membership(1), replace(World(membership(1)).hosts["m1"].file, boot=1, mute=True), 0.0)
    assert fence.refusal("m1", 1) == "gw1 obeys no server yet: none has brought a proof"
    assert fence.get_timer() is None and fence.silent_for(9.0) is None


def test_the_wire_carries_everything_that_the_rules_need() -> None:
    w = running(membership(3), text=True, disk=(0.001, 0.01))
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=5.0)
    w.start("m1")
    w.run(3.0)
    w.act("m2", lambda member, now: member.switchover("", now))
    w.run_until(lambda: w.settled() == "m1", limit=3.0)


def test_between_servers_a_quiet_site_says_the_same_whatever_its_calls() -> None:
    counts = []
    for calls in (0, 10_000):
        w = running()
        w.member("m1").figures(calls, 0.1)
        before = w.sent
        w.run(30.0)
        counts.append(w.sent - before)
    assert counts[0] == counts[1]


def test_five_hundred_agents_cost_a_few_hundred_messages_a_second() -> None:
    w = running(membership(500))
    before = w.sent
    w.run(10.0)
    assert (w.sent - before) / 10 < 1200
    assert len({persist for persist in w.member("m1").to_do() if isinstance(persist, Persist)}) == 0
