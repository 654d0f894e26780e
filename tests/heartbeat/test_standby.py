"""When a stand-by asks for votes, and when it only looks on."""

from __future__ import annotations

import pytest

from heartbeat.decision import What
from tests.heartbeat.ballot_world import World, running


def first(w: World, name: str, what: What) -> float:
    """When ``name`` first decided that, by its own clock."""
    return next(decision.at for decision in w.hosts[name].log if decision.what is what)


@pytest.mark.parametrize("stopped", [1.0, 4.0, 20.0])
def test_a_stand_by_whose_own_clock_is_suspect_asks_for_no_votes(stopped: float) -> None:
    w = running()
    w.pause("m2", stopped)
    w.run(stopped - 0.1)
    w.crash("m1")
    w.run_until(lambda: w.said("m2", What.ASKING), limit=8.0)
    lease = w.site.timing.lease
    assert first(w, "m2", What.ASKING) - first(w, "m2", What.WATCHING) >= lease
    assert first(w, "m2", What.DEAD) - first(w, "m2", What.WATCHING) < lease, "it would have had a reason before"


def test_a_paused_stand_by_only_says_what_it_sees() -> None:
    w = running()
    w.act("m2", lambda member, now: member.pause(now))
    w.act("m2", lambda member, now: member.pause(now))
    w.crash("m1")
    w.run(10.0)
    assert w.said("m2", What.DEAD) and not w.said("m2", What.ASKING)
    assert len(w.said("m2", What.PAUSED)) == 1
    w.act("m2", lambda member, now: member.resume(now))
    w.run_until(lambda: w.settled() == "m2", limit=5.0)


def test_an_election_is_called_off_when_the_leader_is_heard_again() -> None:
    w = running()
    w.cut("m1", "m2", both=False)
    for agent in w.site.agents:
        w.cut(agent, "m2", both=False)
    w.run_until(lambda: w.said("m2", What.ASKING), limit=5.0)
    w.heal()
    w.run(3.0)
    assert w.said("m2", What.CALLED_OFF) == ["m2 stops asking for votes: m1 is active"]
    assert w.settled() == "m1" and w.member("m2").candidate.election is None
