"""What an operator reads at night: each trouble is told once, in one sentence that names its cause."""

from __future__ import annotations

from dataclasses import replace

from heartbeat.decision import What
from tests.heartbeat.ballot_world import World, membership, running


def test_a_server_that_was_stopped_says_so_and_does_not_blame_the_voters() -> None:
    w = running()
    w.cut("m2", "gw1")
    w.pause("m1", 2.2)
    w.run(2.2)
    w.run_until(lambda: w.said("m1", What.HOLDING), limit=0.5)
    [holding] = w.said("m1", What.HOLDING)
    assert holding.startswith("m1 holds under epoch 1: it was stopped itself, for ") and "voters" not in holding


def test_a_full_disk_is_told_once_and_so_is_its_end() -> None:
    w = running(membership(1))
    write = w._write
    w._write = lambda host, core, persist: core.not_persisted(  # type: ignore[method-assign]
        persist.state, "no space left", host.clock(w.now)
    )
    w.act("m1", lambda member, now: member.switchover("m2", now))
    w.run(20.0)
    assert w.said("gw1", What.DISK) == ["gw1 cannot keep its epochs: no space left"]
    w._write = write  # type: ignore[method-assign]
    w.run_until(w.settled, limit=10.0)
    w.run(1.0)
    assert w.said("gw1", What.DISK)[1:] == ["gw1 can keep its epochs again"]


def test_a_cut_between_the_servers_is_told_as_what_it_is() -> None:
    w = running()
    w.cut("m1", "m2")
    w.run(60.0)
    suspect, cut = w.said("m2", What.SUSPECT, What.CUT)
    assert suspect.startswith("m1 is suspect: no heartbeat for 0.8 s")
    assert cut == "m1 is suspect: no heartbeat comes here, but 2 agents hear it: the way between the servers is cut"


def test_a_suspicion_that_lasts_costs_little() -> None:
    w = running(membership(100))
    w.run(1.0)
    quiet = w.sent
    w.run(20.0)
    quiet = w.sent - quiet
    w.cut("m1", "m2")
    w.run(5.0)
    asking = w.sent
    w.run(20.0)
    assert w.said("m2", What.ASKING) == []
    assert w.sent - asking < 1.5 * quiet


def test_who_was_never_heard_cannot_be_readmitted() -> None:
    w = World(membership(3))
    w.start("m1", "m2", "gw1", "gw2")
    w.run(6.0)
    readmit = w.act("m1", lambda member, now: member.restore_vote("gw3", now))
    assert readmit == "nothing was heard of gw3 yet; start it first"


def test_a_server_whose_start_counter_fell_is_told_of_once() -> None:
    w = running()
    m1, m2 = w.member("m1"), w.member("m2")
    old = replace(m2.participant.stamp("m1"), incarnation=3)
    for seq in range(1, 9):
        m1.receive(replace(old, seq=seq), "m2", w.clock("m1"))
    w._drain(w.hosts["m1"])
    assert w.said("m1", What.REFUSED) == [
        "m2 is not heard: it says that this is its start 3, after 1000001: it runs from an old epoch file, or lost"
        " its file while its clock was behind; stop it, set its clock, move the file away and start it again"
    ]


def test_pausing_twice_is_told_once() -> None:
    w = running()
    for _ in range(2):
        w.act("m2", lambda member, now: member.pause(now))
    for _ in range(2):
        w.act("m2", lambda member, now: member.resume(now))
    assert len(w.said("m2", What.PAUSED)) == len(w.said("m2", What.RESUMED)) == 1


def test_a_main_that_came_back_without_ruling_is_not_called_silent() -> None:
    w = running(membership(3))
    for voter in ("gw1", "gw2", "gw3"):
        w.cut("m1", voter)
    w.crash("m1")
    w.start("m1")
    w.run_until(lambda: w.settled() == "m2" or w.said("m2", What.DEAD), limit=4.0)
    assert w.said("m2", What.DEAD)[0].startswith(
        "m1 rules no more: it says that it is standby, and sent no active heartbeat for"
    )


def test_a_server_without_a_quorum_says_which_votes_it_lacks() -> None:
    w = running(membership(3))
    for name in ("m1", "gw1", "gw2"):
        w.crash(name)
    w.run(20.0)
    asks, lacks = w.said("m2", What.ASKING)
    assert asks == "m2 asks for votes: m1 is dead"
    assert lacks == "m2 has no quorum yet: 1 of 3 for it, 2 needed; gw1: no answer yet; gw2: no answer yet"
    w.lose_file("gw1")
    w.start("gw1")
    w.run(20.0)
    assert w.said("m2", What.ASKING)[2:] == [
        "m2 has no quorum yet: 1 of 3 for it, 2 needed; gw1: it has no vote; gw2: no answer yet"
    ]
    w.start("gw2")
    w.run_until(lambda: w.holders() == ["m2"], limit=6.0)


def test_a_first_start_without_a_quorum_says_who_is_missing() -> None:
    w = World(membership(3))
    w.start("m1", "gw1")
    w.run(8.0)
    assert w.said("m1", What.ASKING) == [
        "m1 asks for votes: m1 hears nobody who rules",
        "m1 has no quorum yet: 1 of 3 for it, 2 needed; gw2: no answer yet; gw3: no answer yet",
    ]


def test_a_server_that_waits_for_every_vote_says_so() -> None:
    w = running(membership(3))
    w.crash("m1")
    w.run_until(lambda: w.settled() == "m2", limit=6.0)
    w.start("m1")
    w.run(3.0)
    w.member("m1").cluster.changed_at = w.clock("m1")
    w.crash("m2")
    for after in range(1, 12):
        w.later(after, lambda: (w.crash("gw3"), w.start("gw3")))
    w.run(12.0)
    assert w.said("m1", What.ASKING)[-1].startswith(
        "m1 has no quorum yet: 2 of 3 for it, 2 needed; gw3: it is not up long enough;"
        " every voter that is there is needed for another "
    )


def test_a_holding_server_tells_a_voter_that_is_mute_from_one_that_is_off() -> None:
    w = running(membership(3))
    w.crash("gw2")
    w.lose_file("gw1")
    w.start("gw1")
    w.run(4.0)
    assert w.said("m1", What.HOLDING) == [
        "m1 holds under epoch 1: only 1 of 3 voters answer (gw3), 2 are needed; gw1 has no vote"
    ]
