"""How much a process remembers of its messages, and what it shows of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbeat.console.contract import Refused
from heartbeat.site.model import Trace
from heartbeat.tracing import MEGABYTE, MOST_BYTES, MOST_MESSAGES, Tracing, local_of
from sip.actions import Flow
from sip.message_ring import Note
from tests.heartbeat.test_site_load import site
from tests.sip.two_stacks import End

DEVICE = Flow("udp", "127.0.0.1:5060", ("127.0.0.7", 5099))
AGENT = Flow("tcp", "[::1]:5161#4", ("::1", 40000))


class Pump:
    """What messages pass on their way out."""

    note: Note | None = None


def tracing_of(end: End, pump: Pump) -> Tracing:
    return Tracing("m1", end.stack, pump, lambda flow: "gw1" if flow == AGENT else "", site())


def test_a_process_notes_messages_as_the_site_file_says() -> None:
    end, pump, usual = End("a", 5061), Pump(), site()
    assert usual.trace == Trace(memory=16)
    tracing = tracing_of(end, pump)
    receiver = end.stack.receiver
    assert receiver.note is not None and pump.note is not None
    receiver.note(b"x" * 1000, DEVICE, 1.0, False)
    pump.note(b"y" * 1000, DEVICE, 2.0, True)
    assert [each.data[:1] for each in tracing.ring] == [b"x", b"y"]
    tracing.apply(usual)
    assert len(list(tracing.ring)) == 2, "a reload that changes nothing forgets nothing"
    tracing.apply(replace(usual, trace=Trace(memory=1)))
    for at in range(5000):
        receiver.note(b"z" * 1000, DEVICE, float(at), False)
    assert 0.5 * MEGABYTE < tracing.ring.size < MEGABYTE
    tracing.apply(replace(usual, trace=Trace(memory=0)))
    assert receiver.note is None and pump.note is None and list(tracing.ring) == []
    assert tracing.view({"id": "x"}).memory == 0


def test_messages_are_shown_by_call_id_or_by_the_call_that_their_token_names() -> None:
    end, pump = End("a", 5061), Pump()
    tracing = tracing_of(end, pump)
    assert pump.note is not None
    for at, (flow, text) in enumerate(
        [
            (DEVICE, "INVITE sip:b SIP/2.0\r\nCall-ID: d1\r\nAuthorization: Digest response=abcd\r\n\r\n"),
            (AGENT, "INVITE sip:b SIP/2.0\r\nCall-ID: s1\r\nCall-State: 1.2.c0ffee.payload.mac\r\n\r\n"),
            (AGENT, "INVITE sip:b SIP/2.0\r\nCall-ID: s2\r\nVia: SIP/2.0/UDP 1.1.nobody.x\r\n\r\n"),
            (AGENT, 'NOTIFY sip:b SIP/2.0\r\nCall-ID: n1\r\n\r\n{"call-state":"1.3.c0ffee.payload.mac"}'),
        ]
    ):
        pump.note(text.encode(), flow, float(at), True)
    trace = tracing.view({"id": "d1,c0ffee,nobody"})
    assert (trace.node, trace.memory, trace.oldest_at) == ("m1", 16 * MEGABYTE, 0.0)
    device, agent, record = trace.messages
    assert record.call_id == "n1"
    assert [message.by for message in trace.messages] == [("d1",), ("c0ffee",), ("c0ffee",)]
    assert (device.call_id, device.peer, device.local, device.remote) == (
        "d1",
        "",
        "127.0.0.1:5060",
        "127.0.0.7:5099",
    )
    assert "response=****" in device.text
    assert (agent.call_id, agent.peer, agent.local, agent.remote) == ("s1", "gw1", "[::1]:5161", "[::1]:40000")
    assert "1.2.c0ffee.***********" in agent.text
    with pytest.raises(Refused, match="no id is given"):
        tracing.view({"id": ","})


def test_an_answer_has_the_last_messages_up_to_its_size() -> None:
    end, pump = End("a", 5061), Pump()
    tracing = tracing_of(end, pump)
    assert pump.note is not None
    for at in range(300):
        pump.note(f"A\r\nCall-ID: d1\r\n\r\n{'x' * 10_000}".encode(), DEVICE, float(at), True)
    found = tracing.view({"id": "d1"}).messages
    assert 0.9 * MOST_BYTES < sum(len(each.text) for each in found) <= MOST_BYTES
    assert found[-1].at == 299.0 and found[0].at == 300.0 - len(found)
    for at in range(MOST_MESSAGES + 7):
        pump.note(b"A\r\nCall-ID: d2\r\n\r\n", DEVICE, float(at), True)
    assert tracing.view({"id": "d2"}).messages[0].at == 7.0


def test_a_failed_call_is_kept() -> None:
    end, pump = End("a", 5061), Pump()
    tracing = tracing_of(end, pump)
    assert pump.note is not None
    pump.note(b"A\r\nCall-ID: d1\r\n\r\n", DEVICE, 1.0, True)
    end.stack.call_ids.join("x", "d1", "gw1", "left/1")
    end.stack.call_ids.failed("x", 2.0)
    for at in range(30_000):
        pump.note(b"z" * 1000, DEVICE, 3.0 + at, True)
    assert tracing.ring.oldest_at is not None and tracing.ring.oldest_at > 3.0
    assert len(tracing.view({"id": "d1"}).messages) == 1


@pytest.mark.parametrize(
    ("local", "shown"),
    [
        ("127.0.0.1:5060", "127.0.0.1:5060"),
        ("127.0.0.1:5060#7", "127.0.0.1:5060"),
        ("gw1>m1#2", ""),
        ("m1>>m2#2@127.0.0.1", "127.0.0.1:0"),
        ("gw1>left#2@::1", "[::1]:0"),
    ],
)
def test_our_end_of_a_flow(local: str, shown: str) -> None:
    assert local_of(Flow("tcp", local, ("127.0.0.2", 5060))) == shown
