"""How much a process remembers of its messages."""

from __future__ import annotations

from dataclasses import replace

from heartbeat.site.model import Trace
from heartbeat.tracing import MEGABYTE, Tracing
from sip.actions import Flow
from sip.message_ring import Note
from tests.heartbeat.test_site_load import site

FLOW = Flow("udp", "127.0.0.1:5060", ("127.0.0.7", 5099))


class Passed:
    """What messages pass."""

    note: Note | None = None


def test_a_process_notes_messages_as_the_site_file_says() -> None:
    receiver, pump, usual = Passed(), Passed(), site()
    assert usual.trace == Trace(memory=16)
    tracing = Tracing(receiver, pump, usual)
    assert receiver.note is not None and pump.note is not None
    receiver.note(b"x" * 1000, FLOW, 1.0, False)
    pump.note(b"y" * 1000, FLOW, 2.0, True)
    assert [each.data[:1] for each in tracing.ring] == [b"x", b"y"]
    tracing.live_by(usual)
    assert len(list(tracing.ring)) == 2, "a reload that changes nothing forgets nothing"
    tracing.live_by(replace(usual, trace=Trace(memory=1)))
    for at in range(5000):
        receiver.note(b"z" * 1000, FLOW, float(at), False)
    assert 0.5 * MEGABYTE < tracing.ring.size < MEGABYTE
    tracing.live_by(replace(usual, trace=Trace(memory=0)))
    assert receiver.note is None and pump.note is None and list(tracing.ring) == []
