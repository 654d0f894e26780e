"""What servers and agents keep on disk, what they ignore, and how much they say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.agent_voter import AgentVoter
from heartbeat.decision import Persist, What
from heartbeat.header import STANDBY
from heartbeat.membership import Membership
from tests.heartbeat.ballot_world import World, membership, running


def test_nothing_is_said_before_it_is_on_disk() -> None:
    w = World(membership(1), disk=(1.0, 1.0))
    w.start_all()
    w.run_until(lambda: w.said("gw1", What.GRANTED), limit=6.0)
    voter = w.voter("gw1")
    assert voter.participant.voter.state.promised_epoch == 1 and voter.participant.on_disk.promised_epoch == 0
    w.run(0.9)
    assert w.member("m1").candidate.election is not None and w.member("m1").candidate.election.grants == {}
    w.run_until(lambda: w.settled() == "m1", limit=6.0)


def test_a_disk_that_refuses_gives_no_grant_and_says_why() -> None:
    w = World(membership(1))
    w._write = lambda host, core, persist: core.not_persisted(  # type: ignore[method-assign]
        persist.state, "no space left", host.clock(w.now)
    )
    w.start_all()
    w.run(8.0)
    assert w.holders() == [] and "gw1 cannot keep its epochs: no space left" in w.said("gw1", What.DISK)
    del w._write
    w.run_until(w.settled, limit=10.0)


def test_a_server_alone_needs_nobody() -> None:
    site = Membership("paris", ("m1",))
    w = World(site)
    w.start_all()
    w.run(0.1)
    assert w.holders() == ["m1"]
    w.run(100.0)
    assert w.holders() == ["m1"] and w.member("m1").participant.epoch == 1


def test_drift_of_the_site_file_is_said_once() -> None:
    w = World(membership(1, config="aaaa"))
    w.start_all()
    w.member("m2").reload(replace(w.site, config="bbbb"))
    w.run(8.0)
    assert w.said("m1", What.DRIFT) == ["m2 runs from another site file (bbbb, ours is aaaa)"]


def test_what_is_not_for_us_is_counted_and_dropped() -> None:
    w = running()
    m1, gw1, now = w.member("m1"), w.voter("gw1"), w.clock("gw1")
    beat = m1.participant.stamp("gw1")
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
    assert sum(gw1.participant.ignored.values()) == 7
    before = sum(m1.participant.ignored.values())
    m1.receive(replace(gw1.participant.stamp("m1"), kind="beat", re=(1, 1)), "gw1", now)
    m1.receive(gw1.participant.stamp("m1"), "eve", now)
    m1.receive(replace(w.member("m2").participant.stamp("m1"), kind="dance"), "m2", now)
    assert sum(m1.participant.ignored.values()) == before + 3


def test_a_refused_request_of_a_call_teaches_who_rules() -> None:
    w = running()
    w.cut("m1", "m2")
    refusal = w.voter("gw1").participant.stamp("m1", leader="m2", promised_epoch=2)
    w.member("m1").receive(replace(refusal, epoch=2), "gw1", w.clock("m1"))
    assert w.member("m1").state == STANDBY and not w.member("m1").may_act(w.clock("m1"))


def test_an_agent_that_obeys_nobody_says_so() -> None:
    voter = AgentVoter(
        "gw1", membership(1), replace(World(membership(1)).hosts["m1"].file, incarnation=1, non_voting=True), 0.0
    )
    assert voter.refusal("m1", 1) == "gw1 obeys no server yet: none has brought a proof"
    assert voter.get_timer() is None and voter.silent_for(9.0) is None


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
        w.member("m1").participant.figures(calls, 0.1)
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


@pytest.mark.parametrize("seconds", [0.9, 1.8, 5.0])
def test_a_stand_by_that_stalls_again_and_again_takes_nothing_over(seconds: float) -> None:
    w = running(membership(3))
    for _ in range(20):
        w.pause("m2", seconds)
        w.run(seconds + 3.0)
    assert w.settled() == "m1" and w.member("m1").participant.epoch == 1
    assert w.said("m1", What.HOLDING) == [] and w.said("m2", What.TAKING_OVER) == []


def test_a_voter_that_is_started_anew_costs_the_leader_nothing() -> None:
    w = running(membership(3))
    for voter in ("gw1", "gw2", "gw3"):
        w.crash(voter)
        w.run(2.0)
        w.start(voter)
        w.run(5.0)
    assert w.settled() == "m1" and w.member("m1").participant.epoch == 1
    assert w.said("m1", What.HOLDING) == []
