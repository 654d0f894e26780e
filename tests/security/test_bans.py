"""Who forges addresses keeps off nobody who is here: no phone that is registered, and no party of a call."""

from __future__ import annotations

import logging

import pytest

from sip.actions import Flow
from sip.overload.bans import MOST
from tests.gateway_agent.agent_fixture import ALICE, CARRIER, LISTEN, AgentFixture
from tests.security.test_strangers import ODD, asked, register


def flood(fixture: AgentFixture, source: Flow, times: int = 300) -> None:
    """Forged BYEs of a host that is theirs by the packets."""
    for index in range(times):
        data = asked("BYE", index, tag=";tag=no").replace(b"127.0.0.66", source.remote[0].encode())
        fixture.core.receive(data, source._replace(remote=(source.remote[0], 9)), fixture.now)
    fixture.pump()


def forget(fixture: AgentFixture) -> None:
    """So many others have proved themselves since that it is forgotten who did before; so it is after a restart."""
    for index in range(MOST):
        fixture.core.stack.bans.know(f"10.1.{index >> 8}.{index & 255}", fixture.now)


def test_a_stranger_is_banned() -> None:
    fixture = AgentFixture()
    flood(fixture, ODD)
    assert list(fixture.core.stack.bans.banned) == [ODD.remote[0]]


def test_a_phone_that_is_registered_is_heard_whatever_is_sent_in_its_name() -> None:
    fixture = AgentFixture()
    register(fixture)
    forget(fixture)
    flood(fixture, ALICE)
    assert not fixture.core.stack.bans.banned


def test_a_party_of_a_call_is_heard_whatever_is_sent_in_its_name() -> None:
    """Also one that is at no address of its line's, but was named by it."""
    fixture = AgentFixture()
    fixture.answered_in()
    leg = next(leg for leg in fixture.core.stack.legs.values() if leg.flow == CARRIER)
    elsewhere = CARRIER._replace(remote=("127.0.0.77", 5060))
    leg.path.move(elsewhere)  # type: ignore[attr-defined]
    flood(fixture, elsewhere)
    assert not fixture.core.stack.bans.banned


def test_who_is_here_is_looked_for_once_a_minute_and_no_more() -> None:
    """To look through all calls for each forged packet would be worth forging them."""
    fixture = AgentFixture()
    register(fixture)
    forget(fixture)
    bans, looks = fixture.core.stack.bans, []
    exempt = bans.exempt

    def counted(host: str) -> bool:
        looks.append(host)
        return exempt(host)

    bans.exempt = counted
    flood(fixture, ALICE, 2000)
    assert len(looks) == 1
    fixture.run(61)
    flood(fixture, ALICE, 2000)
    assert len(looks) == 2 and not bans.banned


def test_a_stream_that_cannot_be_read_counts() -> None:
    fixture = AgentFixture()
    for index in range(201):
        flow = Flow("tcp", f"{LISTEN}#{index}", ("127.0.0.66", 40000 + index))
        fixture.core.flow_changed(flow, "open", fixture.now)
        fixture.say(b"no SIP at all " * 6000, flow)
        fixture.core.flow_changed(flow, "lost", fixture.now)
    assert fixture.core.stack.bans.banned["127.0.0.66"].because == "201 unreadable"


def test_each_ban_is_said_for_fail2ban(caplog: pytest.LogCaptureFixture) -> None:
    fixture = AgentFixture()
    with caplog.at_level(logging.WARNING):
        flood(fixture, ODD)
    assert "banned 127.0.0.66 for 600 s: 201 unknown dialog" in caplog.messages
