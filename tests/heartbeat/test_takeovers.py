"""Silence, cuts, stalls and restarts: who rules afterwards, how soon. The interval is 0.5 s where none is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heartbeat.decision import What
from heartbeat.header import HOLDING, STANDBY
from heartbeat.membership import STOP
from heartbeat.timing import Timing
from tests.heartbeat.ballot_world import membership, running
from tests.heartbeat.takeovers import EACH, Tally, live


@pytest.mark.parametrize("interval, bound", [(0.5, 2.5), (0.2, 1.0), (0.1, 0.65)])
def test_the_decision_takes_lease_and_margin(interval: float, bound: float) -> None:
    took = []
    for seed in range(5):
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
    assert w.voter("gw1").refusal("m1", 1) == "gw1 obeys m2 under epoch 2, not m1 under epoch 1"
    assert w.voter("gw1").refusal("m2", 2) == ""


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
    assert m1.participant.epoch == 1 and w.said("m1", What.LEASE_BACK) == ["m1 has its lease back: gw1, gw2 answer"]


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
    assert w.said("m1", What.STEPPED_DOWN)[-1] == "m1 stands by: m2 rules under epoch 2"


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
        assert w.member("m1").participant.epoch == 1


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
    assert w.member("m1").participant.epoch == 1 and w.settled() == "m1"


@pytest.mark.parametrize("loss", [0.05, 0.1])
def test_nor_does_it_at_the_default_interval(loss: float) -> None:
    w = running(membership(3, timing=Timing()), loss=loss, seed=5)
    w.run(600.0)
    assert w.member("m1").participant.epoch == 1 and w.holders() in (["m1"], [])


def test_a_stall_of_the_whole_machine_makes_nobody_nervous_at_the_default_interval() -> None:
    for seed in range(6):
        w = running(membership(3, timing=Timing()), seed=seed)
        for name in ("", "m2", "gw1", "gw2", "gw3"):
            for each in [name] if name else w.hosts:
                w.pause(each, 1.0)
            w.run(3.0)
        assert w.settled() == "m1" and w.member("m1").participant.epoch == 1, w.story()


def test_a_stall_of_the_active_server_alone_is_borne_for_half_a_second_at_the_default_interval() -> None:
    w = running(membership(3, timing=Timing()))
    for _ in range(10):
        w.pause("m1", 0.5)
        w.run(2.0)
    assert w.settled() == "m1" and w.member("m1").participant.epoch == 1


def test_a_server_of_a_version_that_does_not_say_its_interval_has_the_old_one() -> None:
    """The stand-by runs by the new default, m1 and the agents by the old; m1 loses a beat now and then."""
    w = running(membership(3, timing=Timing(interval=0.5)), seed=1)
    carry = w._carry

    def former(sender: str, to: str, what: Any, asker: Any = None) -> None:
        carry(sender, to, replace(what, interval=None) if sender == "m1" else what, asker)

    w._carry = former  # type: ignore[method-assign]
    m2 = w.member("m2")
    m2.reload(replace(w.site, timing=Timing()))
    for _ in range(10):
        w.run(3.0)
        w.cut("m1", "m2")
        w.run(0.6)
        w.heal()
    assert w.said("m2", What.DEAD, What.ASKING) == []
    w.crash("m1")
    took = w.run_until(lambda: w.holders() == ["m2"], limit=6.0)
    assert 1.6 < took < 2.5, "its voters wait for its lease, as they did"


@pytest.mark.parametrize("seed", range(2))
def test_a_site_that_is_slow_everywhere_does_not_change_hands_all_the_time(seed: int) -> None:
    """Answers take longer than the lease, so nobody has one: each would take over from the other all the time."""
    w = running(membership(5, timing=Timing()), seed=seed)
    w.delay = (0.3, 0.6)
    w.run(60.0)
    won = [d for name in ("m1", "m2") for d in w.hosts[name].log if d.what is What.BECAME_ACTIVE]
    assert len(won) <= 4, w.story()
    w.delay = (0.001, 0.003)
    w.run_until(w.settled, limit=3.0)


def test_a_new_leader_that_has_no_lease_and_falls_silent_is_replaced_at_once() -> None:
    w = running(membership(3, timing=Timing()))
    w.isolate("m1")
    w.run_until(lambda: w.holders() == ["m2"], limit=3.0)
    w.heal()
    w.run_until(lambda: w.settled() == "m2" and w.member("m1").state == STANDBY, limit=3.0)
    for agent in w.site.agents:
        w.cut(agent, "m2", both=False)
    w.run(5.0)
    assert w.member("m2").state == HOLDING and w.member("m1").state == STANDBY
    w.crash("m2")
    assert w.run_until(lambda: w.holders() == ["m1"], limit=3.0) < 1.5


def test_a_claim_waits_for_disks_that_are_slower_than_the_lease() -> None:
    w = running(membership(3, timing=Timing()))
    w.disk = (1.2, 1.3)
    w.die("m1")
    assert w.run_until(lambda: w.settled() == "m2", limit=6.0) < 5.0
    assert w.said("m2", What.CALLED_OFF) == []


def test_a_restarted_main_recovers_itself_under_the_next_epoch() -> None:
    w = running()
    w.die("m1")
    w.crash("m2")
    w.run(0.001)
    w.start("m1")
    assert w.run_until(lambda: w.holders() == ["m1"], limit=2.0) < 0.7
    assert w.member("m1").participant.epoch == 2
    last = next(d for d in reversed(w.hosts["m1"].log) if d.what is What.BECAME_ACTIVE)
    assert not last.again, "its calls are not in its memory"


def test_takeovers_at_random_break_no_rule_and_end_well() -> None:
    tally = Tally()
    for seed in range(5):
        tally.add(live(seed))
    assert tally.takeovers + tally.same == 5 * EACH
    assert len(tally.causes) >= 7
