"""The answers to a device's BYE and CANCEL, which wait until a server knows that the call is over."""

from __future__ import annotations

from gateway_agent.held_answers import WITHIN
from sip.wire.message import Request
from tests.gateway_agent.agent_fixture import SDP, AgentFixture


def ringing(fixture: AgentFixture, status: int = 180) -> tuple[str, Request]:
    """A call of the device that rings: its branch, and the INVITE at the server."""
    branch = fixture.request("INVITE", body=SDP)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    fixture.m1.reply(invite, status)
    if status > 100:
        fixture.take(status)
    return branch, invite


def test_a_bye_is_answered_when_the_server_has_answered_it() -> None:
    fixture = AgentFixture(keeps=True)
    _, tag = fixture.answered_in()
    fixture.request("BYE", to_tag=tag, cseq=2)
    bye = fixture.m1.take("BYE")
    assert fixture.silent()
    fixture.m1.reply(bye, 200)
    fixture.take(200)
    fixture.run(2 * WITHIN)
    assert fixture.silent()


def test_a_bye_is_answered_in_time_where_no_server_says_anything() -> None:
    fixture = AgentFixture(keeps=True)
    _, tag = fixture.answered_in()
    fixture.request("BYE", to_tag=tag, cseq=2)
    bye = fixture.m1.take("BYE")
    fixture.run(WITHIN - 0.01)
    assert fixture.silent()
    fixture.run(0.02)
    fixture.take(200)
    fixture.m1.reply(bye, 200)
    assert fixture.silent()


def test_a_cancel_and_its_invite_are_answered_when_the_server_has_given_the_call_up() -> None:
    fixture = AgentFixture(keeps=True)
    branch, invite = ringing(fixture)
    fixture.request("CANCEL", branch=branch)
    cancel = fixture.m1.take("CANCEL")
    fixture.m1.reply(cancel, 200)
    fixture.request("CANCEL", branch=branch)  # T1 is over: it comes again
    assert fixture.silent() and not fixture.m1.inbox
    fixture.m1.reply(invite, 487)
    assert fixture.take(200).cseq_method == "CANCEL"
    fixture.take(487)
    fixture.m1.take("ACK")
    fixture.run(2 * WITHIN)
    assert not fixture.core.calls


def test_a_cancel_and_its_invite_are_answered_in_time_where_no_server_says_anything() -> None:
    fixture = AgentFixture(keeps=True)
    branch, invite = ringing(fixture)
    fixture.request("CANCEL", branch=branch)
    fixture.m1.take("CANCEL")
    fixture.run(WITHIN - 0.01)
    assert fixture.silent()
    fixture.run(0.02)
    fixture.take(200)
    fixture.take(487)
    fixture.m1.reply(invite, 487)
    assert fixture.silent() and not fixture.core.calls


def test_an_answer_that_crosses_the_cancel_ends_the_call_and_the_device_hears_487() -> None:
    fixture = AgentFixture(keeps=True)
    branch, invite = ringing(fixture)
    fixture.request("CANCEL", branch=branch)
    fixture.m1.take("CANCEL")
    fixture.m1.reply(invite, 200, body=SDP, lines=["Content-Type: application/sdp"])
    fixture.m1.take("ACK")
    bye = fixture.m1.take("BYE")
    fixture.m1.reply(bye, 200)
    fixture.take(200)
    fixture.take(487)
    assert not fixture.core.calls


def test_the_servers_death_meanwhile_lets_nobody_wait_longer() -> None:
    fixture = AgentFixture(keeps=True)
    branch, _ = ringing(fixture)
    fixture.request("CANCEL", branch=branch)
    fixture.kill(fixture.m1)
    fixture.run(WITHIN + 0.01)
    fixture.take(200)
    fixture.take(487)


def test_without_a_server_answers_go_at_once() -> None:
    fixture = AgentFixture(keeps=True)
    branch, _ = ringing(fixture)
    fixture.kill(fixture.m1)
    fixture.request("CANCEL", branch=branch)
    fixture.take(200)
    fixture.take(487)


def test_answers_go_at_once_where_the_server_keeps_nothing() -> None:
    fixture = AgentFixture()
    branch, _ = ringing(fixture)
    fixture.request("CANCEL", branch=branch)
    fixture.take(200)
    fixture.take(487)
    _, tag = AgentFixture.answered_in(other := AgentFixture())
    other.request("BYE", to_tag=tag, cseq=2)
    other.take(200)


def test_a_cancel_of_a_change_is_answered_at_once() -> None:
    fixture = AgentFixture(keeps=True)
    _, tag = fixture.answered_in()
    branch = fixture.request("INVITE", body=SDP, to_tag=tag, cseq=2)
    fixture.take(100)
    fixture.m1.take("INVITE")
    fixture.request("CANCEL", branch=branch, to_tag=tag, cseq=2)
    assert fixture.take(200).cseq_method == "CANCEL"
