"""An agent's calls by the Call-IDs of their dialogs, and who is at the other end of its flows."""

from __future__ import annotations

from typing import Any

from gateway_agent.known_calls import known_calls, peer_of
from sip.actions import Flow
from tests.gateway_agent.agent_fixture import SDP, AgentFixture

DEVICE = "dev-1"
"""The Call-ID of the device that calls."""


def known(fixture: AgentFixture, limit: int = 20, **params: str) -> list[Any]:
    return [
        [(leg.call_id, leg.towards) for leg in call.legs] for call in known_calls(fixture.core, params, limit).calls
    ]


def test_a_call_of_a_device_is_known_by_either_dialog_also_when_it_is_over() -> None:
    fixture = AgentFixture()
    fixture.request("INVITE", body=SDP)
    fixture.take(100)
    invite = fixture.m1.take("INVITE")
    legs = [(invite.call_id, "servers"), (DEVICE, "trunk1/1")]
    for name in (invite.call_id, DEVICE, f"x,{DEVICE}"):
        assert known(fixture, id=name) == [legs]
    assert known(fixture, line="trunk1") == known(fixture, line="trunk1/1") == [legs]
    assert known(fixture, line="trunk") == known(fixture, id="x") == known(fixture, failed="yes") == []
    fixture.core.stack.call_ids = type(fixture.core.stack.call_ids)()  # others came since
    assert known(fixture, id=DEVICE) == [legs], "what goes on is known by itself"


def test_a_call_that_failed_is_kept_and_one_that_was_busy_is_not() -> None:
    fixture = AgentFixture()
    kept: list[tuple[str, ...]] = []
    fixture.core.stack.call_ids.keep = lambda call_ids, now: kept.append(call_ids)
    for number, status in enumerate((486, 503)):
        call_id, origin = f"s-{number}", f"gw2;z9hG4bKo{number};1"
        uri = "sip:+33166@gw1;line=trunk1"
        fixture.m1.request("INVITE", uri, ["Call-State: 1.1.c.p.m"], SDP, call_id=call_id, origin=origin)
        fixture.m1.take(100)
        invite = fixture.take("INVITE")
        fixture.reply(invite, status)
        fixture.take("ACK")
        fixture.m1.take(status)
        fixture.run(40)
    assert kept == [("s-1", invite.call_id)]
    assert known(fixture, failed="yes") == [[("s-1", "servers"), (invite.call_id, "trunk1/1")]]


def test_it_is_known_who_has_the_other_end_of_a_flow() -> None:
    fixture = AgentFixture()
    assert {peer_of(fixture.core, flow) for flow in fixture.core.stack.site_flows} == {"m1", "m2"}
    assert peer_of(fixture.core, Flow("udp", "x", ("127.0.0.21", 5060))) == "trunk1"
    assert peer_of(fixture.core, Flow("udp", "x", ("127.0.0.99", 5060))) == ""
