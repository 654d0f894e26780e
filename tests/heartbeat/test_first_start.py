"""A site that was started without `b2bua init`: how it gets its voters while it runs."""

from __future__ import annotations

import pytest

from heartbeat import first_start
from heartbeat.decision import What
from tests.heartbeat.ballot_world import World, membership, running


def _uninitialised(*names: str, agents: int = 2) -> World:
    w = World(membership(agents), init=())
    w.start(*(names or tuple(w.hosts)))
    w.run(6.0)
    assert w.holders() == []
    return w


def _init(w: World, name: str) -> str:
    return str(w.act(name, lambda member, now: first_start.begin(member.participant, member.cluster, now)))


def test_init_works_beside_running_nodes_and_the_site_can_fail_over() -> None:
    w = _uninitialised()
    assert _init(w, "m1") == ""
    w.run_until(lambda: w.settled() == "m1", limit=6.0)
    assert w.mute_voters() == [] and w.member("m1").participant.epoch == 1
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=6.0)


@pytest.mark.parametrize("name", ["m1", "m2"])
def test_init_is_refused_where_the_site_has_a_past(name: str) -> None:
    w = running()
    assert "has been started before" in _init(w, name)
    w.lose_file(name)
    w.crash("m1")
    w.start(name)
    w.run(1.0)
    assert "the site has been started before" in _init(w, name)


def test_two_servers_that_are_both_told_so_win_one_epoch_each_at_most() -> None:
    w = _uninitialised()
    assert _init(w, "m1") == "" and _init(w, "m2") == ""
    w.run(20.0)
    assert len(w.holders()) == 1 and w.settled()


def test_force_on_a_site_without_voters_installs_them() -> None:
    w = _uninitialised()
    assert w.act("m1", lambda member, now: member.force(now)) == ""
    w.run_until(lambda: w.settled() == "m1", limit=6.0)
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=6.0)


def test_force_installs_those_who_are_there_and_the_others_follow() -> None:
    w = _uninitialised("m1", "gw1", agents=3)
    assert w.act("m1", lambda member, now: member.force(now)) == ""
    w.run_until(lambda: w.holders() == ["m1"], limit=6.0)
    assert w.said("m1", What.VOTERS) == [
        "the voters are gw1 from now on (generation 1): an operator forces the first start"
    ]
    w.start("m2", "gw2", "gw3")
    w.run(20.0)
    assert w.settled() == "m1" and set(w.member("m1").participant.on_disk.voters.names) == {"gw1", "gw2", "gw3"}
    assert w.mute_voters() == []
    w.crash("m1")
    w.crash("gw1")
    w.run_until(lambda: w.holders() == ["m2"], limit=6.0)


def test_force_that_reaches_nobody_says_what_to_do() -> None:
    w = _uninitialised("m1")
    assert w.act("m1", lambda member, now: member.force(now)) == (
        "m1 reaches no voter (gw1, gw2, m2), and without one no server can ever take over: start the agents, then say"
        " `b2bua init --node m1`"
    )
