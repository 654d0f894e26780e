"""What happens seldom: crossings, refusals, nonsense that is signed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.decision import Tell, What
from heartbeat.header import STANDBY, Beat
from heartbeat.persistent_state import Leadership
from tests.heartbeat.ballot_world import Host, World, membership, running
from tests.heartbeat.test_voter import UP, beat, claim, proof, voter


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
    gw1 = w.voter("gw1")
    said = replace(w.member("m2").participant.stamp("gw1"), **fields)
    gw1.receive(said, "m2", w.clock("gw1"))
    [tell] = gw1.to_do()
    assert isinstance(tell, Tell) and tell.answer_to == (said.start, said.seq)
    assert (tell.beat.no, tell.beat.epoch, tell.beat.leader) == (no, 1, "m1")
    assert gw1.leadership.node == "m1"


def test_after_an_opening_a_node_is_heard_whatever_it_counts() -> None:
    w = running()
    gw1, m1 = w.voter("gw1"), w.member("m1")
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
    gw1 = w.voter("gw1")
    before = gw1.participant.on_disk
    gw1.persisted(replace(before, serial=before.serial - 1, leadership=Leadership(0)), w.clock("gw1"))
    assert gw1.participant.on_disk is before


def test_a_leadership_won_too_late_is_not_taken_up() -> None:
    w = running()
    m2, now = w.member("m2"), w.clock("m2")
    m2.receive(replace(w.voter("gw1").participant.stamp("m2", leader="m1"), epoch=9), "gw1", now)
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


def test_no_vote_is_requested_on_a_list_that_went_with_another_leadership() -> None:
    """Its number beside the epoch of the leader that was adopted meanwhile would say that it is that leader's."""
    w = running()
    w.crash("m1")
    w.run_until(lambda: w.member("m2").candidate.phase == "requesting", limit=10.0)
    w.isolate("m2")  # no grant comes
    node = w.member("m2").participant
    before = node.voter.state.voters
    later = before.next(1, before.names, before.filed)
    assert later is not None
    elected = proof(2, "m1", 9, by=before.names, voters=later)
    assert w.act("m2", lambda member, now: member.participant.offer(elected, now)) == ""
    w.run_until(lambda: node.outbox.leadership.epoch == 2, limit=1.0)
    asked: list[Beat] = []
    send = w._send

    def note(host: Host, tell: Tell) -> None:
        asked.extend([tell.beat] if isinstance(tell.beat, Beat) and tell.beat.kind == "grant" else [])
        send(host, tell)

    w._send = note  # type: ignore[method-assign]
    w.run(6.0)
    assert not [one for one in asked if one.epoch == 2 and one.list == before.text]
    assert (node.voter.state.voters, node.voter.state.leadership.epoch) == (later, 2)
