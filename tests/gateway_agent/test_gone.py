"""How long an agent keeps what ended, and what it tells of it: a call record may depend on it and on nothing else."""

from __future__ import annotations

from typing import Any

from tests.gateway_agent.bed import SDP, Bed, proof_of


def ended(bed: Bed, call_id: str = "dev-1") -> None:
    """A call that m1 has answered and seen end."""
    branch = f"z9hG4bK{call_id}"
    bed.request("INVITE", body=SDP, call_id=call_id, branch=branch)
    bed.take(100)
    invite = bed.m1.take("INVITE")
    bed.m1.reply(invite, 486)
    refusal = bed.take(486)
    bed.m1.take("ACK")
    bed.request("ACK", to_tag=refusal.to_tag, call_id=call_id, branch=branch)


def given_up(bed: Bed) -> None:
    """A call for which no server was there."""
    bed.request("INVITE", body=SDP)
    bed.take(100)
    bed.run(9)
    bed.take(503)


def told(bed: Bed) -> list[dict[str, Any]]:
    return [record for record in bed.m2.list if "call-id" in record]


def test_a_server_that_rules_after_a_long_gap_is_told_before_its_beats_count() -> None:
    bed = Bed()
    ended(bed)
    bed.kill(bed.m1)
    bed.run(60)
    bed.core.connections.voter.participant.offer(proof_of(2, "m2"), bed.now)
    bed.core.connections.pump(bed.now)
    bed.pump()
    bed.m2.epoch = 2
    bed.m2.beat()
    assert bed.core.connections.voter.silent_for(bed.now) == 0.0
    assert bed.m2.subscribe(epoch=2) == 200
    [record] = told(bed)
    assert record["state"] == "terminated" and 59 < record["ended"]["ago"] < 62


def test_what_no_server_saw_is_kept_until_one_was_told_however_long_one_is_heard() -> None:
    bed = Bed()
    assert bed.m1.flow is not None
    bed.core.connections.ear.lost(bed.m1.flow, bed.now)
    given_up(bed)
    bed.run(40)
    bed.m1.beat()
    assert len(bed.core.gone) == 1
    assert bed.m2.subscribe(epoch=2) == 200
    [record] = told(bed)
    assert (record["call-state"], record["ended"]["by"], record["ended"]["status"]) == ("", "agent", 503)


def test_what_was_told_is_kept_as_long_as_the_server_may_need_to_write_it_down() -> None:
    bed = Bed()
    ended(bed)
    bed.kill(bed.m1)
    bed.run(100)
    assert bed.m2.subscribe(epoch=2) == 200
    bed.run(20)
    bed.m2.beat()
    assert len(bed.core.gone) == 1
    bed.run(15)
    bed.m2.beat()
    assert not bed.core.gone


def test_the_last_ones_to_end_are_told_first() -> None:
    bed = Bed()
    for name in ("one", "two", "three"):
        ended(bed, name)
        bed.run(1)
    bed.kill(bed.m1)
    assert bed.m2.subscribe(epoch=2) == 200
    ages = [record["ended"]["ago"] for record in told(bed)]
    assert len(ages) == 3 and ages == sorted(ages)
