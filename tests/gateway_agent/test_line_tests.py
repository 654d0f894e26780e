"""`b2bua test`: what of a line works, by its agent's own word, and that nothing of it is left at the far end."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_agent.views import command, view
from heartbeat.console.contract import Refused
from tests.gateway_agent.agent_fixture import SDP, AgentFixture

CHALLENGE = ['WWW-Authenticate: Digest realm="carrier", nonce="n1", qop="auth"']
ACCOUNT = 'user = "331"\npassword = { env = "ALICE" }'


def order(fixture: AgentFixture, **params: str) -> str:
    found = command(fixture.core, "test", {"line": "trunk1", **params}, fixture.now)
    fixture.pump()
    return found.id


def steps(fixture: AgentFixture, test: str) -> tuple[str, list[tuple[str, bool, str]]]:
    found: Any = view(fixture.core, "test", {"id": test}, fixture.now)
    return found.state, [(step.name, step.good, step.said) for step in found.steps]


NAMES = ("names", True, "sip:127.0.0.21:5060: 127.0.0.21:5060 by udp")
THERE = ("options", True, "127.0.0.21:5060 by udp: 200 Because")


def test_a_trunk_is_asked_at_each_place() -> None:
    fixture = AgentFixture()
    test = order(fixture)
    asked = fixture.take("OPTIONS")
    assert (asked.uri, asked.get("contact")) == ("sip:127.0.0.21:5060", "<sip:127.0.0.11:5060>")
    assert steps(fixture, test) == ("running", [NAMES])
    with pytest.raises(Refused, match="under way"):
        order(fixture)
    fixture.reply(asked, 200, ["Server: carrier 1.0"])
    assert steps(fixture, test) == ("done", [NAMES, (*THERE[:2], f"{THERE[2]}, carrier 1.0")])


@pytest.mark.parametrize(
    ("status", "good", "said"),
    [(404, True, "404 Because"), (503, False, "503 Because"), (0, False, "no answer within 4 s")],
)
def test_what_says_that_a_place_is_there(status: int, good: bool, said: str) -> None:
    fixture = AgentFixture()
    test = order(fixture)
    asked = fixture.take("OPTIONS")
    if status:
        fixture.reply(asked, status)
    else:
        fixture.run(4.1)
        fixture.inbox.clear()
        fixture.run(30.0)
        assert fixture.silent(), "it is asked no more"
    state, (_, options) = steps(fixture, test)
    assert state == ("done" if good else "failed") and options == ("options", good, f"127.0.0.21:5060 by udp: {said}")


@pytest.mark.parametrize(("status", "good", "said"), [(200, True, "took"), (401, False, "refuses")])
def test_a_challenge_is_answered_once(status: int, good: bool, said: str) -> None:
    fixture = AgentFixture(ACCOUNT)
    test = order(fixture)
    fixture.reply(fixture.take("OPTIONS"), 401, CHALLENGE)
    again = fixture.take("OPTIONS")
    assert 'username="331"' in (again.get("authorization") or "")
    fixture.reply(again, status, CHALLENGE if status == 401 else [])
    assert fixture.silent()
    _, (_, options) = steps(fixture, test)
    assert options[1] is good and options[2].endswith(f"it {said} our credentials")


def called(fixture: AgentFixture, **params: str) -> tuple[str, Any]:
    """A test whose OPTIONS was answered, and its INVITE."""
    test = order(fixture, call="+33166", **params)
    fixture.reply(fixture.take("OPTIONS"), 200)
    return test, fixture.take("INVITE")


def test_a_call_is_hung_up_as_soon_as_it_is_answered() -> None:
    fixture = AgentFixture('to_device.called = [{ match = "+33*", strip = 3, prefix = "0" }]\n' + ACCOUNT)
    test, invite = called(fixture)
    assert invite.uri == "sip:0166@127.0.0.21:5060" and invite.get("from").startswith("<sip:331@127.0.0.11>")
    assert b"m=audio 9 RTP/AVP" in invite.body and b"c=IN IP4 127.0.0.11" in invite.body
    fixture.reply(invite, 180)
    fixture.run(1.0)
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    fixture.take("ACK")
    fixture.reply(fixture.take("BYE"), 200)
    assert steps(fixture, test) == (
        "done",
        [
            NAMES,
            THERE,
            ("call", True, "180 Because after 0.0 s, answered after 1.0 s"),
            ("end", True, "hung up at once: 200 Because"),
        ],
    )
    assert not fixture.core.calls and not fixture.m1.inbox, "servers hear nothing of it"
    fixture.run(40.0)
    assert fixture.silent()


def test_a_call_that_only_rings_is_given_up() -> None:
    fixture = AgentFixture()
    test, invite = called(fixture, ring="5")
    fixture.reply(invite, 183)
    fixture.run(5.1)
    cancel = fixture.take("CANCEL")
    fixture.reply(cancel, 200)
    fixture.reply(invite, 487)
    fixture.take("ACK")
    state, (*_, call, end) = steps(fixture, test)
    assert (state, call[1:], end[1:]) == (
        "done",
        (True, "183 Because after 0.0 s, not answered within 5 s"),
        (True, "given up: 487 Because"),
    )


def test_an_answer_that_crosses_the_cancel_is_hung_up_too() -> None:
    fixture = AgentFixture()
    test, invite = called(fixture, ring="5")
    fixture.reply(invite, 180)
    fixture.run(5.1)
    fixture.take("CANCEL")
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    fixture.take("ACK")
    fixture.reply(fixture.take("BYE"), 200)
    assert steps(fixture, test)[1][-1] == ("end", True, "hung up at once: 200 Because")


def test_a_refusal_is_told_with_its_reason_after_the_challenge_was_answered() -> None:
    fixture = AgentFixture(ACCOUNT)
    test, invite = called(fixture, **{"from": "+33199"})
    assert invite.get("from").startswith("<sip:+33199@")
    fixture.reply(invite, 407, ['Proxy-Authenticate: Digest realm="carrier", nonce="n1", qop="auth"'])
    fixture.take("ACK")
    again = fixture.take("INVITE")
    assert 'username="331"' in (again.get("proxy-authorization") or "")
    fixture.reply(again, 403, ['Reason: Q.850;cause=21;text="no credit"'])
    fixture.take("ACK")
    state, found = steps(fixture, test)
    assert state == "failed" and found[-1] == (
        "call",
        False,
        'refused with 403 Because (Q.850;cause=21;text="no credit")',
    )


def test_a_bye_that_nobody_answers_is_said() -> None:
    fixture = AgentFixture()
    test, invite = called(fixture)
    fixture.reply(invite, 200, ["Content-Type: application/sdp"], SDP)
    fixture.run(9.0)
    state, found = steps(fixture, test)
    assert state == "failed" and "see to it that the far end has no call left" in found[-1][2]


def test_phones_are_asked_and_not_called() -> None:
    fixture = AgentFixture()
    test = order(fixture, line="alice", call="1")
    assert steps(fixture, test) == (
        "failed",
        [
            ("options", False, "no device is registered"),
            ("call", False, "only trunks are called for a test: a phone would ring"),
        ],
    )


@pytest.mark.parametrize("params", [{"line": "nobody"}, {"ring": "0"}, {"ring": "many"}, {"ring": "9999"}])
def test_what_cannot_be_tested(params: dict[str, str]) -> None:
    with pytest.raises(Refused):
        order(AgentFixture(), **params)
    with pytest.raises(Refused):
        view(AgentFixture().core, "test", {"id": "test-9"}, 0.0)
