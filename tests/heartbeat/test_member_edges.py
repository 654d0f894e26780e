"""What happens seldom: crossings, refusals, nonsense that is signed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.cluster_view import VoterStatus
from heartbeat.decision import Tell, What
from heartbeat.election import Election
from heartbeat.header import STANDBY
from heartbeat.lease import NEVER, Lease, quorum_th
from heartbeat.persistent_state import Granted, Leadership
from heartbeat.proof import VoterList
from heartbeat.reconfiguration import next_change
from tests.heartbeat.ballot_world import World, membership, running
from tests.heartbeat.test_voter import UP, beat, claim, proof, voter

LIST = VoterList(101, ("gw1", "gw2", "m2"), 1)


def test_a_stand_by_that_was_ready_gives_up_when_nobody_lets_go() -> None:
    w = running()
    w.cut("m2", "m1", both=False)
    w.act("m1", lambda member, now: member.switchover("m2", now))
    w.run_until(lambda: w.said("m2", What.READY), limit=2.0)
    w.run(8.0)
    assert w.said("m2", What.CALLED_OFF)[-1] == "m2 was ready, but m1 did not let go"
    assert w.settled() == "m1" and w.member("m1").participant.epoch == 1


def test_a_lost_ready_is_said_again() -> None:
    w = running()
    w.cut("m2", "m1", both=False)
    w.act("m1", lambda member, now: member.switchover("m2", now))
    w.run_until(lambda: w.said("m2", What.READY), limit=2.0)
    w.heal()
    w.run_until(lambda: w.settled() == "m2", limit=2.0)


def test_one_switchover_at_a_time() -> None:
    w = running()
    w.act("m1", lambda member, now: member.switchover("m2", now))
    assert w.act("m1", lambda member, now: member.switchover("m2", now)) == "a switchover to m2 is under way"


def test_a_ruling_server_takes_no_handover() -> None:
    w = running()
    w._deliver("m2", "m1", w.member("m2").participant.stamp("m1", kind="handover", for_epoch=1))
    assert w.settled() == "m1" and w.member("m1").candidate.election is None
    w._deliver("m2", "m1", w.member("m2").participant.stamp("m1", kind="ready", for_epoch=1))
    w.run(1.0)
    assert w.settled() == "m1", "nobody had asked it to be ready"


def test_who_has_a_vote_is_not_readmitted() -> None:
    w = running()
    assert w.act("m1", lambda member, now: member.restore_vote("gw1", now)) == "gw1 has its vote"


@pytest.mark.parametrize(
    "fields, no",
    [
        ({"kind": "handover"}, "agent"),
        ({"kind": "voters", "list": "nonsense"}, "list"),
        ({"kind": "query"}, ""),
        ({"kind": "release", "for_epoch": 1}, ""),
        ({"kind": "beat", "state": "active"}, "unproved"),
        ({"kind": "proof", "state": "active", "proof": "nonsense"}, "unproved"),
        ({"kind": "proof", "state": "active", "proof": proof(9, "m1", 1).text}, "unproved"),
    ],
)
def test_what_an_agent_answers_a_server_that_it_does_not_obey(fields: dict[str, str], no: str) -> None:
    w = running()
    gw1 = w.fence("gw1")
    said = replace(w.member("m2").participant.stamp("gw1"), **fields)
    gw1.receive(said, "m2", w.clock("gw1"))
    [tell] = gw1.to_do()
    assert isinstance(tell, Tell) and tell.answer_to == (said.incarnation, said.seq)
    assert (tell.beat.no, tell.beat.epoch, tell.beat.leader) == (no, 1, "m1")
    assert gw1.leadership.node == "m1"


def test_after_an_opening_a_node_is_heard_whatever_it_counts() -> None:
    w = running()
    gw1, m1 = w.fence("gw1"), w.member("m1")
    restarted = replace(m1.participant.stamp("gw1"), incarnation=1, seq=1, state="standby")
    gw1.receive(restarted, "m1", w.clock("gw1"))
    assert gw1.to_do() == [] and gw1.participant.ignored["replayed"] >= 1
    gw1.participant.opened(restarted)
    gw1.receive(replace(restarted, seq=2), "m1", w.clock("gw1"))
    assert len(gw1.to_do()) == 1


def test_what_a_voter_granted_it_hears_also_before_the_proof() -> None:
    it = voter()
    it.grant(claim(), UP)
    assert it.hear(beat("m2", 8, 4), UP) == ""


def test_the_disk_may_report_late_and_twice() -> None:
    w = running(disk=(0.2, 0.9))
    gw1 = w.fence("gw1")
    before = gw1.participant.on_disk
    gw1.persisted(replace(before, serial=before.serial - 1, leadership=Leadership(0)), w.clock("gw1"))
    assert gw1.participant.on_disk is before


def test_a_leadership_won_too_late_is_not_taken_up() -> None:
    w = running()
    m2, now = w.member("m2"), w.clock("m2")
    m2.receive(replace(w.fence("gw1").participant.stamp("m2", leader="m1"), epoch=9), "gw1", now)
    disk = m2.participant.on_disk
    m2.persisted(replace(disk, serial=99, leadership=Leadership(5, "m2", disk.incarnation)), now)
    w._drain(w.hosts["m2"])
    assert m2.state == STANDBY and w.said("m2")[-1] == "m2 won epoch 5, but m1 rules meanwhile"


def test_a_server_asks_again_for_the_disk_when_its_victory_is_not_written() -> None:
    w = World(membership(1))
    written, writes = w._write, []
    w._write = lambda host, core, persist: writes.append((host, core, persist))  # type: ignore[method-assign]
    w.start_all()
    w.run(3.0)
    for host, core, persist in [item for item in writes if item[0].name == "gw1"]:
        written(host, core, persist)
    w.run(0.2)
    host, core, persist = next(item for item in reversed(writes) if item[0].name == "m1")
    core.not_persisted(persist.state, "the disk is full", host.clock(w.now))
    w._write = written  # type: ignore[method-assign]
    w.run_until(lambda: w.holders() == ["m1"], limit=3.0)


def test_the_quorum_th_newest_answer_decides_and_one_must_be_an_agents() -> None:
    assert quorum_th({"gw1": 5.0, "gw2": 7.0, "m2": 9.0}, 2, ["gw1", "gw2"]) == 7.0
    assert quorum_th({"gw1": 5.0, "m2": 9.0, "m3": 8.0}, 2, ["gw1"]) == 5.0
    assert quorum_th({"m2": 9.0, "m3": 8.0}, 2, ["gw1"]) == NEVER
    assert quorum_th({"gw1": 5.0}, 2, ["gw1"]) == NEVER


def test_the_lease_counts_from_sending_and_only_active_beats() -> None:
    lease = Lease(2.0, LIST, 2, ["gw1", "gw2"])
    for seq, name, active in ((1, "gw1", True), (2, "gw2", True), (3, "m2", False)):
        lease.sent(seq, name, active, seq / 10)
    lease.answered("gw1", 1)
    lease.answered("m2", 3)
    assert lease.until == NEVER and lease.regarded_until == pytest.approx(2.1)
    lease.answered("gw1", 2)
    assert lease.until == NEVER, "an answer by another than was asked"
    lease.sent(4, "gw2", True, 0.4)
    lease.answered("gw2", 4)
    lease.answered("gw2", 4)
    assert lease.until == pytest.approx(2.1)
    assert lease.answering(2.05) == ["gw1", "gw2", "m2"] and lease.answering(2.35) == ["gw2"]


def test_what_was_sent_and_never_answered_is_forgotten() -> None:
    lease = Lease(2.0, LIST, 2, ["gw1"])
    election = Election("test", ["gw1"], 0.0)
    for seq in range(5000):
        lease.sent(seq, "gw1", True, seq * 0.1)
        election.asked(seq, "gw1", seq * 0.1)
    assert len(lease._sent) < 300 and len(election._asked) <= 1025


@pytest.mark.parametrize(
    "generations, lost, readmit, filed, names, admit",
    [
        ({}, (), (), 1, None, ""),
        ({"gw1": 102}, (), (), 1, LIST.names, ""),
        ({}, ("gw1",), (), 1, LIST.names, "gw1"),
        ({}, ("gw1",), ("gw2",), 1, LIST.names, "gw2"),
        ({}, ("gw9",), (), 1, None, ""),
        ({}, (), (), 2, (*LIST.names, "gw3"), "gw3"),
    ],
)
def test_one_change_of_the_list_at_a_time(
    generations: dict[str, int],
    lost: tuple[str, ...],
    readmit: tuple[str, ...],
    filed: int,
    names: tuple[str, ...] | None,
    admit: str,
) -> None:
    change = next_change(LIST, ("gw1", "gw2", "gw3"), filed, 1, generations, lost, readmit)
    if names is None:
        assert change is None
    else:
        assert change is not None and (change.new.names, change.admit) == (names, admit)
        assert change.new.generation == 102


def test_a_change_is_settled_by_a_quorum_of_the_old_list_without_the_admitted() -> None:
    change = next_change(LIST, LIST.names, 1, 1, {}, ("gw1",), ())
    assert change is not None
    assert not change.committed({"gw1": VoterStatus(102, 0), "gw2": VoterStatus(102, 0)})
    assert change.committed({"m2": VoterStatus(102, 0), "gw2": VoterStatus(102, 9)})
    assert not change.superseded({"m2": VoterStatus(102, 0), "gw2": VoterStatus(102, 9)}, 1), (
        "gw2 may have made up a quorum with gw1"
    )
    assert change.superseded({"m2": VoterStatus(102, 0), "gw2": VoterStatus(102, 1)}, 1)


def test_an_epoch_of_a_voter_is_told_to_whom_it_matters() -> None:
    it = voter()
    it.grant(claim(), UP)
    assert it.state.granted[0] == Granted(8, "m2", 4)
    assert (it.state.promised_to_others("m2"), it.state.promised_to_others("m1")) == (7, 8)
