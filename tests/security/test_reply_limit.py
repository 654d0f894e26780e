"""What goes back to an address that may be forged: not often, and not much more than came from it."""

from __future__ import annotations

import pytest

from sip.actions import Flow, Send
from sip.overload.address_limit import A_SECOND, AT_ONCE, MOST, AddressLimit
from tests.gateway_agent.agent_fixture import CARRIER, AgentFixture
from tests.security.test_strangers import BAN_NOBODY, METHODS, ODD, asked, register

SHORT = (
    "{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bK1\r\nf:<sip:a>;tag=1\r\nt:<sip:a>\r\ni:1\r\n"
    "CSeq:1 {method}\r\nl:0\r\n\r\n"
)


def answers(fixture: AgentFixture, count: int, flow: Flow, now: float) -> int:
    for index in range(count):
        data = asked("REGISTER", index).replace(b"127.0.0.66", flow.remote[0].encode())
        fixture.core.receive(data, flow, now)
    return len([action for action in fixture.core.to_do() if action.flow == flow])  # type: ignore[union-attr]


def test_an_address_is_answered_so_often_and_no_more() -> None:
    fixture = AgentFixture()
    fixture.core.stack.bans.apply(BAN_NOBODY)
    assert answers(fixture, 2000, ODD, 100.0) == AT_ONCE
    assert answers(fixture, 2000, ODD, 101.0) == A_SECOND
    assert fixture.core.stack.counters["unanswered"] == 4000 - AT_ONCE - A_SECOND
    assert answers(fixture, 10, ODD._replace(remote=("127.0.0.67", 5060)), 101.0) == 10


def test_a_peer_is_answered_more_often_and_a_stream_always() -> None:
    fixture = AgentFixture()
    assert answers(fixture, 2000, CARRIER, 100.0) == 2000
    stream = Flow("tcp", "127.0.0.11:5060#1", ("127.0.0.66", 5060))
    fixture.core.flow_changed(stream, "open", 100.0)
    fixture.core.stack.bans.apply(BAN_NOBODY)
    assert answers(fixture, 2000, stream, 100.0) == 2000


def test_where_a_device_has_proved_itself_more_may_ask() -> None:
    fixture = AgentFixture()
    register(fixture, ODD)
    assert answers(fixture, 2000, ODD, fixture.now) == 2000


def test_addresses_are_forgotten() -> None:
    echoes = AddressLimit()
    for number in range(MOST + 100):
        echoes.allows(str(number), False, 0.0)
    assert len(echoes._buckets) == MOST


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_is_not_many_times_as_long_as_the_request(method: str) -> None:
    fixture = AgentFixture()
    data = SHORT.format(method=method).encode()
    fixture.core.receive(data, ODD, fixture.now)
    sent = [action for action in fixture.core.to_do() if isinstance(action, Send)]
    assert len(sent) <= 1 and sum(len(action.data) for action in sent) <= 4 * len(data)
    assert all(action.flow.remote[0] == "127.0.0.66" for action in sent)
    fixture.run(40)
    assert not [
        action
        for action in fixture.core.to_do()
        if isinstance(action, Send) and action.flow.remote[0] == "127.0.0.66"
    ]
