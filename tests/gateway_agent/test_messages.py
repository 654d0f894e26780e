"""MESSAGE outside calls at an agent (RFC 3428): whose it is, to which devices it goes, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from sip.wire.message import Request, Response
from tests.gateway_agent.agent_fixture import ALICE, SITE, AgentFixture
from tests.gateway_agent.test_phone import AOR, DESK, proved, register

PASS = 'messages = "pass"'
PHONES = SITE.replace('numbers = ["1001"]', f'numbers = ["1001"]\n{PASS}')
KEYED = 'messages = "pass"\nuser = "gw"\npassword = { env = "ALICE" }'


def message(fixture: AgentFixture, to: str, origin: str = "gw2;z9hG4bKm;1") -> None:
    lines = ["Content-Type: text/plain"]
    fixture.m1.request("MESSAGE", to, lines, b"Hello", call_id=f"s{origin}", origin=origin)


def phones() -> AgentFixture:
    fixture = AgentFixture(text=PHONES)
    for flow in (ALICE, DESK):
        assert register(fixture, flow) == 200
    return fixture


def test_a_phone_s_message_is_challenged_and_goes_to_the_servers_with_its_line() -> None:
    fixture = phones()
    fields: dict[str, Any] = {"flow": ALICE, "sender": AOR, "recipient": "<sip:+33166@paris>", "call_id": "m1"}
    fixture.request("MESSAGE", "sip:+33166@paris", body=b"Hi", cseq=1, **fields)
    line = proved(fixture, fixture.take(407, ALICE), "MESSAGE", "sip:+33166@paris")
    fixture.request("MESSAGE", "sip:+33166@paris", [line], b"Hi", cseq=2, **fields)
    asked = fixture.m1.take("MESSAGE")
    assert (asked.get("line"), asked.body, "proxy-authorization" in asked) == ("alice", b"Hi", False)
    assert asked.call_id != "m1" and asked.from_untagged.startswith("<sip:")
    fixture.m1.reply(asked, 202)
    assert fixture.take(202, ALICE).call_id == "m1"
    assert not fixture.core.devices.messages.waiting


def test_a_line_that_does_not_pass_messages_says_so() -> None:
    fixture = AgentFixture()
    fixture.request("MESSAGE", body=b"Hi")
    assert "MESSAGE" not in (fixture.take(405).get("allow") or "MESSAGE")
    message(fixture, "sip:+33166@gw1;line=trunk1")
    fixture.m1.take(405)
    message(fixture, "sip:1@gw1;line=nowhere", "gw2;z9hG4bKn;1")
    fixture.m1.take(404)


def test_all_devices_of_a_phone_get_it_and_the_first_that_takes_it_answers() -> None:
    fixture = phones()
    message(fixture, "sip:1001@gw1;line=alice")
    one, other = fixture.take("MESSAGE", ALICE), fixture.take("MESSAGE", DESK)
    fixture.reply(one, 480, flow=ALICE)
    assert not fixture.m1.inbox
    fixture.reply(other, 200, flow=DESK)
    fixture.m1.take(200)


def test_when_no_device_takes_it_the_answer_is_that_of_the_last() -> None:
    fixture = phones()
    message(fixture, "sip:1001@gw1;line=alice")
    fixture.reply(fixture.take("MESSAGE", ALICE), 480, flow=ALICE)
    fixture.reply(fixture.take("MESSAGE", DESK), 415, flow=DESK)
    fixture.m1.take(415)


@pytest.mark.parametrize("answered", [False, True])
def test_what_a_server_sends_again_comes_once(answered: bool) -> None:
    fixture = AgentFixture(PASS)
    message(fixture, "sip:+33166@gw1;line=trunk1")
    asked: Request = fixture.take("MESSAGE")
    if answered:
        fixture.reply(asked, 200)
        fixture.m1.take(200)
    message(fixture, "sip:+33166@gw1;line=trunk1")
    if not answered:
        fixture.reply(asked, 200)
    fixture.m1.take(200)
    assert fixture.silent()


@pytest.mark.parametrize("knows", [True, False])
def test_a_carrier_s_challenge_is_answered_here_once(knows: bool) -> None:
    fixture = AgentFixture(KEYED if knows else PASS)
    message(fixture, "sip:+33166@gw1;line=trunk1")
    first: Request = fixture.take("MESSAGE")
    challenge = ['WWW-Authenticate: Digest realm="carrier", nonce="n1"']
    fixture.reply(first, 401, challenge)
    if not knows:
        assert isinstance(fixture.m1.take(403), Response)
        return
    second: Request = fixture.take("MESSAGE")
    assert 'username="gw"' in (second.get("authorization") or "") and second.body == b"Hello"
    assert (second.call_id, second.from_tag, second.cseq) == (first.call_id, first.from_tag, first.cseq + 1)
    fixture.reply(second, 401, challenge)
    fixture.m1.take(403)
    assert fixture.silent()
