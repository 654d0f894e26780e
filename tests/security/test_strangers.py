"""What strangers make grow: nothing. And what they make us say in the log: little."""

from __future__ import annotations

import logging

import pytest

from sip.actions import Flow
from sip.overload.bans import BanPolicy
from sip.rate_limited_logger import RateLimitedLogger
from tests.b2bua.fake import Bench
from tests.b2bua.fake import site_of as server_site
from tests.gateway_agent.agent_fixture import ALICE, LISTEN, SDP, AgentFixture
from tests.security.test_impostors import LOCAL, SITE, STRANGER
from tests.sip.two_stacks import End

ODD = Flow("udp", LISTEN, ("127.0.0.66", 5060))
BAN_NOBODY = BanPolicy(after=0.0)
"""What a stranger costs who goes on being answered."""
METHODS = "OPTIONS REGISTER INVITE BYE CANCEL INFO MESSAGE SUBSCRIBE NOTIFY PUBLISH UPDATE PRACK REFER FOO".split()


def asked(method: str, index: int, more: str = "", tag: str = "") -> bytes:
    return (
        f"{method} sip:alice@x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.66:5060;branch=z9hG4bKs{index};rport\r\n"
        f"From: <sip:a@x>;tag=f\r\nTo: <sip:alice@paris>{tag}\r\nCall-ID: s{index}\r\nCSeq: 1 {method}\r\n"
        f"Contact: <sip:a@127.0.0.66>\r\nMax-Forwards: 70\r\n{more}Content-Length: 0\r\n\r\n"
    ).encode()


def register(fixture: AgentFixture, flow: Flow = ALICE) -> None:
    """Alice registers with her password."""
    from random import Random

    from sip.digest import DigestClient, Refusal

    client = DigestClient("alice", "secret", Random(1))
    uri = "sip:paris"
    fixture.request(
        "REGISTER", uri, flow=flow, recipient="<sip:alice@paris>", sender="<sip:alice@paris>", call_id="r"
    )
    answer = client.answer(fixture.take(401, flow), "REGISTER", uri)
    assert not isinstance(answer, Refusal)
    lines = [answer[0].line, "Expires: 3600"]
    fixture.request(
        "REGISTER",
        uri,
        lines,
        flow=flow,
        recipient="<sip:alice@paris>",
        sender="<sip:alice@paris>",
        call_id="r",
        cseq=2,
    )
    fixture.take(200, flow)


@pytest.mark.parametrize("tag", ["", ";tag=no"])
def test_no_request_of_a_stranger_leaves_anything_at_an_agent(tag: str) -> None:
    fixture = AgentFixture()
    register(fixture)
    fixture.run(40)
    stack = fixture.core.stack
    stack.bans.apply(BAN_NOBODY)
    before = (len(stack.servers), len(stack.legs), len(stack.deadlines))
    for index, method in enumerate(METHODS * 20):
        fixture.say(asked(method, index, tag=tag), ODD)
    one_for_all_challenged = 1
    assert (len(stack.servers), len(stack.legs)) == before[:2]
    assert len(stack.deadlines) <= before[2] + one_for_all_challenged
    assert len(fixture.inbox[ODD]) == 20 * len(METHODS)


@pytest.mark.parametrize("tag", ["", ";tag=no"])
def test_no_request_of_a_stranger_leaves_anything_at_a_server(tag: str) -> None:
    bench = Bench(server_site(SITE)).serve()
    bench.core.stack.bans.apply(BAN_NOBODY)
    before = bench.stack_sizes
    for index, method in enumerate(METHODS * 20):
        bench.core.receive(asked(method, index, tag=tag), STRANGER, bench.now)
    bench.pump()
    assert {**bench.stack_sizes, "deadlines": 0} == {**before, "deadlines": 0}
    assert len(bench.stray) == 20 * len(METHODS)


def test_beyond_the_bound_only_known_dialogs_are_served() -> None:
    end = End("b", 5002)
    end.stack.receiver.most_servers = 30
    for index in range(60):
        host = f"127.0.0.{60 + index}"
        data = asked("MESSAGE", index).replace(b"127.0.0.66", host.encode())
        end.stack.receive(data, Flow("udp", end.local, (host, 5060)), 0.0)
    assert len(end.stack.servers) == 30 and end.stack.counters["overload"] == 30
    assert sum(b" 503 " in action.data for action in end.stack.to_do()) == 30  # type: ignore[union-attr]


def test_the_log_of_strangers_is_short(caplog: pytest.LogCaptureFixture) -> None:
    fixture = AgentFixture()
    with caplog.at_level(logging.INFO):
        for index in range(500):
            fixture.request("INVITE", flow=ODD, body=SDP, call_id=f"x{index}")
    assert len(caplog.records) < 30


def test_lines_left_out_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    limited_logger, logger = RateLimitedLogger(), logging.getLogger("seldom")
    with caplog.at_level(logging.INFO):
        for _ in range(30):
            limited_logger.info(logger, 5.0, "%s", "no")
        limited_logger.warning(logger, 7.0, "%s", "no")
    assert len(caplog.records) == 21 and caplog.messages[-1] == "no (10 more lines like it were left out)"


def test_a_broken_stream_of_a_stranger_is_forgotten() -> None:
    fixture = AgentFixture()
    known = len(fixture.core.stack.sent_by)
    for index in range(5):
        flow = Flow("tcp", f"{LISTEN}#{index}", ("127.0.0.66", 40000 + index))
        fixture.core.flow_changed(flow, "open", fixture.now)
        fixture.say(b"OPTIONS sip:x SIP/2.0\r\nContent-Length: no\r\n\r\n", flow)
        assert any(action == flow for action in fixture.closed)
        fixture.core.flow_changed(flow, "lost", fixture.now)  # what a transport says of a Close that wants to be told
    assert len(fixture.core.stack.sent_by) == known


def test_what_follows_a_fault_in_a_stream_is_not_read() -> None:
    end = End("b", 5002, "tcp")
    flow = Flow("tcp", "x#1", ("127.0.0.66", 4000))
    end.stack.unauthenticated_flows.add(flow)
    end.stack.receive(asked("OPTIONS", 1) + b"X: y\r\n\r\n" + asked("OPTIONS", 2), flow, 0.0)
    assert end.heard == ["asked to admit"]
    assert LOCAL
