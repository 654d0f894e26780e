"""Planned switchovers, force, pause, hold-down and failback."""

from __future__ import annotations

import pytest

from heartbeat.decision import What
from heartbeat.header import STANDBY
from heartbeat.membership import RETURN
from tests.heartbeat.ballot_world import World, membership, running


def test_a_planned_switchover_takes_no_silence() -> None:
    w = running()
    assert w.act("m1", lambda member, now: member.switchover("m2", now)) == ""
    assert w.run_until(lambda: w.settled() == "m2", limit=3.0) < 0.05
    assert w.said("m1", What.STEPPED_DOWN) == ["m1 let go of epoch 1: m2 takes over, an operator asks for it"]
    w.run(40.0)
    assert w.settled() == "m2" and w.member("m2").participant.epoch == 2


def test_a_switchover_to_a_server_without_a_quorum_is_called_off() -> None:
    w = running()
    for agent in ("gw1", "gw2"):
        w.cut("m2", agent)
    w.act("m1", lambda member, now: member.switchover("m2", now))
    w.run(6.0)
    assert w.settled() == "m1" and w.member("m1").participant.epoch == 1
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
    assert w.member("m1").participant.epoch > 1


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
    assert m2.leader.forced and m2.may_act(w.clock("m2")) and w.voter("gw1").obeys("m2", 2)
    assert w.voter("gw2").obeys("m1", 1)


def test_force_becomes_an_ordinary_rule_when_a_quorum_answers() -> None:
    w = running()
    w.crash("m1")
    w.act("m2", lambda member, now: member.force(now))
    w.run(2.0)
    assert w.member("m2").leader.forced, "the old lease may still be running"
    w.run(1.0)
    assert not w.member("m2").leader.forced and w.settled() == "m2"


@pytest.mark.parametrize("allowed", [False, True])
def test_takeover_without_a_quorum_is_a_choice(allowed: bool) -> None:
    w = running(membership(3, takeover_without_quorum=allowed))
    for name in ("m1", "gw1", "gw2"):
        w.crash(name)
    w.run(10.0)
    assert w.member("m2").leader.forced is allowed
    assert w.voter("gw3").obeys("m2", 2) is allowed


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


def test_soon_after_an_automatic_takeover_the_next_one_asks_for_every_voter_that_is_there() -> None:
    w = _taken_over(3)
    w.crash("m2")
    w.run(1.5)
    w.crash("gw3")
    w.start("gw3")
    w.run(2.0)
    assert w.holders() == [], "gw3 is there, and not up long enough to know whom it heard"
    w.run_until(lambda: w.holders() == ["m1"], limit=1.0)


@pytest.mark.parametrize(
    "agents, down",
    [(2, ""), (3, ""), (3, "gw3"), (5, "gw5")],
    ids=["the accused votes itself", "all are there", "one is off and the accused votes", "one is off"],
)
def test_hold_down_does_not_ask_for_the_votes_of_those_who_are_silent_at_all(agents: int, down: str) -> None:
    w = _taken_over(agents, down)
    w.crash("m2")
    assert w.run_until(lambda: w.holders() == ["m1"], limit=4.0) < 3.5


def _taken_over(agents: int, down: str = "") -> World:
    """m2 rules since a few seconds, m1 stands by and remembers that m2 took over."""
    w = running(membership(agents))
    if down:
        w.crash(down)
        w.run(5.0)
    w.pause("m1", 4.0)
    w.run_until(lambda: w.holders() == ["m2"], limit=8.0)
    w.run(4.0)
    assert w.member("m1").state == STANDBY
    return w


def test_failback_return_waits_until_the_main_is_well() -> None:
    w = running(membership(2, failback=RETURN, return_after=20.0))
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=6.0)
    w.start("m1")
    w.run(15.0)
    assert w.settled() == "m2"
    w.run_until(lambda: w.settled() == "m1", limit=10.0)
    assert "m1 is preferred and has been well for" in w.said("m2", What.HANDING_OVER)[0]
    w.run(60.0)
    assert w.member("m1").participant.epoch == 3


@pytest.mark.parametrize("failback", ["stay", "manual"])
def test_other_failbacks_stay(failback: str) -> None:
    w = running(membership(2, failback=failback, return_after=5.0))
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
    assert w.member("m2").participant.epoch == 2, "and that is the end of it"


def test_connections_count_for_what_is_reached() -> None:
    w = running()
    peer = w.member("m2").cluster.peers["m1"]
    assert peer.reach == 0b11
    w.act("m1", lambda member, now: member.peers_reached(["gw2"], now))
    w.run(1.0)
    assert peer.reach == 0b10
