"""How long an agent keeps what ended, and what it tells of it: a call record may depend on it and on nothing else."""

from __future__ import annotations

from typing import Any

from tests.gateway_agent.agent_fixture import SDP, AgentFixture, proof_of


def ended(fixture: AgentFixture, call_id: str = "dev-1") -> None:
    """A call that m1 has answered and seen end."""
    branch = f"z9hG4bK{call_id}"
    fixture.request("INVITE", body=SDP, call_id=call_id, branch=branch)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    fixture.m1.reply(invite, 486)
    refusal = fixture.take(486)
    fixture.m1.take("ACK")
    fixture.request("ACK", to_tag=refusal.to_tag, call_id=call_id, branch=branch)


def given_up(fixture: AgentFixture) -> None:
    """A call for which no server was there."""
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    fixture.run(9)
    fixture.take(503)


def told(fixture: AgentFixture) -> list[dict[str, Any]]:
    return [record for record in fixture.m2.list if "call-id" in record]


def test_a_server_that_rules_after_a_long_gap_is_told_before_its_beats_count() -> None:
    fixture = AgentFixture()
    ended(fixture)
    fixture.kill(fixture.m1)
    fixture.run(60)
    fixture.core.connections.voter.participant.offer(proof_of(2, "m2"), fixture.now)
    fixture.core.connections.pump(fixture.now)
    fixture.pump()
    fixture.m2.epoch = 2
    fixture.m2.beat()
    assert fixture.core.connections.voter.silent_for(fixture.now) == 0.0
    assert fixture.m2.subscribe(epoch=2) == 200
    [record] = told(fixture)
    assert record["state"] == "terminated" and 59 < record["ended"]["ago"] < 62


def test_what_no_server_saw_is_kept_until_one_was_told_however_long_one_is_heard() -> None:
    fixture = AgentFixture()
    assert fixture.m1.flow is not None
    fixture.core.connections.callbacks.lost(fixture.m1.flow, fixture.now)
    given_up(fixture)
    fixture.run(40)
    fixture.m1.beat()
    assert len(fixture.core.gone) == 1
    assert fixture.m2.subscribe(epoch=2) == 200
    [record] = told(fixture)
    assert (record["call-state"], record["ended"]["by"], record["ended"]["status"]) == ("", "agent", 503)


def test_what_was_told_is_kept_as_long_as_the_server_may_need_to_write_it_down() -> None:
    fixture = AgentFixture()
    ended(fixture)
    fixture.kill(fixture.m1)
    fixture.run(100)
    assert fixture.m2.subscribe(epoch=2) == 200
    fixture.run(20)
    fixture.m2.beat()
    assert len(fixture.core.gone) == 1
    fixture.run(15)
    fixture.m2.beat()
    assert not fixture.core.gone


def test_the_last_ones_to_end_are_told_first() -> None:
    fixture = AgentFixture()
    for name in ("one", "two", "three"):
        ended(fixture, name)
        fixture.run(1)
    fixture.kill(fixture.m1)
    assert fixture.m2.subscribe(epoch=2) == 200
    ages = [record["ended"]["ago"] for record in told(fixture)]
    assert len(ages) == 3 and ages == sorted(ages)


def test_what_the_server_could_not_write_down_is_kept_until_it_has() -> None:
    fixture = AgentFixture()
    ended(fixture)
    fixture.run(40)
    fixture.m1.beat(unwritten=39.5)
    assert len(fixture.core.gone) == 1, "its disk is full"
    fixture.run(600)
    fixture.m1.beat(unwritten=610.0)
    assert len(fixture.core.gone) == 1
    fixture.run(1)
    fixture.m1.beat(unwritten=5.0)
    assert not fixture.core.gone


def test_a_server_that_died_before_it_wrote_down_what_it_was_told_leaves_it_to_the_next() -> None:
    fixture = AgentFixture()
    ended(fixture)
    fixture.kill(fixture.m1)
    assert fixture.m2.subscribe(epoch=2) == 200
    fixture.kill(fixture.m2)
    fixture.run(100)
    given_up(fixture)
    assert fixture.core.gone[0].record.dialog.call_id, "m2 was told, and not heard since"
    assert len(fixture.core.gone) == 2
