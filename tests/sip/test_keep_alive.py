"""Devices that registered over UDP are asked something, again and again."""

from __future__ import annotations

from random import Random

import pytest

from sip.actions import Flow, Send
from sip.device.keep_alive import KeepAlive, NatKeepAlive, behind_nat
from sip.wire.framing import PING
from sip.wire.message import Request, Response, parse
from tests.sip.two_stacks import End

UDP = Flow("udp", "127.0.0.1:5060", ("127.0.0.7", 40000))
OTHER = Flow("udp", "127.0.0.1:5060", ("127.0.0.8", 5060))
TCP = Flow("tcp", "in1", ("127.0.0.9", 40000))


def asked(end: End, until: float) -> list[tuple[float, Flow, Request]]:
    """What is sent until then, and when."""
    found = []
    while (at := end.stack.get_timer()) is not None and at <= until:
        end.stack.handle_timer(at)
        for action in end.stack.to_do():
            assert isinstance(action, Send)
            request = parse(action.data)
            assert isinstance(request, Request)
            found.append((at, action.flow, request))
    return found


def test_each_udp_contact_is_asked_within_the_interval_and_not_all_at_one_pace() -> None:
    end = End("x", 1)
    contacts = [("sip:a@10.0.0.7:5060", UDP), ("sip:b@127.0.0.8", OTHER), ("sip:c@127.0.0.9;transport=tcp", TCP)]
    keeper = KeepAlive(end.stack, Random(1), 30.0, lambda now: contacts)
    keeper.changed(0.0)
    keeper.changed(5.0)
    got = asked(end, 300.0)
    assert [flow for _, flow, _ in got] == [UDP, OTHER] * (len(got) // 2)
    times = [at for at, flow, _ in got if flow == UDP]
    waits = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert all(22.5 <= wait <= 30.0 for wait in waits) and len(set(waits)) == len(waits)
    first, second = got[0][2], got[1][2]
    assert (first.method, first.uri, first.get("to")) == ("OPTIONS", "sip:a@10.0.0.7:5060", "<sip:a@10.0.0.7:5060>")
    assert first.call_id == second.call_id and first.cseq < second.cseq and first.branch != second.branch
    assert not end.stack.clients and "contact" in first
    answer = first.to_bytes().replace(b"OPTIONS sip:a@10.0.0.7:5060 SIP/2.0", b"SIP/2.0 404 Not Found")
    end.stack.receive(answer, UDP, 300.0)
    assert end.take() == ["stray 404"] and not end.stack.to_do()


def test_it_rests_while_nobody_is_there_to_be_asked() -> None:
    end = End("x", 1)
    contacts = [("sip:c@127.0.0.9;transport=tcp", TCP)]
    keeper = KeepAlive(end.stack, Random(1), 30.0, lambda now: contacts)
    keeper.changed(0.0)
    assert end.stack.get_timer() is None
    contacts.append(("sip:a@10.0.0.7", UDP))
    keeper.changed(10.0)
    assert len(asked(end, 40.0)) == 1
    contacts.clear()
    assert asked(end, 100.0) == [] and end.stack.get_timer() is None
    keeper.interval = 0.0
    contacts.append(("sip:a@10.0.0.7", UDP))
    keeper.changed(100.0)
    assert end.stack.get_timer() is None


@pytest.mark.parametrize(
    ("via", "behind"),
    [
        ("SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport", False),
        ("SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport=5060;received=10.0.0.1", False),
        ("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport=5060", False),
        ("SIP/2.0/UDP [2001:db8::1];branch=z9hG4bK1;received=2001:DB8:0::1", False),
        ("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;received=192.0.2.1", True),
        ("SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport=41000", True),
        ("", False),
    ],
)
def test_an_answer_says_whether_a_nat_is_before_us(via: str, behind: bool) -> None:
    lines = [f"Via: {via}"] if via else []
    assert behind_nat(Response(200, "OK", ["via"] * len(lines), lines)) == behind


def test_a_nat_is_kept_open_until_it_need_not_be() -> None:
    end = End("x", 1)
    keeper = NatKeepAlive(end.stack, Random(1))
    keeper.keep(None, 0.0)
    assert end.stack.get_timer() is None
    keeper.keep(UDP, 0.0)
    keeper.keep(UDP, 1.0)
    at = 0.0
    for _ in range(3):
        due = end.stack.get_timer()
        assert due is not None and 22.5 <= due - at <= 30.0
        at = due
        end.stack.handle_timer(at)
        assert end.stack.to_do() == [Send(UDP, PING)]
    keeper.keep(OTHER, at)
    keeper.keep(None, at)
    end.stack.handle_timer(at + 60.0)
    assert not end.stack.to_do() and end.stack.get_timer() is None
